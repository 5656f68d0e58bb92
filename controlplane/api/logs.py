"""``pods/<name>/log``: the options of a request, and the stream from the node that runs the pod."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Protocol

from aiohttp import web

from controlplane.api.call import Call
from controlplane.api.lists import Lister
from controlplane.store.cache import Cache
from flotilla.api.errors import ApiError, bad_request, not_found
from flotilla.api.objects import KubeObject, annotations_of, parse_time
from flotilla.api.resources import PODS

logger = logging.getLogger(__name__)

FIRST_BYTES_S = 0.5
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_FLAGS = ("follow", "previous", "timestamps")
_NUMBERS = ("sinceSeconds", "tailLines", "limitBytes")
_LISTS = ("initContainers", "containers", "ephemeralContainers")


class LogSource(Protocol):
    """Where logs come from."""

    def stream(self, pod: KubeObject, container: str, options: KubeObject) -> AsyncIterator[bytes]:
        """The log's bytes as they come; ``options`` is a core/v1 PodLogOptions. Raises ApiError before the first."""


def read_log_options(call: Call) -> KubeObject:
    """The PodLogOptions of a request. BadRequest for values that can't be."""
    options: KubeObject = {name: True for name in _FLAGS if call.flag(name)}
    for name in _NUMBERS:
        number = call.number(name)
        if number is None:
            continue
        if number < (1 if name == "limitBytes" else 0):
            raise bad_request(f"{name}: Invalid value: {number}: must be greater than or equal to 0")
        options[name] = number
    since = call.query.get("sinceTime", "")
    if since:
        if "sinceSeconds" in options:
            raise bad_request("at most one of `sinceTime` or `sinceSeconds` may be specified")
        try:
            parse_time(since)
        except ValueError as error:
            raise bad_request(f'sinceTime: "{since}" is not an RFC 3339 time') from error
        options["sinceTime"] = since
    return options


def choose_container(pod: KubeObject, wanted: str) -> str:
    """The container whose log is meant. BadRequest if that is not clear, or there is no such container."""
    spec = pod.get("spec") or {}
    names = [container["name"] for part in _LISTS for container in spec.get(part) or ()]
    regular = [container["name"] for container in spec.get("containers") or ()]
    pod_name = pod["metadata"]["name"]
    if wanted:
        if wanted not in names:
            raise bad_request(f"container {wanted} is not valid for pod {pod_name}")
        return wanted
    default = annotations_of(pod).get(_DEFAULT_CONTAINER)
    if default in names:
        return str(default)
    if len(regular) != 1:
        choices = f"choose one of: [{' '.join(regular)}]"
        raise bad_request(f"a container name must be specified for pod {pod_name}, {choices}")
    return str(regular[0])


class Logs:
    """The handler of the log subresource."""

    def __init__(self, source: LogSource, cache: Cache, lister: Lister) -> None:
        self._source = source
        self._cache = cache
        self._lister = lister
        self._streams: set[asyncio.Timeout] = set()

    def close(self) -> None:
        """End every stream that runs."""
        for deadline in self._streams:
            deadline.reschedule(asyncio.get_running_loop().time())

    async def serve(self, call: Call) -> web.StreamResponse:
        await self._lister.reach(None)
        entry = self._cache.get(PODS, call.info.namespace, call.info.name)
        if entry is None:
            raise not_found("pods", call.info.name)
        options = read_log_options(call)
        container = choose_container(entry.obj, call.query.get("container", ""))
        options["container"] = container
        if not (entry.obj.get("spec") or {}).get("nodeName"):
            raise bad_request(
                f'container "{container}" in pod "{entry.name}" is waiting to start: no node is assigned yet'
            )
        chunks = self._source.stream(entry.obj, container, options)
        try:
            return await self._forward(call, chunks)
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()

    async def _forward(self, call: Call, chunks: AsyncIterator[bytes]) -> web.StreamResponse:
        """Send what comes. Until the first bytes, for half a second, a failure still becomes a Status."""
        first = asyncio.ensure_future(_next(chunks))
        try:
            await asyncio.wait([first], timeout=FIRST_BYTES_S)
            if first.done():
                first.result()
            response = web.StreamResponse(headers={"Content-Type": "text/plain", "Cache-Control": "no-cache"})
            response.enable_chunked_encoding()
            await response.prepare(call.request)
            call.started()
            await self._copy(first, chunks, response)
        finally:
            if not first.done():
                first.cancel()
                with contextlib.suppress(asyncio.CancelledError, ApiError):
                    await first
        return response

    async def _copy(
        self, first: asyncio.Future[bytes | None], chunks: AsyncIterator[bytes], response: web.StreamResponse
    ) -> None:
        deadline = asyncio.timeout(None)
        self._streams.add(deadline)
        try:
            async with deadline:
                chunk = await first
                while chunk is not None:
                    await response.write(chunk)
                    chunk = await _next(chunks)
        except (TimeoutError, ConnectionResetError):
            pass
        except ApiError as error:
            logger.info("log_stream_failed", extra={"error": error.message})
        finally:
            self._streams.discard(deadline)
        with contextlib.suppress(ConnectionResetError):
            await response.write_eof()


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(chunks, None)
