"""Clients that do not keep to the rules: every one is refused or cut off, everybody else is served meanwhile."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controlplane.pki import ensure_cluster_pki
from tests.integration.api_process import HELD, ApiProcess, api_process

DEADLINE_S = 20.0
LONGEST_HOLD_S = 0.05  # of CPU time of the loop's thread, which a neighbour on the same core may double
MIB = 1 << 20
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
JSON = {"Content-Type": "application/json"}
FIRST_HEAD_S, IDLE_S, STALL_S, HANDSHAKE_S = 1.0, 2.0, 1.0, 1.0
LIMITS = (
    *("--first-head-s", str(FIRST_HEAD_S), "--idle-s", str(IDLE_S)),
    *("--stall-s", str(STALL_S), "--handshake-s", str(HANDSHAKE_S)),
)


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds. AssertionError when it does not in time."""
    ends_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < ends_s, "it did not come to hold"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    with api_process(tmp_path_factory.mktemp("hostile") / "server.log", *LIMITS) as process:
        yield process


@pytest.fixture(autouse=True)
def unharmed(server: ApiProcess) -> Iterator[None]:
    """After each attack the server is ready, nothing held its loop, and no connection stays open."""
    server.metric(HELD)
    before = server.descriptors
    yield
    held_s = server.metric(HELD)
    assert server.get("/readyz") == (200, "ok")
    until(lambda: server.descriptors <= before)
    assert held_s <= 2 * LONGEST_HOLD_S, f"the loop was held for {held_s * 1000:.0f} ms"


async def exchange(server: ApiProcess, *pieces: bytes, half_close: bool = False) -> bytes:
    """All that the server says to some bytes, until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        async with asyncio.timeout(DEADLINE_S):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            if half_close:
                writer.write_eof()
            try:
                return await reader.read()
            except ConnectionResetError:
                return b""
    finally:
        writer.close()


def status_of(answer: bytes) -> dict[str, Any]:
    """The Status in an answer's body."""
    body: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert body["kind"] == "Status"
    return body


UNREADABLE = {
    "no method": b"\x00\x01\x02\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
    "a header without a name": b"GET /api HTTP/1.1\r\n: x\r\n\r\n",
    "a folded header": b"GET /api HTTP/1.1\r\nHost: a\r\n b\r\nX: y\r\n z\r\n\r\n",
    "a null in a header": b"GET /api HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
    "a negative length": b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunks": (
        b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "an unknown encoding": b"POST /api HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n",
}


@pytest.mark.parametrize("case", UNREADABLE)
async def test_what_is_no_http(server: ApiProcess, case: str) -> None:
    """400 as a Status, and the end of the connection."""
    answer = await exchange(server, UNREADABLE[case])
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert status_of(answer)["reason"] == "BadRequest"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /api/v1/pods?labelSelector=" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /api HTTP/1.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET /api HTTP/1.1\r\n" + b"a" * 40_000 + b": x\r\n\r\n",
        b"GET /api HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(5000)) + b"\r\n",
    ],
    ids=["line", "value", "name", "many"],
)
async def test_heads_without_end(server: ApiProcess, head: bytes) -> None:
    """A line or a header that is too long, or too many of them: 431."""
    answer = await exchange(server, head)
    assert answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.0 431 "))
    assert status_of(answer)["code"] == 431


CHUNKED = b"POST " + CONFIG_MAPS.encode() + b" HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\n",
        b"5\r\nabc",
        b'5\r\n{"a":1}\r\n',
        b"-1\r\n",
        b"ffffffffffffffffff\r\n",
        b"2;x=" + b"y" * 40_000 + b"\r\n{}",
    ],
    ids=["no size", "truncated", "wrong size", "negative", "huge", "extension"],
)
async def test_malformed_chunks(server: ApiProcess, chunks: bytes) -> None:
    """No answer but a refusal, and the connection does not stay open."""
    answer = await exchange(server, CHUNKED, chunks, half_close=True)
    assert answer == b"" or b" 400 " in answer.partition(b"\r\n")[0]


