"""The ``scale`` subresource: the replica count of a workload as an ``autoscaling/v1`` Scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from controlplane.api.bodies import decode_object, media_type_of, read_body
from controlplane.api.call import Call
from controlplane.api.lists import Lister
from controlplane.api.operations import Operations
from controlplane.api.responses import object_response
from controlplane.api.subresources import SCALE_API_VERSION, scale_of
from controlplane.api.views import served_object
from controlplane.api.writes import APPLY_PATCH, STRATEGIC_PATCH, patch_function, write_options
from controlplane.store.cache import Cache
from flotilla.api.errors import (
    STALE_OBJECT,
    FieldError,
    bad_request,
    conflict,
    invalid,
    not_found,
    unsupported_media_type,
)
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import REPLICATION_CONTROLLERS
from flotilla.api.selectors import label_selector_of, label_selector_of_map


class Scales:
    """Handlers of the scale subresource."""

    def __init__(self, operations: Operations, cache: Cache, lister: Lister) -> None:
        self._operations = operations
        self._cache = cache
        self._lister = lister

    async def get(self, call: Call, resource: Resource) -> web.Response:
        await self._lister.reach(None)
        entry = self._cache.get(resource, call.info.namespace, call.info.name)
        if entry is None:
            raise not_found(resource.plural, call.info.name, group=resource.group)
        return object_response(view(resource, served_object(resource, entry.obj)))

    async def update(self, call: Call, resource: Resource) -> web.Response:
        sent = decode_object(await read_body(call.request), media_type_of(call.request))
        return await self._write(call, resource, lambda _: sent)

    async def patch(self, call: Call, resource: Resource) -> web.Response:
        media_type = media_type_of(call.request)
        if media_type == APPLY_PATCH:
            raise unsupported_media_type("a scale can't be applied server-side: patch it, or apply its owner")
        if media_type == STRATEGIC_PATCH:
            media_type = "application/merge-patch+json"
        function = patch_function(media_type, await read_body(call.request), resource)
        return await self._write(call, resource, function)

    async def _write(self, call: Call, resource: Resource, function: Callable[[KubeObject], Any]) -> web.Response:
        name = call.info.name

        def change(current: KubeObject) -> KubeObject:
            scale = function(view(resource, current))
            replicas = _replicas(scale, name)
            version = (scale.get("metadata") or {}).get("resourceVersion")
            if version and version != current["metadata"]["resourceVersion"]:
                raise conflict(resource.plural, name, STALE_OBJECT, group=resource.group)
            current["spec"] = current["spec"] | {"replicas": replicas}
            return current

        options = write_options(call, subresource="scale")
        stored = await self._operations.change(resource, call.info.namespace, name, change, options)
        if stored is None:
            raise not_found(resource.plural, name, group=resource.group)
        return object_response(view(resource, stored), warnings=call.warnings)


def view(resource: Resource, obj: KubeObject) -> KubeObject:
    """The Scale of a workload; a ReplicationController writes its selector as a plain map."""
    selector = (obj.get("spec") or {}).get("selector")
    read = label_selector_of_map if resource is REPLICATION_CONTROLLERS else label_selector_of
    return scale_of(resource, obj, str(read(selector)))


def _replicas(scale: Any, name: str) -> int:
    if not isinstance(scale, dict) or scale.get("kind", "Scale") != "Scale":
        raise bad_request("expected a Scale")
    if scale.get("apiVersion", SCALE_API_VERSION) != SCALE_API_VERSION:
        raise bad_request(f"expected a Scale of {SCALE_API_VERSION}, not of {scale.get('apiVersion')}")
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise bad_request(f"spec.replicas: Invalid value: {replicas!r}: must be an integer")
    if not 0 <= replicas < 2**31:
        message = f"Invalid value: {replicas}: must be greater than or equal to 0"
        raise invalid("Scale", name, [FieldError("spec.replicas", message)], group="autoscaling")
    return replicas
