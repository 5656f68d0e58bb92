"""The checks and calls that probes and lifecycle hooks are made of: HTTP, TCP, gRPC, a command.

The HTTP client is a few lines over asyncio streams: a probe needs the status line and little else, and an HTTP client
library would be the largest module of the agent. It speaks HTTP/1.1 with ``Connection: close`` and reads lines of at
most 8 KiB, beyond the status line only those of a redirect.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import grpc

from nodeagent.runtime.containers import Containers
from nodeagent.runtime.oci import ContainerRuntimeError

logger = logging.getLogger(__name__)

_HEAD_LIMIT_BYTES = 8192
_HEADER_LINES_LIMIT = 100
_REDIRECTS = (301, 302, 303, 307, 308)
_REDIRECT_LIMIT = 10
_USER_AGENT = "kube-probe/1.35"
_SHORT_LENGTH = 127
_SERVING = b"\x08\x01"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a check passed, and what a user is told if not."""

    success: bool
    message: str = ""


class InvalidPortError(ValueError):
    """A port name that the container does not declare."""


def port_of(container: Mapping[str, Any], port: int | str) -> int:
    """The number of a port given by number or by the name of one of the container's ports. Raises InvalidPortError."""
    if isinstance(port, int) or port.isdecimal():
        return int(port)
    for declared in container.get("ports") or ():
        if declared.get("name") == port:
            return int(declared["containerPort"])
    raise InvalidPortError(f"couldn't find port {port!r} in container {container['name']}")