async def test_a_body_of_endless_chunks(server: ApiProcess) -> None:
    """413 as soon as the limit is passed, however the client announces its body."""
    answer = await exchange(server, CHUNKED, *[b"10000\r\n" + b" " * 65536 + b"\r\n"] * 60)
    assert b" 413 " in answer.partition(b"\r\n")[0]


async def test_a_body_that_is_too_large_by_its_length(server: ApiProcess) -> None:
    """413 without waiting for the body."""
    head = f"POST {CONFIG_MAPS} HTTP/1.1\r\nHost: a\r\nContent-Length: {1 << 40}\r\n\r\n".encode()
    answer = await exchange(server, head, b" " * 1000)
    assert b" 413 " in answer.partition(b"\r\n")[0]
    assert status_of(answer)["reason"] == "RequestEntityTooLarge"


async def test_slow_heads(server: ApiProcess) -> None:
    """Clients that send their first request byte by byte are cut off, and so are those that send nothing."""

    async def trickle() -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        started_s = time.monotonic()
        ended = asyncio.create_task(reader.read())
        while not ended.done():
            writer.write(b"G")
            await asyncio.wait([ended], timeout=0.1)
        writer.close()
        return time.monotonic() - started_s

    async def silence() -> float:
        started_s = time.monotonic()
        await exchange(server)
        return time.monotonic() - started_s

    async with asyncio.timeout(DEADLINE_S):
        took_s = await asyncio.gather(*(trickle() for _ in range(20)), *(silence() for _ in range(20)))
    assert max(took_s) < FIRST_HEAD_S + 5


