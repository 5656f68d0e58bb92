"""Answers: JSON bytes, Status objects for every failure, warnings, and compression of what is large.

Compression runs in a thread: a list of 50 MB would hold the event loop for half a second.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from controlplane.api.negotiation import accepts_gzip
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, encode

JSON_CONTENT = "application/json"
GZIP_FROM_BYTES = 128 * 1024
_GZIP_LEVEL = 1
_GZIP_WINDOW = 31
_LONGEST_WARNINGS = 4096
_UNSAFE = re.compile(r"[^\x20-\x7e]+")


def json_response(body: bytes, *, status: int = 200, warnings: Sequence[str] = ()) -> web.Response:
    """An answer whose body is ready."""
    response = web.Response(body=body, status=status, content_type=JSON_CONTENT)
    add_warnings(response, warnings)
    return response


def object_response(obj: Any, *, status: int = 200, warnings: Sequence[str] = ()) -> web.Response:
    """An answer that is one decoded object."""
    return json_response(encode(obj), status=status, warnings=warnings)


def status_response(error: ApiError, *, warnings: Sequence[str] = ()) -> web.Response:
    """The answer to a request that failed, with Retry-After where the client should try again."""
    response = object_response(error.status(), status=error.code, warnings=warnings)
    retry_after_s = (error.details or {}).get("retryAfterSeconds")
    if retry_after_s:
        response.headers["Retry-After"] = str(retry_after_s)
    if error.code == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="flotilla"'
    return response


def success(details: KubeObject) -> KubeObject:
    """The ``Status`` of a delete that is done."""
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def add_warnings(response: web.StreamResponse, warnings: Sequence[str]) -> None:
    """``Warning`` headers as kubectl prints them: each text once, 4 KiB in all."""
    room = _LONGEST_WARNINGS
    for text in dict.fromkeys(warnings):
        plain = _UNSAFE.sub(" ", text).replace("\\", "\\\\").replace('"', '\\"')
        room -= len(plain)
        if room < 0:
            return
        response.headers.add("Warning", f'299 - "{plain}"')


async def compressed(request: web.BaseRequest, response: web.Response) -> web.Response:
    """The answer gzipped, if it is large and the client takes that."""
    body = response.body
    if not isinstance(body, bytes) or len(body) < GZIP_FROM_BYTES:
        return response
    if not accepts_gzip(request.headers.get("Accept-Encoding", "")):
        return response
    response.body = await asyncio.to_thread(_gzip, body)
    response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    return response


def _gzip(body: bytes) -> bytes:
    compressor = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WINDOW)
    return compressor.compress(body) + compressor.flush()
