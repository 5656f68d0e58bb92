"""Request bodies: read within limits, decoded from JSON, YAML or protobuf, with faults that name their place."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import yaml
from aiohttp import web

from controlplane.api.protobuf.decode import MEDIA_TYPE as PROTOBUF_TYPE
from controlplane.api.protobuf.decode import decode_protobuf
from flotilla.api.errors import ApiError, bad_request, too_large, unsupported_media_type

MAXIMUM_BODY_BYTES = 3 * 1024 * 1024
READ_TIMEOUT_S = 60.0
_MAXIMUM_YAML_ALIASES = 100
_MAXIMUM_DUPLICATES = 10
JSON_TYPES = ("application/json",)
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml")
_BYTE_OFFSET = re.compile(r"\(byte (\d+)\)")


class _YamlLoader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: JSON's types only, so that what looks like a date stays a string."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }


async def read_body(request: web.BaseRequest) -> bytes:
    """The whole body. RequestEntityTooLarge past 3 MiB, a time-out for a client that stops sending."""
    if (request.content_length or 0) > MAXIMUM_BODY_BYTES:
        raise too_large(MAXIMUM_BODY_BYTES)
    if not request.can_read_body:
        return b""
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            return await _read_limited(request)
    except TimeoutError as error:
        raise ApiError(408, "Timeout", f"the body did not arrive within {READ_TIMEOUT_S:.0f} s") from error


async def _read_limited(request: web.BaseRequest) -> bytes:
    chunks: list[bytes] = []
    size_bytes = 0
    async for chunk in request.content.iter_any():
        chunks.append(chunk)
        size_bytes += len(chunk)
        if size_bytes > MAXIMUM_BODY_BYTES:
            raise too_large(MAXIMUM_BODY_BYTES)
    return b"".join(chunks)


def media_type_of(request: web.BaseRequest) -> str:
    """The body's media type without parameters, ``""`` if the client names none."""
    return str(request.headers.get("Content-Type", "")).partition(";")[0].strip().lower()


def decode_object(data: bytes, media_type: str) -> dict[str, Any]:
    """The object that a body holds. UnsupportedMediaType, BadRequest with the place of the fault."""
    if media_type == PROTOBUF_TYPE:
        value = decode_protobuf(data)
    elif media_type in YAML_TYPES:
        value = decode_yaml(data)
    elif media_type in JSON_TYPES or not media_type:
        value = decode_json(data)
    else:
        accepted = ", ".join((*JSON_TYPES, *YAML_TYPES[:1], PROTOBUF_TYPE))
        raise unsupported_media_type(
            f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        )
    if not isinstance(value, dict):
        raise bad_request(f"the body must be an object, not {_kind_of(value)}")
    return value


def decode_json(data: bytes) -> Any:
    """The JSON value. BadRequest says at which byte, line and column it is broken."""
    if not data:
        raise bad_request("the body is empty: an object is required")
    try:
        return msgspec.json.decode(data)
    except RecursionError as error:
        raise bad_request("the body is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_request(f"the body is not valid JSON: {_located(str(error), data)}") from error


def _located(message: str, data: bytes) -> str:
    found = _BYTE_OFFSET.search(message)
    offset = int(found[1]) if found else len(data)
    line = data.count(b"\n", 0, offset) + 1
    column = offset - (data.rfind(b"\n", 0, offset) + 1) + 1
    reason = message.removeprefix("JSON is malformed: ").partition(" (byte")[0]
    return f"{reason} at byte {offset} (line {line}, column {column})"


def decode_yaml(data: bytes) -> Any:
    """The first document's value, limited to JSON's types. BadRequest says at which line it is broken."""
    if data.count(b"*") > _MAXIMUM_YAML_ALIASES and _alias_count(data) > _MAXIMUM_YAML_ALIASES:
        raise bad_request(f"the body has more than {_MAXIMUM_YAML_ALIASES} YAML aliases")
    try:
        value = yaml.load(data, Loader=_YamlLoader)
        return msgspec.to_builtins(value, str_keys=True)
    except yaml.YAMLError as error:
        raise bad_request(f"error converting YAML to JSON: {' '.join(str(error).split())}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise bad_request(f"error converting YAML to JSON: {error}") from error


def _alias_count(data: bytes) -> int:
    try:
        return sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(data, Loader=yaml.CSafeLoader))
    except yaml.YAMLError:
        return 0


def _kind_of(value: Any) -> str:
    if value is None:
        return "null"
    return {list: "an array", str: "a string", bool: "a boolean"}.get(type(value), "a number")


def duplicate_fields(data: bytes) -> list[str]:
    """Paths of fields that JSON ``data``, known to be valid, gives twice. Empty for what is not JSON."""
    found: list[_Duplicated] = []

    def pairs_to_object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            counts = Counter(name for name, _ in pairs)
            found.append(_Duplicated(made, [name for name, count in counts.items() if count > 1]))
        return made

    try:
        root = json.loads(data, object_pairs_hook=pairs_to_object)
    except ValueError:
        return []
    shown = found[:_MAXIMUM_DUPLICATES]
    return [f"{_path_to(root, one.owner)}{name}" for one in shown for name in one.names[:_MAXIMUM_DUPLICATES]]


class _Duplicated(msgspec.Struct):
    owner: dict[str, Any]
    names: list[str]


def _path_to(root: Any, target: dict[str, Any]) -> str:
    """The path that leads to ``target`` within ``root``, ending in a dot unless it is the root."""
    pending: list[tuple[Any, str]] = [(root, "")]
    while pending:
        value, path = pending.pop()
        if value is target:
            return f"{path}." if path else ""
        if isinstance(value, dict):
            pending.extend((child, f"{path}.{name}" if path else name) for name, child in value.items())
        elif isinstance(value, list):
            pending.extend((child, f"{path}[{index}]") for index, child in enumerate(value))
    return ""