@functools.cache
def _unverified() -> ssl.SSLContext:
    """A probe's certificate is whatever the container shows (Kubernetes does not verify it either)."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def http_get(
    action: Mapping[str, Any], container: Mapping[str, Any], *, address: str, timeout_s: float
) -> Outcome:
    """GET as an ``httpGet`` action asks; 200 to 399 is success.

    A redirect is followed as long as it stays on the host; one that leads elsewhere is a success as it is.
    """
    try:
        request = _first_request(action, host=action.get("host") or address, port=port_of(container, action["port"]))
        async with asyncio.timeout(timeout_s):
            code = await _final_status(request)
    except TimeoutError:
        return Outcome(False, f"Get {_url(action, address)}: context deadline exceeded")
    except (OSError, ValueError) as error:
        return Outcome(False, f"Get {_url(action, address)}: {error}")
    return Outcome(200 <= code < 400, f"HTTP probe failed with statuscode: {code}")


def _url(action: Mapping[str, Any], address: str) -> str:
    scheme = (action.get("scheme") or "HTTP").lower()
    return f'"{scheme}://{action.get("host") or address}:{action["port"]}{action.get("path") or "/"}"'


@dataclass(frozen=True, slots=True)
class _Request:
    """One GET. ``headers`` are the probe's own by their lower-case names, with the name as written."""

    secure: bool
    host: str
    port: int
    target: str
    headers: Mapping[str, tuple[str, str]]

    @property
    def url(self) -> str:
        return f"http{'s' if self.secure else ''}://{self.host}:{self.port}{self.target}"

    def encoded(self) -> bytes:
        headers = {
            "host": ("Host", f"{self.host}:{self.port}"),
            "user-agent": ("User-Agent", _USER_AGENT),
            "accept": ("Accept", "*/*"),
            **self.headers,
        }
        lines = [f"GET {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.values())]
        clean = [line.replace("\r", "").replace("\n", "") for line in lines]
        return "\r\n".join([*clean, "Connection: close", "", ""]).encode()

    def redirected(self, location: str) -> _Request | None:
        """The request that a Location header asks for, None for one that is no web address of the same host."""
        try:
            parts = urlsplit(urljoin(self.url, location))
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            return None
        if parts.scheme not in ("http", "https") or parts.hostname != self.host.lower():
            return None
        headers = dict(self.headers)
        if urlsplit(location).scheme:
            headers.pop("host", None)
        target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        return _Request(parts.scheme == "https", self.host, port, target, headers)


def _first_request(action: Mapping[str, Any], *, host: str, port: int) -> _Request:
    path = action.get("path") or "/"
    headers = {
        each["name"].lower(): (each["name"], each.get("value") or "") for each in action.get("httpHeaders") or ()
    }
    target = path if path.startswith("/") else "/" + path
    return _Request(action.get("scheme") == "HTTPS", host, port, target, headers)


async def _final_status(request: _Request) -> int:
    """The status code at the end of the redirects. Raises OSError, also for an answer that is not HTTP."""
    for _ in range(_REDIRECT_LIMIT + 1):
        code, location = await _ask(request)
        following = request.redirected(location) if code in _REDIRECTS and location else None
        if following is None:
            return code
        request = following
    raise OSError(f"stopped after {_REDIRECT_LIMIT} redirects")


async def _ask(request: _Request) -> tuple[int, str]:
    """Status code and, of a redirect, the Location of one answer."""
    reader, writer = await asyncio.open_connection(
        request.host, request.port, ssl=_unverified() if request.secure else None, limit=_HEAD_LIMIT_BYTES
    )
    try:
        writer.write(request.encoded())
        await writer.drain()
        words = (await reader.readline()).split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
            raise OSError("malformed HTTP response")
        code = int(words[1])
        return code, await _location(reader) if code in _REDIRECTS else ""
    except ValueError as error:
        raise OSError("response header too long") from error
    finally:
        writer.transport.abort()


async def _location(reader: asyncio.StreamReader) -> str:
    """The value of the Location header, empty if there is none among as many lines as an answer may have."""
    for _ in range(_HEADER_LINES_LIMIT):
        line = (await reader.readline()).strip()
        if not line:
            break
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"location":
            return value.strip().decode("latin-1")
    return ""


async def tcp_connect(
    action: Mapping[str, Any], container: Mapping[str, Any], *, address: str, timeout_s: float
) -> Outcome:
    """Success is that the port accepts a connection."""
    host = action.get("host") or address
    try:
        port = port_of(container, action["port"])
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Outcome(False, f"dial tcp {host}:{action['port']}: i/o timeout")
    except (OSError, InvalidPortError) as error:
        return Outcome(False, f"dial tcp {host}:{action['port']}: {error}")
    writer.close()
    return Outcome(True)


async def grpc_health(action: Mapping[str, Any], *, address: str, timeout_s: float) -> Outcome:
    """Success is SERVING from ``grpc.health.v1.Health/Check``. Both messages are one field, so none is generated."""
    service = (action.get("service") or "").encode()
    if len(service) > _SHORT_LENGTH:
        return Outcome(False, "service name too long")
    request = b"\x0a" + bytes([len(service)]) + service if service else b""
    target = f"{address}:{action['port']}"
    async with grpc.aio.insecure_channel(target) as channel:
        try:
            call = channel.unary_unary("/grpc.health.v1.Health/Check", _as_is, _as_is)
            reply: bytes = await call(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            return Outcome(False, f"service unhealthy: {error.code().name}: {error.details()}")
    return Outcome(reply[:2] == _SERVING, "service unhealthy (responded with another status than SERVING)")


def _as_is(message: bytes) -> bytes:
    return message


async def execute(action: Mapping[str, Any], containers: Containers, container_id: str, *, timeout_s: float) -> Outcome:
    """Run a command in the container; success is exit code 0."""
    arguments = list(action.get("command") or ())
    try:
        completed = await containers.execute(container_id, arguments, timeout_s=timeout_s)
    except ContainerRuntimeError as error:
        return Outcome(False, error.message)
    if completed.timed_out:
        return Outcome(False, f"command timed out: {arguments!r} timed out after {timeout_s:g}s")
    return Outcome(completed.code == 0, completed.output.strip() or f"command exited with code {completed.code}")


@dataclass(frozen=True, slots=True)
class Target:
    """The container that a probe or hook is about."""

    container: Mapping[str, Any]
    container_id: str
    address: str
    containers: Containers

    async def perform(self, handler: Mapping[str, Any], *, timeout_s: float) -> Outcome:
        """Carry out one handler: ``exec``, ``httpGet``, ``tcpSocket``, ``grpc`` or ``sleep``.

        Whatever goes wrong is an outcome, so that a container is never left without its probes.
        """
        try:
            return await self._perform(handler, timeout_s=timeout_s)
        except Exception as error:
            logger.exception("handler_failed", extra={"container": self.container_id})
            return Outcome(False, f"{type(error).__name__}: {error}")

    async def _perform(self, handler: Mapping[str, Any], *, timeout_s: float) -> Outcome:
        if (action := handler.get("exec")) is not None:
            return await execute(action, self.containers, self.container_id, timeout_s=timeout_s)
        if (action := handler.get("httpGet")) is not None:
            return await http_get(action, self.container, address=self.address, timeout_s=timeout_s)
        if (action := handler.get("tcpSocket")) is not None:
            return await tcp_connect(action, self.container, address=self.address, timeout_s=timeout_s)
        if (action := handler.get("grpc")) is not None:
            return await grpc_health(action, address=self.address, timeout_s=timeout_s)
        if (action := handler.get("sleep")) is not None:
            await asyncio.sleep(min(float(action["seconds"]), timeout_s))
            return Outcome(True)
        return Outcome(False, "no handler")
