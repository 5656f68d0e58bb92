"""OpenAPI documents, generated from the published schema and the catalog: version 3 per group version, version 2 whole.

Both are served as JSON, version 2 in protobuf too, because kubectl reads that one in no other form. Version 3 documents
are named by a hash of their content; clients cache them forever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from aiohttp import web

from controlplane.api.catalog import Catalog, GroupVersion, Served
from controlplane.api.negotiation import JSON, accepts_gzip, media_ranges
from controlplane.api.openapi_cache import Build, DocumentCache, unpack
from controlplane.api.openapi_custom import custom_definitions
from controlplane.api.openapi_metrics import PACKAGE as METRICS_PACKAGE
from controlplane.api.openapi_metrics import REFERENCES as METRICS_REFERENCES
from controlplane.api.openapi_metrics import metrics_definitions
from controlplane.api.openapi_paths import Document, Operation, paths_of, query_parameter
from controlplane.api.openapi_protobuf import DEPRECATED_MEDIA_TYPE, MEDIA_TYPE, encode_v2
from controlplane.api.responses import JSON_CONTENT
from controlplane.api.version import GIT_VERSION
from flotilla.api.errors import not_acceptable, not_found
from flotilla.api.objects import encode
from flotilla.api.schema_source import described_definitions

_PREFIX = "#/$defs/"
_V3_PREFIX = "#/components/schemas/"
_V2_PREFIX = "#/definitions/"
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_GVK = "x-kubernetes-group-version-kind"
_INFO = {"title": "Kubernetes", "version": GIT_VERSION}
_V3_TYPES = {JSON: JSON, "application/*": JSON, "*/*": JSON}
_V2_TYPES = _V3_TYPES | {MEDIA_TYPE: MEDIA_TYPE, DEPRECATED_MEDIA_TYPE: MEDIA_TYPE}


class Documents:
    """Serves ``/openapi/v2`` and ``/openapi/v3``."""

    def __init__(self, catalog: Catalog) -> None:
        self._versions = {version.path: version for version in catalog.versions}
        self._catalog = catalog
        self._cache = DocumentCache()

    def show(self, catalog: Catalog) -> None:
        """Serve ``catalog`` from now on; documents of group versions that are as they were are kept."""
        before, self._versions = self._versions, {version.path: version for version in catalog.versions}
        self._catalog = catalog
        for path in before.keys() | self._versions.keys():
            if before.get(path) != self._versions.get(path):
                self._cache.forget(f"openapi/v3/{path}")
        for media_type in set(_V2_TYPES.values()):
            self._cache.forget(media_type)

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """The document at the request's path. NotFound, NotAcceptable."""
        path = request.path.strip("/")
        accept = request.headers.get("Accept", "")
        if path == "openapi/v2":
            media_type = _negotiate(accept, _V2_TYPES)
            return await self._serve(request, media_type, partial(_bytes_v2, self._catalog, media_type))
        _negotiate(accept, _V3_TYPES)
        if path == "openapi/v3":
            return await self._root(request)
        version = self._versions.get(path.removeprefix("openapi/v3/"))
        if version is None:
            raise not_found("openapi", path)
        return await self._serve(request, path, partial(_bytes_v3, version))

    async def _root(self, request: web.BaseRequest) -> web.Response:
        paths = {}
        for path, version in self._versions.items():
            digest = await self._cache.digest(f"openapi/v3/{path}", partial(_bytes_v3, version))
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
        body = encode({"paths": paths})
        headers = _headers(hashlib.sha256(body).hexdigest().upper())
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, content_type=JSON_CONTENT, headers=headers)

    async def _serve(self, request: web.BaseRequest, name: str, build: Build) -> web.Response:
        """A document that is cached as ``name``: its media type, or its path if it is JSON only."""
        digest = await self._cache.digest(name, build)
        headers = _headers(digest, immutable=request.query.get("hash") == digest)
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers=headers)
        packed = await self._cache.packed(name, build)
        content_type = MEDIA_TYPE if name == MEDIA_TYPE else JSON_CONTENT
        if accepts_gzip(request.headers.get("Accept-Encoding", "")):
            return web.Response(body=packed, content_type=content_type, headers=headers | {"Content-Encoding": "gzip"})
        return web.Response(body=unpack(packed), content_type=content_type, headers=headers)


def _negotiate(accept: str, offered: Mapping[str, str]) -> str:
    """The media type to answer in: the best of the Accept header that is offered. NotAcceptable."""
    for media in media_ranges(accept or "*/*"):
        if media.type in offered:
            return offered[media.type]
    raise not_acceptable(f"only the following media types are accepted: {', '.join(dict.fromkeys(offered.values()))}")


def _headers(digest: str, *, immutable: bool = False) -> dict[str, str]:
    caching = "public, immutable" if immutable else "no-cache, private"
    return {"ETag": f'"{digest}"', "Vary": "Accept, Accept-Encoding", "Cache-Control": caching}


def _bytes_v3(version: GroupVersion) -> bytes:
    return encode(build_v3(version))


def _bytes_v2(catalog: Catalog, media_type: str) -> bytes:
    document = build_v2(catalog)
    return encode_v2(document) if media_type == MEDIA_TYPE else encode(document)


