"""The verbs that change objects: create, update, patch, apply, delete and deletecollection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from aiohttp import web

from controlplane.api.apply.merge import Application
from controlplane.api.bodies import (
    JSON_TYPES,
    YAML_TYPES,
    decode_json,
    decode_object,
    decoded,
    media_type_of,
    read_body,
)
from controlplane.api.call import Call, check_dry_run, option_error
from controlplane.api.decoding import check_fields, decode_for, find_duplicates, require_type
from controlplane.api.deletion import DeleteOptions, parse_delete_options
from controlplane.api.lists import Lister
from controlplane.api.next_states import WriteOptions
from controlplane.api.object_meta import place
from controlplane.api.openapi_paths import patch_types
from controlplane.api.operations import Deleted, Operations
from controlplane.api.patch.json_patch import apply_json_patch
from controlplane.api.patch.merge_patch import apply_merge_patch
from controlplane.api.patch.strategic import apply_strategic_patch
from controlplane.api.protobuf.decode import MEDIA_TYPE as PROTOBUF_TYPE
from controlplane.api.responses import json_response, object_response, success
from controlplane.api.schema import schema_of
from controlplane.api.tables import check_include, render_one
from controlplane.api.write_rules import shown_when_deleted
from controlplane.store.cache import Entry
from flotilla.api.errors import STALE_OBJECT, ApiError, bad_request, conflict, not_found, unsupported_media_type
from flotilla.api.objects import KubeObject, encode, in_order
from flotilla.api.registry import Resource
from flotilla.api.schema_check import check

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
_DELETE_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
PARALLEL_DELETIONS = 16

PatchFunction = Callable[[Any], Any]


async def read_object(call: Call, resource: Resource, data: bytes) -> KubeObject:
    """The object that the request's body holds."""
    media_type, validation = media_type_of(call.request), call.field_validation
    decode = partial(decode_for, resource, data, media_type, validation=validation, warnings=call.warnings)
    return await decoded(decode, data, media_type)


def write_options(call: Call, data: bytes = b"", *, subresource: str = "", applied: bool = False) -> WriteOptions:
    """How a request with this body wants to be written.

    NotAcceptable, BadRequest for what could not be answered afterwards.
    """
    _require_answerable(call)
    return WriteOptions(
        manager=call.manager,
        user=call.user,
        subresource=subresource,
        dry_run=call.dry_run,
        applied=applied,
        size_bytes=len(data),
    )


def _require_answerable(call: Call) -> None:
    """Refuse a form of the answer that there is not before anything is stored, not after."""
    if call.form.kind:
        check_include(call.query.get("includeObject", ""))


def _require_name(obj: KubeObject, name: str) -> None:
    """BadRequest for an object that does not say what it is called, which may be another than the one at the path."""
    if not (obj.get("metadata") or {}).get("name"):
        why = f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        raise bad_request(why)


def answer(call: Call, resource: Resource, obj: KubeObject, *, status: int = 200) -> web.Response:
    """The written object in the form asked for."""
    data = encode(in_order(obj))
    form = call.form
    if form.kind:
        include = check_include(call.query.get("includeObject", ""))
        data = render_one(resource, obj, data, form, include=include)
    return json_response(data, status=status, warnings=call.warnings)


def patch_function(media_type: str, data: bytes, resource: Resource) -> PatchFunction:
    """What a patch does to a document. BadRequest, UnsupportedMediaType."""
    if media_type not in patch_types(resource):
        listed = ", ".join(patch_types(resource))
        raise unsupported_media_type(
            f"the body of the request was in an unknown format - accepted media types include: {listed}"
        )
    patch = decode_json(data)
    if media_type == JSON_PATCH:
        return lambda document: apply_json_patch(document, patch)
    if not isinstance(patch, dict):
        raise bad_request("a merge patch must be an object")
    if media_type == MERGE_PATCH:
        return lambda document: apply_merge_patch(document, patch)
    schema = schema_of(resource)
    return lambda document: apply_strategic_patch(document, patch, schema)


