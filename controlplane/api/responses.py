"""Answers: JSON bytes, Status objects for every failure, warnings, and compression of what is large.

A body is a few pieces of bytes. A small one leaves in one write together with its head; a large one is written piece by
piece as the client takes it, so that encrypting 50 MB neither holds the event loop nor doubles the memory. Compression
runs in a thread for the same reason, one that yields the processor to the event loop.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from functools import lru_cache
from http.client import responses as REASON_PHRASES  # noqa: N812
from typing import Any

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from controlplane.api.negotiation import accepts_gzip
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, encode

JSON_CONTENT = "application/json"
GZIP_FROM_BYTES = 128 * 1024
PIECE_BYTES = 256 * 1024
_GZIP_LEVEL = 1
_GZIP_WINDOW = 31
_NICENESS = 5
_LONGEST_WARNINGS = 4096
_UNSAFE = re.compile(r"[^\x20-\x7e]+")


class JsonResponse(web.Response):
    """An answer of JSON that is all there when it is made.

    It writes its own head: the web server's response is ready for anything, which is a quarter of the work of a GET.
    ``pieces`` are the body; ``headers`` may be added until it is sent.
    """

    def __init__(self, pieces: Sequence[bytes], *, status: int = 200) -> None:
        web.StreamResponse.__init__(self, status=status)
        self.pieces = pieces
        self._answered: web.BaseRequest | None = None
        self._sent = False
        self._closes = False

    @property
    def prepared(self) -> bool:
        return self._answered is not None

    @property
    def keep_alive(self) -> bool | None:
        return self._answered is not None and self._answered.keep_alive and not self._closes

    def force_close(self) -> None:
        self._closes = True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        self._answered = request
        return request.writer

    async def write_eof(self, data: bytes = b"") -> None:
        request = self._answered
        if request is None or self._sent:
            return
        self._sent = True
        head, pieces = self._head(request), self.pieces if request.method != "HEAD" else ()
        if len(pieces) == 1 and len(pieces[0]) <= PIECE_BYTES:
            await _write(request, head + pieces[0])
            return
        await _write(request, head)
        for piece in pieces:
            for start in range(0, len(piece), PIECE_BYTES):
                await _write(request, piece[start : start + PIECE_BYTES] if len(piece) > PIECE_BYTES else piece)

    def _head(self, request: web.BaseRequest) -> bytes:
        length = sum(map(len, self.pieces))
        head = b"%bContent-Length: %d\r\n%b" % (_status_line(self.status), length, _date_line(int(time.time())))
        for name, value in self.headers.items():
            if "\r" in value or "\n" in value:
                raise ValueError(f"a line break in the header {name}")
            head += f"{name}: {value}\r\n".encode()
        if "Content-Type" not in self.headers:
            head += b"Content-Type: application/json\r\n"
        if not self.keep_alive:
            head += b"Connection: close\r\n"
        elif request.version < HttpVersion11:
            head += b"Connection: keep-alive\r\n"
        return head + b"\r\n"


async def _write(request: web.BaseRequest, data: bytes) -> None:
    """Send some bytes and wait while the client has yet to take what was sent before."""
    writer = request.writer
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client has closed the connection")
    writer.output_size += len(data)
    transport.write(data)
    if request.protocol.writing_paused:
        await writer.drain()


@lru_cache(maxsize=64)
def _status_line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {REASON_PHRASES.get(status, 'Unknown')}\r\n".encode()


@lru_cache(maxsize=2)
def _date_line(now_s: int) -> bytes:
    return f"Date: {formatdate(now_s, usegmt=True)}\r\n".encode()


def json_response(body: bytes, *, status: int = 200, warnings: Sequence[str] = ()) -> JsonResponse:
    """An answer whose body is ready."""
    response = JsonResponse((body,), status=status)
    if warnings:
        add_warnings(response, warnings)
    return response


def object_response(obj: Any, *, status: int = 200, warnings: Sequence[str] = ()) -> JsonResponse:
    """An answer that is one decoded object."""
    return json_response(encode(obj), status=status, warnings=warnings)


def status_response(error: ApiError, *, warnings: Sequence[str] = ()) -> JsonResponse:
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


def created_status(warnings: Sequence[str]) -> web.Response:
    """The answer to a request of a kind that is never stored, once it has been carried out."""
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
    return object_response(status, status=201, warnings=warnings)


def add_warnings(response: web.StreamResponse, warnings: Sequence[str]) -> None:
    """``Warning`` headers as kubectl prints them: each text once, 4 KiB in all."""
    room = _LONGEST_WARNINGS
    for text in dict.fromkeys(warnings):
        plain = _UNSAFE.sub(" ", text).replace("\\", "\\\\").replace('"', '\\"')
        room -= len(plain)
        if room < 0:
            return
        response.headers.add("Warning", f'299 - "{plain}"')


async def compressed(request: web.BaseRequest, response: JsonResponse) -> JsonResponse:
    """The answer gzipped, if it is large and the client takes that."""
    if sum(map(len, response.pieces)) < GZIP_FROM_BYTES:
        return response
    response.headers["Vary"] = "Accept-Encoding"
    if accepts_gzip(request.headers.get("Accept-Encoding", "")):
        loop = asyncio.get_running_loop()
        response.pieces = await loop.run_in_executor(_compressors, _gzip, response.pieces)
        response.headers["Content-Encoding"] = "gzip"
    return response


def _let_others_run_first() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


_compressors = ThreadPoolExecutor(1, thread_name_prefix="gzip", initializer=_let_others_run_first)


def _gzip(pieces: Sequence[bytes]) -> Sequence[bytes]:
    compressor = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WINDOW)
    return [*map(compressor.compress, pieces), compressor.flush()]
