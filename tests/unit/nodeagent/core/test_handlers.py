"""Checks against real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from nodeagent.cgroups import CgroupLayout, PodCgroups
from nodeagent.handlers import InvalidPortError, Target, grpc_health, http_get, port_of, tcp_connect
from nodeagent.runtime.containers import Containers
from nodeagent.runtime.oci import OciRuntime
from nodeagent.runtime.runtimes import Runtimes

CONTAINER = {"name": "web", "ports": [{"name": "http", "containerPort": 8080}]}
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[int]:
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.transport.abort()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.get_running_loop().create_task(serve(reader, writer)))

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*tasks, return_exceptions=True)


def answering(reply: bytes, seen: list[bytes]) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(reply)
        await writer.drain()

    return handle


@pytest.mark.parametrize(
    ("line", "success"),
    [("HTTP/1.1 200 OK", True), ("HTTP/1.0 302 Found", True), ("HTTP/1.1 404 No", False), ("HTTP/1.1 500 No", False)],
)
async def test_http_status_decides(line: str, success: bool) -> None:
    """200 to 399 is healthy; the failure names the code as the kubelet does."""
    async with listening(answering(f"{line}\r\nContent-Length: 0\r\n\r\n".encode(), [])) as port:
        outcome = await http_get({"port": port}, CONTAINER, address="127.0.0.1", timeout_s=5)
    assert outcome.success is success
    assert success or outcome.message == f"HTTP probe failed with statuscode: {line.split()[1]}"


async def test_the_request_carries_what_was_asked() -> None:
    """Path and headers are the probe's; nobody can smuggle another line in."""
    seen: list[bytes] = []
    headers = [{"name": "X-Check", "value": "yes\r\nEvil: 1"}, {"name": "Host", "value": "example.org"}]
    async with listening(answering(b"HTTP/1.1 204 OK\r\n\r\n", seen)) as port:
        action = {"port": port, "path": "healthz?full=1", "httpHeaders": headers}
        await http_get(action, CONTAINER, address="127.0.0.1", timeout_s=5)
    lines = seen[0].decode().split("\r\n")
    assert lines[0] == "GET /healthz?full=1 HTTP/1.1"
    assert "Host: example.org" in lines and "X-Check: yesEvil: 1" in lines
    assert "Connection: close" in lines


def redirecting(location: str, final: bytes, seen: list[str]) -> Handler:
    """Every path but ``/end`` leads to ``location``."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        seen.append(head)
        moved = f"HTTP/1.1 302 Found\r\nServer: x\r\nlocation: {location}\r\n\r\n".encode()
        writer.write(final if head.startswith("GET /end ") else moved)
        await writer.drain()

    return handle


@pytest.mark.parametrize(
    ("location", "success", "requests"),
    [
        ("/end", False, 2),
        ("end", False, 2),
        ("http://127.0.0.1:{port}/end", False, 2),
        ("http://other.example/end", True, 1),
        ("ftp://127.0.0.1/end", True, 1),
        ("http://127.0.0.1:port/", True, 1),
        ("", True, 1),
        ("/start", False, 11),
    ],
)
async def test_redirects_stay_on_the_host(location: str, success: bool, requests: int) -> None:
    """What a redirect leads to on the same host decides; one to elsewhere counts as healthy; a loop fails."""
    seen: list[str] = []
    places: dict[str, str] = {}

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await redirecting(places["location"], b"HTTP/1.1 503 No\r\n\r\n", seen)(reader, writer)

    async with listening(handle) as port:
        places["location"] = location.format(port=port)
        action = {"port": port, "path": "/start", "httpHeaders": [{"name": "X-Check", "value": "yes"}]}
        outcome = await http_get(action, CONTAINER, address="127.0.0.1", timeout_s=5)
    assert (outcome.success, len(seen)) == (success, requests)
    assert all("X-Check: yes" in head for head in seen)


async def test_a_check_that_cannot_be_made_is_an_outcome(tmp_path: Path) -> None:
    """A failure that nobody thought of must not end the probing of a container."""
    cgroups = PodCgroups("nothing", CgroupLayout(2, {"": tmp_path}))
    runtimes = Runtimes(OciRuntime("/nonexistent/runc", tmp_path / "runc"))
    containers = Containers(tmp_path, runtimes=runtimes, cgroups=cgroups, conmon="")
    target = Target(CONTAINER, "1", "127.0.0.1", containers)
    containers.bundle("1").mkdir(parents=True)
    (containers.bundle("1") / "config.json").write_text('{"process": {}}')
    for handler in ({"exec": {"command": ["true"]}}, {"httpGet": {"port": 1, "host": "x" * 80}}):
        outcome = await target.perform(handler, timeout_s=1)
        assert not outcome.success and outcome.message


async def test_a_silent_server_times_out() -> None:
    """A probe never takes longer than it may."""

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent) as port:
        outcome = await http_get({"port": port}, CONTAINER, address="127.0.0.1", timeout_s=0.05)
    assert not outcome.success and "deadline exceeded" in outcome.message


@pytest.mark.parametrize("reply", [b"", b"nonsense\r\n", b"HTTP/1.1 abc\r\n", b"x" * 20_000])
async def test_nonsense_is_a_failure(reply: bytes) -> None:
    """Whatever a container answers, the probe ends with an outcome."""
    async with listening(answering(reply, [])) as port:
        outcome = await http_get({"port": port}, CONTAINER, address="127.0.0.1", timeout_s=5)
    assert not outcome.success


async def test_tcp_asks_only_for_a_connection() -> None:
    """Accepting is enough; a closed port fails."""
    async with listening(answering(b"", [])) as port:
        assert (await tcp_connect({"port": port}, CONTAINER, address="127.0.0.1", timeout_s=5)).success
    assert not (await tcp_connect({"port": port}, CONTAINER, address="127.0.0.1", timeout_s=5)).success


def test_named_ports() -> None:
    """A name is looked up in the container's ports."""
    assert port_of(CONTAINER, "http") == 8080
    assert port_of(CONTAINER, "81") == 81
    with pytest.raises(InvalidPortError):
        port_of(CONTAINER, "https")


class _Health(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """A health service that answers with one status and notes what it was asked."""

    def __init__(self, status: int) -> None:
        self.status, self.asked = status, b""

    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:  # type: ignore[type-arg]
        async def check(request: bytes, _: object) -> bytes:
            self.asked = request
            return bytes([8, self.status])

        return grpc.unary_unary_rpc_method_handler(check, lambda data: data, lambda data: data)


@pytest.mark.parametrize(("status", "success"), [(1, True), (2, False)])
async def test_grpc_health(status: int, success: bool) -> None:
    """SERVING is healthy, everything else is not; the service's name is passed on."""
    health = _Health(status)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((health,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        outcome = await grpc_health({"port": port, "service": "shop"}, address="127.0.0.1", timeout_s=5)
    finally:
        await server.stop(None)
    assert outcome.success is success
    assert health.asked == b"\x0a\x04shop"