@contextmanager
def _set_aside(obj: KubeObject, managers: Any) -> Iterator[None]:
    """Take ``managers`` out of the object's metadata for as long as the context lasts, if that is what it has there.

    The record of managers is often larger than the rest, and a patch hardly ever touches it.
    """
    metadata = obj.get("metadata")
    if managers is None or not isinstance(metadata, dict) or metadata.get("managedFields") != managers:
        yield
        return
    bare = obj["metadata"] = {name: value for name, value in metadata.items() if name != "managedFields"}
    try:
        yield
    finally:
        bare["managedFields"] = managers


class Writes:
    """Handlers of the writing verbs."""

    def __init__(self, operations: Operations, lister: Lister) -> None:
        self._operations = operations
        self._lister = lister

    async def create(self, call: Call, resource: Resource) -> web.Response:
        data = await read_body(call.request)
        options = write_options(call, data)
        obj = await read_object(call, resource, data)
        place(resource, obj, call.info.namespace)
        stored = await self._operations.create_with(resource, call.info.namespace, obj, options)
        call.warnings.extend(resource.strategy.warnings(stored))
        return answer(call, resource, stored, status=201)

    async def update(self, call: Call, resource: Resource, subresource: str = "") -> web.Response:
        data = await read_body(call.request)
        options = write_options(call, data, subresource=subresource)
        obj = await read_object(call, resource, data)
        _require_name(obj, call.info.name)
        place(resource, obj, call.info.namespace, name=call.info.name)
        stored, created = await self._operations.update_with(resource, obj, options)
        call.warnings.extend(_idle_fields(resource, subresource, stored))
        return answer(call, resource, stored, status=201 if created else 200)

    async def patch(self, call: Call, resource: Resource, subresource: str = "") -> web.Response:
        media_type = media_type_of(call.request)
        data = await read_body(call.request)
        if media_type == APPLY_PATCH:
            return await self._apply(call, resource, data, subresource)
        if call.flag("force"):
            raise option_error("force", "Forbidden: may not be specified for non-apply patch", kind="PatchOptions")
        options = write_options(call, data, subresource=subresource)
        change = await decoded(partial(self._patched, call, resource, data), data, media_type)
        info = call.info
        stored = await self._operations.change(resource, info.namespace, info.name, change, options)
        if stored is None:
            raise not_found(resource.plural, info.name, group=resource.group)
        call.warnings.extend(_idle_fields(resource, subresource, stored))
        return answer(call, resource, stored)

    def _patched(self, call: Call, resource: Resource, data: bytes) -> Callable[[KubeObject], KubeObject]:
        media_type, validation = media_type_of(call.request), call.field_validation
        function = patch_function(media_type, data, resource)
        duplicates = find_duplicates(data, media_type, decode_json(data), validation=validation)
        given = tuple(call.warnings)

        def change(current: KubeObject) -> KubeObject:
            version, managers = current["metadata"]["resourceVersion"], current["metadata"].get("managedFields")
            patched = function(current)
            if not isinstance(patched, dict):
                raise bad_request("the patch does not leave an object")
            require_type(resource, patched)
            warnings: list[str] = []
            with _set_aside(patched, managers):
                check_fields(resource, patched, validation=validation, warnings=warnings, duplicates=duplicates)
            place(resource, patched, call.info.namespace, name=call.info.name)
            wanted = patched["metadata"].get("resourceVersion")
            if wanted and wanted != version:
                raise conflict(resource.plural, call.info.name, STALE_OBJECT, group=resource.group)
            call.warnings[:] = [*given, *warnings]
            return patched

        return change

    async def _apply(self, call: Call, resource: Resource, data: bytes, subresource: str) -> web.Response:
        manager = field_manager(call)
        config = await read_config(call, resource, data)
        place(resource, config, call.info.namespace, name=call.info.name)
        application = Application(config=config, manager=manager, force=call.flag("force"), subresource=subresource)
        options = write_options(call, data, subresource=subresource, applied=True)
        stored, created = await self._operations.apply(
            resource, call.info.namespace, call.info.name, application, options
        )
        call.warnings.extend(_idle_fields(resource, subresource, stored))
        return answer(call, resource, stored, status=201 if created else 200)

    async def delete(self, call: Call, resource: Resource) -> web.Response:
        options = await read_delete_options(call)
        deleted = await self._operations.delete_with(resource, call.info.namespace, call.info.name, options)
        if deleted.removed and not shown_when_deleted(resource):
            return object_response(success(_details(resource, deleted)), warnings=call.warnings)
        return answer(call, resource, deleted.obj)

    async def delete_collection(self, call: Call, resource: Resource) -> web.Response:
        """Delete what a list with the same parameters would show."""
        options = await read_delete_options(call)
        listing = await self._lister.list(call, resource)
        limit = asyncio.Semaphore(PARALLEL_DELETIONS)

        async def delete_one(entry: Entry) -> KubeObject | None:
            async with limit:
                try:
                    deleted = await self._operations.delete_with(resource, entry.namespace, entry.name, options)
                except ApiError as error:
                    if error.reason == "NotFound":
                        return None
                    raise
                return deleted.obj

        gone = await _gather(delete_one, listing.entries)
        items = [obj for obj in gone if obj is not None]
        body = {"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": listing.metadata}
        return object_response(body | {"items": items}, warnings=call.warnings)


