"""The bytes of OpenAPI documents, kept while they are in use.

A document takes some tens of milliseconds and a few megabytes to build and is then asked for by each run of a client
for a while, or never again. So it is built in a thread when it is first wanted, kept compressed, and let go when nobody
has asked for some minutes. Its hash stays: with that alone a client is told that its copy is current.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import Callable

UNUSED_S = 300.0
_GZIP_WINDOW = 31

Build = Callable[[], bytes]


class DocumentCache:
    """Documents by name. A name's ``build`` returns the same bytes until it is forgotten; it is run in a thread."""

    def __init__(self, *, unused_s: float = UNUSED_S) -> None:
        self._unused_s = unused_s
        self._packed: dict[str, bytes] = {}
        self._digests: dict[str, str] = {}
        self._expiries: dict[str, asyncio.TimerHandle] = {}
        self._building = asyncio.Lock()
        self._forgotten = 0

    async def digest(self, name: str, build: Build) -> str:
        """The SHA-512 of the document, in upper-case hexadecimal digits."""
        known = self._digests.get(name)
        return known if known is not None else (await self._built(name, build))[1]

    async def packed(self, name: str, build: Build) -> bytes:
        """The document, gzipped."""
        return (await self._built(name, build))[0]

    def forget(self, name: str) -> None:
        """Build the document anew when it is next wanted: it would be another one now."""
        self._forgotten += 1
        self._packed.pop(name, None)
        self._digests.pop(name, None)
        if name in self._expiries:
            self._expiries.pop(name).cancel()

    async def _built(self, name: str, build: Build) -> tuple[bytes, str]:
        async with self._building:
            if name not in self._packed:
                forgotten = self._forgotten
                packed, digest = await asyncio.to_thread(_pack, build)
                if forgotten != self._forgotten:
                    return packed, digest
                self._packed[name], self._digests[name] = packed, digest
            self._expire_later(name)
            return self._packed[name], self._digests[name]

    def _expire_later(self, name: str) -> None:
        if name in self._expiries:
            self._expiries[name].cancel()
        loop = asyncio.get_running_loop()
        self._expiries[name] = loop.call_later(self._unused_s, self._packed.pop, name, None)


def unpack(packed: bytes) -> bytes:
    """The document that was gzipped."""
    return zlib.decompress(packed, wbits=_GZIP_WINDOW)


def _pack(build: Build) -> tuple[bytes, str]:
    body = build()
    return zlib.compress(body, wbits=_GZIP_WINDOW), hashlib.sha512(body).hexdigest().upper()
