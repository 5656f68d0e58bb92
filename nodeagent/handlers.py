"""The checks and calls that probes and lifecycle hooks are made of: HTTP, TCP, gRPC, a command.

The HTTP client is a dozen lines over asyncio streams: a probe needs the status line and nothing else, and an HTTP
client library would be the largest module of the agent. It speaks HTTP/1.1 with ``Connection: close`` and reads at most
8 KiB.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from nodeagent.runtime.containers import Containers
from nodeagent.runtime.oci import ContainerRuntimeError

_HEAD_LIMIT_BYTES = 8192
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
    """GET as an ``httpGet`` action asks; 200 to 399 is success (a redirect is not followed)."""
    try:
        port = port_of(container, action["port"])
        async with asyncio.timeout(timeout_s):
            line = await _status_line(action, host=action.get("host") or address, port=port)
    except TimeoutError:
        return Outcome(False, f"Get {_url(action, address)}: context deadline exceeded")
    except (OSError, InvalidPortError) as error:
        return Outcome(False, f"Get {_url(action, address)}: {error}")
    words = line.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return Outcome(False, f"Get {_url(action, address)}: malformed HTTP response")
    code = int(words[1])
    return Outcome(200 <= code < 400, f"HTTP probe failed with statuscode: {code}")


def _url(action: Mapping[str, Any], address: str) -> str:
    scheme = (action.get("scheme") or "HTTP").lower()
    return f'"{scheme}://{action.get("host") or address}:{action["port"]}{action.get("path") or "/"}"'


async def _status_line(action: Mapping[str, Any], *, host: str, port: int) -> bytes:
    secure = action.get("scheme") == "HTTPS"
    reader, writer = await asyncio.open_connection(
        host, port, ssl=_unverified() if secure else None, limit=_HEAD_LIMIT_BYTES
    )
    try:
        writer.write(_request(action, host=host, port=port))
        await writer.drain()
        return await reader.readline()
    except ValueError as error:
        raise OSError("response header too long") from error
    finally:
        writer.transport.abort()


def _request(action: Mapping[str, Any], *, host: str, port: int) -> bytes:
    path = action.get("path") or "/"
    headers = {
        "host": ("Host", f"{host}:{port}"),
        "user-agent": ("User-Agent", _USER_AGENT),
        "accept": ("Accept", "*/*"),
    }
    for header in action.get("httpHeaders") or ():
        headers[header["name"].lower()] = (header["name"], header.get("value") or "")
    lines = [f"GET {path if path.startswith('/') else '/' + path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.values()]
    clean = [line.replace("\r", "").replace("\n", "") for line in lines]
    return "\r\n".join([*clean, "Connection: close", "", ""]).encode()


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
        """Carry out one handler: ``exec``, ``httpGet``, ``tcpSocket``, ``grpc`` or ``sleep``."""
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
