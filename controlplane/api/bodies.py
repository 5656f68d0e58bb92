"""Request bodies: read within limits, decoded from JSON, YAML or protobuf, with faults that name their place."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from controlplane.api.aside import MUCH_BYTES, aside
from controlplane.api.protobuf.decode import MEDIA_TYPE as PROTOBUF_TYPE
from controlplane.api.protobuf.decode import decode_protobuf
from controlplane.api.yaml_bodies import decode_yaml
from flotilla.api.errors import ApiError, bad_request, too_large, unsupported_media_type

MAXIMUM_BODY_BYTES = 3 * 1024 * 1024
READ_TIMEOUT_S = 30.0
COUNTED_FROM_BYTES = 1024 * 1024
MOST_VALUES = 200_000
MUCH_YAML_BYTES = 8 * 1024
JSON_TYPES = ("application/json",)
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml")
_BYTE_OFFSET = re.compile(r"\(byte (\d+)\)")
_T = TypeVar("_T")


async def read_body(request: web.BaseRequest) -> bytes:
    """The whole body. RequestEntityTooLarge past 3 MiB, UnsupportedMediaType if compressed, a time-out if slow."""
    if (request.content_length or 0) > MAXIMUM_BODY_BYTES:
        raise too_large(MAXIMUM_BODY_BYTES)
    headers = request.headers
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise unsupported_media_type("compressed bodies are not accepted")
    if not request.can_read_body:
        return b""
    if request.content.is_eof():
        data: bytes = request.content.read_nowait()
        if len(data) > MAXIMUM_BODY_BYTES:
            raise too_large(MAXIMUM_BODY_BYTES)
        return data
    if headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
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


async def decoded(decode: Callable[[], _T], data: bytes, media_type: str) -> _T:
    """What ``decode`` makes of ``data``. Much of it takes long, YAML seconds, and is decoded beside the event loop."""
    if len(data) <= (MUCH_YAML_BYTES if media_type in YAML_TYPES else MUCH_BYTES):
        return decode()
    return await aside(decode)


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
    if len(data) > COUNTED_FROM_BYTES and data.count(b",") > MOST_VALUES:
        raise too_large(COUNTED_FROM_BYTES)  # can't be an object that may be stored, and would take long to decode
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


def _kind_of(value: Any) -> str:
    if value is None:
        return "null"
    return {list: "an array", str: "a string", bool: "a boolean"}.get(type(value), "a number")