async def test_an_idle_connection_is_closed(server: ApiProcess) -> None:
    """After its last answer a connection stays for a while, half a head on it or not."""
    answer = await exchange(server, b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /ver")
    assert answer.startswith(b"HTTP/1.1 200 OK")


async def test_half_closed_sockets(server: ApiProcess) -> None:
    """A client that has closed its side gets its answer or nothing; the connection goes."""
    answer = await exchange(server, b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n", half_close=True)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 200 OK")
    head = f"POST {CONFIG_MAPS} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n".encode()
    assert b" 20" not in (await exchange(server, head, b'{"meta', half_close=True)).partition(b"\r\n")[0]


async def test_pipelining(server: ApiProcess) -> None:
    """Requests that are sent before the answers come are answered in order."""
    request = b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n"
    last = b"GET /version HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    answer = await exchange(server, request * 499 + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 500


async def test_a_reader_that_stops(server: ApiProcess) -> None:
    """Who asks for much and does not read it is cut off; memory is not held for it."""
    async with aiohttp.ClientSession(server.url) as session:
        for number in range(24):
            body = {"metadata": {"name": f"large-{number}"}, "data": {"a": "x" * 900_000}}
            async with session.post(CONFIG_MAPS, json=body) as response:
                assert response.status in (201, 409)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", server.port))
            client.sendall(f"GET {CONFIG_MAPS} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            until(lambda: server.metric("flotilla_api_connections") <= 2)
        async with session.delete(CONFIG_MAPS) as response:
            assert response.status == 200


async def send(
    server: ApiProcess, method: str, path: str, body: bytes, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """Code and object of the answer."""
    async with (
        asyncio.timeout(DEADLINE_S),
        aiohttp.ClientSession(server.url) as session,
        session.request(method, path, data=io.BytesIO(body), headers=JSON | (headers or {})) as response,
    ):
        return response.status, await response.json()


async def post(server: ApiProcess, path: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    return await send(server, "POST", path, body, headers)


def config_map(data: str, name: str = "a") -> bytes:
    return f'{{"metadata":{{"name":"{name}"}},"data":{data}}}'.encode()


BODIES: dict[str, tuple[int, bytes]] = {
    "truncated": (400, b'{"metadata":{"name":"a"'),
    "invalid UTF-8": (400, config_map("{}")[:-2] + b'"\xff\xfe":"\xc3\x28"}}'),
    "a lone surrogate": (400, config_map(r'{"a":"\ud800"}')),
    "nested objects": (400, b'{"a":' * 200_000 + b"1" + b"}" * 200_000),
    "nested arrays": (400, b"[" * 1_000_000),
    "nested within limits": (400, b'{"metadata":{"name":"a"},"data":' + b'{"a":' * 400 + b"1" + b"}" * 401),
    "beyond 64 bits": (400, config_map('{"a":' + "9" * 30 + "}")),
    "thousands of digits": (400, config_map('{"a":' + "9" * 100_000 + "}")),
    "a float for an integer": (400, b'{"metadata":{"name":"a","generation":1.5}}'),
    "a float out of range": (400, config_map('{"a":1e999}')),
    "many keys": (413, config_map("{" + ",".join(f'"k{number}":""' for number in range(200_000)) + "}")),
    "many duplicates": (201, config_map('{"a":"b"' + ',"a":"b"' * 100_000 + "}", "duplicates")),
    "an empty body": (400, b""),
    "null": (400, b"null"),
    "a number": (400, b"1"),
}


@pytest.mark.parametrize("case", BODIES)
async def test_bodies(server: ApiProcess, case: str) -> None:
    """Each is refused with a Status that fits, unless it only looks wrong."""
    code, body = BODIES[case]
    status, answer = await post(server, CONFIG_MAPS, body)
    assert (status, answer["kind"]) == (code, "ConfigMap" if code == 201 else "Status"), answer.get("message")


async def test_compressed_bodies(server: ApiProcess) -> None:
    """A kilobyte that stands for a gigabyte is not expanded."""
    bomb = gzip.compress(b" " * (8 * MIB), 9)
    for encoding in ("gzip", "deflate", "br", "zstd"):
        status, _ = await post(server, CONFIG_MAPS, bomb, **{"Content-Encoding": encoding})
        assert status == 415


@pytest.mark.parametrize("size", [0, 1, 4, 100, 100_000])
async def test_garbage_as_protobuf(server: ApiProcess, size: int) -> None:
    """Bytes without meaning after the magic ones are 400."""
    garbage = bytes((number * 7919 + size) % 256 for number in range(size))
    for body in (
        garbage,
        b"k8s\x00" + garbage,
        b"k8s\x00" + b"\x0a\x7f" * (size // 2),
        b"k8s\x00" + b"\x12\x02" * size,
    ):
        status, answer = await post(
            server, CONFIG_MAPS, body, **{"Content-Type": "application/vnd.kubernetes.protobuf"}
        )
        assert (status, answer["kind"]) == (400, "Status")


DOUBLING = [
    {"op": "add", "path": "/data", "value": {"a": "x" * 1000}},
    *({"op": "copy", "from": "/data", "path": f"/data/k{number}"} for number in range(60)),
]
DEEPENING = [{"op": "add", "path": "/data" + "/a" * depth, "value": {}} for depth in range(1, 1500)]
PATCHES: dict[str, tuple[str, Any]] = {
    "copies that double": ("json-patch+json", DOUBLING),
    "additions that deepen": ("json-patch+json", DEEPENING),
    "too many operations": ("json-patch+json", [{"op": "test", "path": "/kind", "value": "ConfigMap"}] * 20_000),
    "many operations": ("json-patch+json", [{"op": "add", "path": "/data/a", "value": "b"}] * 9_999 + [{"op": "x"}]),
    "a copy into itself": ("json-patch+json", [{"op": "copy", "from": "", "path": "/data/x"}] * 50),
    "an operation that is a list": ("json-patch+json", [{"op": ["add"], "path": "/data"}]),
    "a deep merge": ("merge-patch+json", b'{"a":' * 5000 + b"1" + b"}" * 5000),
    "a deep merge within limits": ("merge-patch+json", b'{"data":' * 300 + b"1" + b"}" * 300),
    "a deep strategic merge": ("strategic-merge-patch+json", b'{"data":' * 300 + b"1" + b"}" * 300),
    "a deep apply": ("apply-patch+yaml", b"[" * 100_000),
}


@pytest.mark.parametrize("case", PATCHES)
async def test_patches(server: ApiProcess, case: str) -> None:
    """A patch that grows without bound, or is no patch, is refused and changes nothing."""
    await post(server, CONFIG_MAPS, config_map('{"a":"b"}', "patched"))
    kind, body = PATCHES[case]
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": f"application/{kind}"}
    status, answer = await send(server, "PATCH", f"{CONFIG_MAPS}/patched?fieldManager=x", data, headers)
    assert 400 <= status < 500, answer
    code, text = server.get(f"{CONFIG_MAPS}/patched")
    assert (code, json.loads(text)["data"]) == (200, {"a": "b"})


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "large"}, "spec": {"containers": [{"name": "c", "image": "b"}]} | spec}


LARGE: dict[str, tuple[str, dict[str, Any]]] = {
    "labels": (
        "configmaps",
        {"metadata": {"name": "large", "labels": {f"k{number}": "v" for number in range(50_000)}}},
    ),
    "keys": ("configmaps", {"metadata": {"name": "large"}, "data": {f"k{number}": "" for number in range(30_000)}}),
    "finalizers": (
        "configmaps",
        {"metadata": {"name": "kept", "finalizers": [f"a.b/{number}" for number in range(20_000)]}},
    ),
    "unknown fields": ("configmaps", {"metadata": {"name": "large"}} | {f"k{number}": 1 for number in range(50_000)}),
    "containers": ("pods", pod(containers=[{"name": f"c{number}", "image": "b"} for number in range(5000)])),
    "tolerations": ("pods", pod(tolerations=[{"key": f"k{number}", "operator": "Exists"} for number in range(15_000)])),
}


@pytest.mark.parametrize("case", LARGE)
async def test_large_objects(server: ApiProcess, case: str) -> None:
    """Half a megabyte of small values is stored or refused, in steps that let others be served."""
    plural, obj = LARGE[case]
    path = f"/api/v1/namespaces/default/{plural}"
    status, answer = await send(server, "POST", path, json.dumps(obj).encode())
    assert status in (201, 413, 422), answer
    name = obj["metadata"]["name"]
    if status == 201:
        assert (await send(server, "DELETE", f"{path}/{name}?gracePeriodSeconds=0", b""))[0] == 200


async def ask(server: ApiProcess, path: str, **parameters: str) -> tuple[int, bytes]:
    async with (
        asyncio.timeout(DEADLINE_S),
        aiohttp.ClientSession(server.url) as session,
        session.get(path, params=parameters) as response,
    ):
        return response.status, await response.read()


SELECTORS = {
    "many requirements": ",".join(f"k{number}" for number in range(4000)),
    "many values": "a in (" + ",".join(f"v{number}" for number in range(4000)) + ")",
    "parentheses": "a in " + "(" * 10_000,
    "commas": "," * 20_000,
    "a long key": "a" * 30_000,
    "dashes": "a=" + "-" * 25_000,
    "dots": ".".join("a" * 12_000),
    "spaces": "a" + " " * 25_000 + "b",
    "exclamations": "!" * 20_000,
}


@pytest.mark.parametrize("case", SELECTORS)
async def test_selectors(server: ApiProcess, case: str) -> None:
    """A selector as long as the line allows is answered or refused at once."""
    for name in ("labelSelector", "fieldSelector"):
        status, _ = await ask(server, CONFIG_MAPS, **{name: SELECTORS[case]})
        assert status in (200, 400)


@pytest.mark.parametrize(
    "token", ["x" * 20_000, "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhIn0", "%", "e30", "=" * 99]
)
async def test_continue_tokens(server: ApiProcess, token: str) -> None:
    """A token that the server has not made is refused: never a failure."""
    status, body = await ask(server, CONFIG_MAPS, **{"continue": token, "limit": "1"})
    assert status in (200, 400, 410), body


@asynccontextmanager
async def watches(server: ApiProcess, count: int) -> AsyncIterator[list[aiohttp.ClientResponse]]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(server.url, connector=connector) as session, asyncio.timeout(DEADLINE_S * 2):
        path = f"{CONFIG_MAPS}?watch=1&allowWatchBookmarks=1"
        opened = await asyncio.gather(*(session.get(path) for _ in range(count)))
        try:
            yield list(opened)
        finally:
            for response in opened:
                response.close()


@pytest.mark.parametrize("count", [1000])
async def test_a_storm_of_watches(server: ApiProcess, count: int) -> None:
    """A thousand watches that open at once take no seats from others and are forgotten when they are dropped."""
    tasks = server.metric("flotilla_tasks")
    async with watches(server, count) as opened:
        assert all(response.status == 200 for response in opened)
        assert server.metric("apiserver_longrunning_requests") >= count
        assert server.metric("apiserver_flowcontrol_current_executing_requests") == 0
        code, _ = await post(server, CONFIG_MAPS, config_map("{}", "storm"))
        assert code in (201, 409)
    until(lambda: not server.metric("apiserver_longrunning_requests"))
    until(lambda: server.metric("flotilla_tasks") <= tasks + 2)


def test_clients_that_break_tls(tmp_path: Path) -> None:
    """Noise, silence and a hello that goes nowhere are counted and dropped; a client with a certificate is served."""
    pki = ensure_cluster_pki(tmp_path / "pki", server_names=["127.0.0.1"])
    context = ssl.create_default_context(cafile=str(pki.ca_file))
    context.load_cert_chain(pki.admin.certificate, pki.admin.key)
    with api_process(tmp_path / "tls.log", *LIMITS, "--pki", str(tmp_path / "pki"), context=context) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as first:
            first.sendall(b"noise")
            assert drained(first)
        before = server.descriptors
        noise = [b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 1000, b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"]
        clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(80)]
        for number, client in enumerate(clients):
            client.sendall(noise[number % len(noise)])
        assert server.get("/readyz") == (200, "ok")
        stranger = ssl.create_default_context(cafile=str(pki.ca_file))
        code, text = ApiProcess(server.process, server.port, server.log, stranger).get("/api")
        assert (code, json.loads(text)["reason"]) == (401, "Unauthorized")
        for client in clients:
            client.settimeout(DEADLINE_S)
            with client:
                assert drained(client)
        assert server.metric("apiserver_tls_handshake_errors_total") >= 60
        until(lambda: server.descriptors <= before)


def drained(client: socket.socket) -> bool:
    """Whether the server closes the connection."""
    try:
        while client.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True


def test_more_connections_than_allowed(tmp_path: Path) -> None:
    """At the limit a connection that has asked for nothing makes room for one that asks."""
    with api_process(tmp_path / "few.log", "--connections", "8") as server:
        silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
        for _ in range(3):
            assert server.get("/readyz") == (200, "ok")
        for client in silent:
            client.close()


async def test_shutting_down(tmp_path: Path) -> None:
    """On SIGTERM watches end as streams do, a request whose body is on its way is answered, new ones are refused."""
    with api_process(tmp_path / "stopped.log") as server:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(server.url, connector=connector) as session, asyncio.timeout(DEADLINE_S):
            watch = await session.get(f"{CONFIG_MAPS}?watch=1&allowWatchBookmarks=1")
            assert watch.status == 200
            body = config_map("{}", "late")
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            head = f"POST {CONFIG_MAPS} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body[:10])
            await writer.drain()
            until(lambda: server.metric("apiserver_current_inflight_requests") == 1)
            server.process.terminate()
            await watch.read()
            writer.write(body[10:])
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 201 Created")
            assert b"Connection: close" in answer
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", server.port)
            writer.close()
        assert await asyncio.to_thread(server.process.wait, DEADLINE_S) == 0