async def _gather(function: Callable[[Entry], Any], entries: Sequence[Entry]) -> list[Any]:
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(function(entry)) for entry in entries]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]


def _idle_fields(resource: Resource, subresource: str, obj: KubeObject) -> list[str]:
    """What a write has set that is accepted and not acted upon."""
    return [] if subresource else resource.strategy.warnings(obj)


def field_manager(call: Call) -> str:
    """Who applies. Invalid where the client does not say it."""
    if not call.query.get("fieldManager", ""):
        raise option_error("fieldManager", "Required value: is required for apply patch", kind="PatchOptions")
    return call.manager


async def read_config(call: Call, resource: Resource, data: bytes) -> KubeObject:
    """The configuration that is applied, checked and complete with its type. BadRequest."""
    media_type = JSON_TYPES[0] if data.lstrip()[:1] == b"{" else YAML_TYPES[0]
    validation, warnings = call.field_validation, call.warnings
    decode = partial(_decode_config, resource, data, media_type, validation=validation, warnings=warnings)
    return await decoded(decode, data, media_type)


def _decode_config(
    resource: Resource, data: bytes, media_type: str, *, validation: str, warnings: list[str]
) -> KubeObject:
    config = decode_object(data, media_type)
    if not config.get("apiVersion") or not config.get("kind"):
        raise bad_request("an applied configuration must be an object with apiVersion and kind")
    duplicates = find_duplicates(data, media_type, config, validation=validation)
    require_type(resource, config)
    check_fields(resource, config, validation=validation, warnings=warnings, duplicates=duplicates, applied=True)
    return config


async def read_delete_options(call: Call) -> DeleteOptions:
    """The options of a delete, from the body or the query."""
    _require_answerable(call)
    data = await read_body(call.request)
    body: KubeObject = {}
    if data:
        media_type = media_type_of(call.request)
        known_type = media_type if media_type in (*JSON_TYPES, *YAML_TYPES, PROTOBUF_TYPE) else ""
        body = await decoded(partial(decode_object, data, known_type), data, known_type)
        if body.get("kind", "DeleteOptions") != "DeleteOptions":
            raise bad_request(f"expected DeleteOptions, not {body.get('kind')}")
        _require_types(body)
        check_dry_run(body.get("dryRun") or [], kind="DeleteOptions")
    grace_period_s = call.number("gracePeriodSeconds")
    if grace_period_s is not None:
        body.setdefault("gracePeriodSeconds", grace_period_s)
    if "propagationPolicy" in call.query:
        body.setdefault("propagationPolicy", call.query["propagationPolicy"])
    if "orphanDependents" in call.query:
        body.setdefault("orphanDependents", call.flag("orphanDependents"))
    if call.dry_run:
        body.setdefault("dryRun", ["All"])
    return parse_delete_options(body)


def _require_types(body: KubeObject) -> None:
    """BadRequest for options of the wrong type."""
    wrong = [str(error) for error in check(_DELETE_OPTIONS, body).errors if error.field != "apiVersion"]
    if wrong:
        raise bad_request(f'DeleteOptions in version "v1" cannot be handled as a DeleteOptions: {"; ".join(wrong)}')


def _details(resource: Resource, deleted: Deleted) -> KubeObject:
    metadata = deleted.obj["metadata"]
    details: KubeObject = {"name": metadata["name"], "kind": resource.plural, "uid": metadata.get("uid", "")}
    return details | ({"group": resource.group} if resource.group else {})