def build_v3(version: GroupVersion) -> Document:
    """The OpenAPI 3 document of one group version."""
    schemas = _schemas(version.resources, _V3_PREFIX)
    paths: Document = {}
    for path in paths_of(version):
        entry: Document = {"parameters": [_placeholder_v3(name) for name in path.placeholders]}
        for operation in path.operations:
            entry[operation.method] = _operation_v3(operation, schemas)
        paths[path.path] = entry
    return {"openapi": "3.0.0", "info": _INFO, "paths": paths, "components": {"schemas": schemas}}


def _operation_v3(operation: Operation, schemas: Document) -> Document:
    described = _described(operation)
    described["parameters"] = [_parameter_v3(name) for name in operation.query]
    if operation.body in schemas:
        schema = {"$ref": _V3_PREFIX + operation.body}
        described["requestBody"] = {"content": {media: {"schema": schema} for media in operation.media_types}}
    content = {"text/plain": {"schema": {"type": "string"}}}
    if operation.response in schemas:
        content = {JSON_CONTENT: {"schema": {"$ref": _V3_PREFIX + operation.response}}}
    described["responses"] = {"200": {"description": "OK", "content": content}}
    return described


def _described(operation: Operation) -> Document:
    return {
        "description": operation.description,
        "operationId": operation.operation_id,
        "x-kubernetes-action": operation.action,
        _GVK: operation.gvk,
    }


def _parameter_v3(name: str) -> Document:
    type_, description = query_parameter(name)
    return {"name": name, "in": "query", "description": description, "schema": {"type": type_, "uniqueItems": True}}


def _placeholder_v3(name: str) -> Document:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "uniqueItems": True}}


def build_v2(catalog: Catalog) -> Document:
    """The OpenAPI 2 document of everything."""
    definitions = _schemas([served for version in catalog.versions for served in version.resources], _V2_PREFIX)
    paths: Document = {}
    for version in catalog.versions:
        for path in paths_of(version):
            entry: Document = {"parameters": [_placeholder_v2(name) for name in path.placeholders]}
            for operation in path.operations:
                entry[operation.method] = _operation_v2(operation, definitions)
            paths[path.path] = entry
    return {"swagger": "2.0", "info": _INFO, "paths": paths, "definitions": definitions}


def _operation_v2(operation: Operation, definitions: Document) -> Document:
    described = _described(operation)
    described |= {"consumes": list(operation.media_types), "produces": [JSON_CONTENT], "schemes": ["https"]}
    parameters = [_parameter_v2(name) for name in operation.query]
    if operation.body in definitions:
        schema = {"$ref": _V2_PREFIX + operation.body}
        parameters.append({"name": "body", "in": "body", "required": operation.method != "delete", "schema": schema})
    described["parameters"] = parameters
    response: Document = {"description": "OK"}
    if operation.response in definitions:
        response["schema"] = {"$ref": _V2_PREFIX + operation.response}
    described["responses"] = {"200": response}
    return described


def _parameter_v2(name: str) -> Document:
    type_, description = query_parameter(name)
    return {"name": name, "in": "query", "description": description, "type": type_, "uniqueItems": True}


def _placeholder_v2(name: str) -> Document:
    return {"name": name, "in": "path", "required": True, "type": "string", "uniqueItems": True}


def _schemas(resources: Sequence[Served], prefix: str) -> Document:
    with_metrics = any(served.definition.startswith(METRICS_PACKAGE) for served in resources)
    roots = [served.definition for served in resources]
    definitions = described_definitions([*roots, *(METRICS_REFERENCES if with_metrics else ())])
    written = {name: _rewritten(schema, prefix, name) for name, schema in definitions.items()}
    rows = [served.row for served in resources if served.row is not None]
    written |= custom_definitions(rows, prefix, version_2=prefix == _V2_PREFIX)
    if with_metrics:
        written |= metrics_definitions(prefix)
    return dict(sorted(written.items()))


def _rewritten(schema: Document, prefix: str, name: str = "") -> Document:
    """A definition in OpenAPI's dialect: no nullable types, no enums for versions, references into the document."""
    if "oneOf" in schema and all("type" in part for part in schema["oneOf"]):
        return _alternatives(schema, prefix) | ({"format": "int-or-string"} if name == _INT_OR_STRING else {})
    result: Document = {}
    for key, value in schema.items():
        result |= _rewritten_item(key, value, prefix)
    if "$ref" in result and len(result) > 1 and prefix == _V3_PREFIX:
        result = {"allOf": [{"$ref": result.pop("$ref")}]} | result
    return result


def _alternatives(schema: Document, prefix: str) -> Document:
    """A string or number: version 2 has no alternatives and says string; without a type kubectl shows the name."""
    described = {"description": schema.get("description", "")}
    if prefix == _V2_PREFIX:
        return described | {"type": "string"}
    return described | {"oneOf": [_rewritten(part, prefix) for part in schema["oneOf"]]}


def _rewritten_item(key: str, value: Any, prefix: str) -> Document:
    if key == "$ref":
        return {key: prefix + value.removeprefix(_PREFIX)}
    if key == "type" and isinstance(value, list):
        return {key: value[0]}
    if key == "properties":
        return {key: {name: _without_enum(name, _rewritten(child, prefix)) for name, child in value.items()}}
    if key in ("items", "additionalProperties") and isinstance(value, dict):
        return {key: _rewritten(value, prefix)}
    return {key: value}


def _without_enum(name: str, schema: Document) -> Document:
    """The schema's own types pin apiVersion and kind; the published documents leave them open."""
    if name in ("apiVersion", "kind"):
        schema.pop("enum", None)
    return schema
