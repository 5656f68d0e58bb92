"""The ``scale`` subresource: the replica count of a workload as an ``autoscaling/v1`` Scale."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from aiohttp import web

from controlplane.api.apply.merge import Application
from controlplane.api.bodies import decoded, media_type_of, read_body
from controlplane.api.call import Call
from controlplane.api.decoding import check_fields, require_type
from controlplane.api.lists import Lister
from controlplane.api.object_meta import place
from controlplane.api.operations import Operations
from controlplane.api.request_kinds import SCALE, read_request
from controlplane.api.responses import json_response, object_response
from controlplane.api.subresources import scale_of
from controlplane.api.tables import check_include, render_one
from controlplane.api.views import served_object
from controlplane.api.writes import APPLY_PATCH, field_manager, patch_function, read_config, write_options
from controlplane.store.cache import Cache
from flotilla.api.errors import STALE_OBJECT, FieldError, bad_request, conflict, invalid, not_found
from flotilla.api.objects import KubeObject, encode
from flotilla.api.registry import Resource
from flotilla.api.scales import selector_text, with_replicas

_MOST_REPLICAS = 2**31


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
        scale = view(resource, served_object(resource, entry.obj))
        if not call.form.kind:
            return object_response(scale)
        include = check_include(call.query.get("includeObject", ""))
        return json_response(render_one(SCALE, scale, encode(scale), call.form, include=include))

    async def update(self, call: Call, resource: Resource) -> web.Response:
        sent = await read_request(call, (SCALE,))
        return await self._write(call, resource, lambda _: sent)

    async def patch(self, call: Call, resource: Resource) -> web.Response:
        media_type = media_type_of(call.request)
        data = await read_body(call.request)
        if media_type == APPLY_PATCH:
            return await self._apply(call, resource, data)
        target = SCALE if resource.shape is None else resource
        function = await decoded(partial(patch_function, media_type, data, target), data, media_type)

        def patched(scale: KubeObject) -> KubeObject:
            changed = function(scale)
            if not isinstance(changed, dict):
                raise bad_request("the patch does not leave an object")
            require_type(SCALE, changed)
            check_fields(SCALE, changed, validation=call.field_validation, warnings=call.warnings)
            return changed

        return await self._write(call, resource, patched)

    async def _write(self, call: Call, resource: Resource, function: Callable[[KubeObject], Any]) -> web.Response:
        namespace, name = call.info.namespace, call.info.name

        def change(current: KubeObject) -> KubeObject:
            scale = function(view(resource, current))
            place(SCALE, scale, namespace, name=name)
            metadata = scale["metadata"]
            if metadata.get("resourceVersion", "") not in ("", current["metadata"]["resourceVersion"]):
                raise conflict(resource.plural, name, STALE_OBJECT, group=resource.group)
            current["metadata"]["uid"] = metadata.get("uid")
            return with_replicas(resource, current, _replicas(scale, name))

        options = write_options(call, subresource="scale")
        stored = await self._operations.change(resource, namespace, name, change, options)
        if stored is None:
            raise not_found(resource.plural, name, group=resource.group)
        return object_response(view(resource, stored), warnings=call.warnings)

    async def _apply(self, call: Call, resource: Resource, data: bytes) -> web.Response:
        """Apply the replica count alone: a Scale has nothing else that can be owned."""
        manager = field_manager(call)
        scale = await read_config(call, SCALE, data)
        place(SCALE, scale, call.info.namespace, name=call.info.name)
        metadata = {name: scale["metadata"][name] for name in ("uid", "resourceVersion") if name in scale["metadata"]}
        metadata |= {"name": call.info.name, "namespace": call.info.namespace}
        config: KubeObject = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
        if "replicas" in (scale.get("spec") or {}):
            config = with_replicas(resource, config, _replicas(scale, call.info.name))
        application = Application(config=config, manager=manager, force=call.flag("force"), subresource="scale")
        options = write_options(call, subresource="scale", applied=True)
        stored, _ = await self._operations.apply(resource, call.info.namespace, call.info.name, application, options)
        return object_response(view(resource, stored), warnings=call.warnings)


def view(resource: Resource, obj: KubeObject) -> KubeObject:
    """The Scale of a workload."""
    return scale_of(resource, obj, selector_text(resource, obj))


def _replicas(scale: KubeObject, name: str) -> int:
    replicas: int = (scale.get("spec") or {}).get("replicas", 0)
    if not 0 <= replicas < _MOST_REPLICAS:
        message = f"Invalid value: {replicas}: must be greater than or equal to 0"
        raise invalid("Scale", name, [FieldError("spec.replicas", message)], group="autoscaling")
    return replicas
