"""The waker on loopback: connections are held, the bell rings, and what was sent is delivered."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nodeagent.network.service_plan import Endpoint
from nodeagent.waking import doorbell
from nodeagent.waking.held import HeldPort, write_held
from nodeagent.waking.waker import Waker

DEADLINE_S = 10.0


@dataclass
class Lab:
    """A waker, reached at its own address because nothing is translated here, and a backend that may come."""

    held_path: Path
    waker: Waker
    port: int
    rung: list[tuple[str, str]]
    served: list[bytes] = field(default_factory=list)

    def write(self, *endpoints: Endpoint) -> None:
        write_held(self.held_path, {f"127.0.0.1:{self.port}": HeldPort("default", "web", endpoints)})
        self.waker.reload()

    async def ask(self, text: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(text)
            writer.write_eof()
            async with asyncio.timeout(DEADLINE_S):
                return await reader.read()
        finally:
            writer.close()

    @asynccontextmanager
    async def backend(self) -> AsyncIterator[Endpoint]:
        """Answers what it was sent, in capitals, once its client has sent everything."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            data = await reader.read()
            self.served.append(data)
            writer.write(data.upper())
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            yield Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    rung: list[tuple[str, str]] = []
    held_path = tmp_path / "held.json"
    waker = Waker(held_path, lambda namespace, service: rung.append((namespace, service)))
    server = await asyncio.start_server(waker.serve, "127.0.0.1", 0)
    async with server:
        yield Lab(held_path, waker, server.sockets[0].getsockname()[1], rung)
    await waker.close()


async def test_a_request_waits_for_an_endpoint(lab: Lab) -> None:
    """The request is held while nobody serves, and answered by whoever comes, whole and with both ends' ends."""
    lab.write()
    asking = asyncio.create_task(lab.ask(b"hello"))
    async with asyncio.timeout(DEADLINE_S):
        while not lab.rung:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert not asking.done()
    async with lab.backend() as endpoint:
        lab.write(endpoint)
        assert await asking == b"HELLO"
    assert lab.served == [b"hello"]


async def test_a_hundred_first_requests_are_all_answered(lab: Lab) -> None:
    """However many wait, none is lost, and the bell is not rung for each."""
    lab.write()
    asking = [asyncio.create_task(lab.ask(f"request {number}".encode())) for number in range(100)]
    async with asyncio.timeout(DEADLINE_S):
        while not lab.rung:  # noqa: ASYNC110
            await asyncio.sleep(0)
    async with lab.backend() as endpoint:
        lab.write(endpoint)
        answers = await asyncio.gather(*asking)
    assert answers == [f"REQUEST {number}".encode() for number in range(100)]
    assert len(lab.rung) < 20


async def test_the_bell_is_rung_until_somebody_comes(lab: Lab) -> None:
    """An agent that was away when the bell rang first hears it later, however many wait; none rings when all have."""
    lab.write()
    asking = [asyncio.create_task(lab.ask(b"hello")) for _ in range(10)]
    async with asyncio.timeout(DEADLINE_S):
        while len(lab.rung) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    async with lab.backend() as endpoint:
        lab.write(endpoint)
        assert await asyncio.gather(*asking) == [b"HELLO"] * 10


async def test_an_endpoint_that_does_not_answer_yet_is_tried_again(lab: Lab) -> None:
    """An endpoint may be known a moment before it listens, or after it has gone."""
    async with lab.backend() as endpoint:
        gone = endpoint
    lab.write(gone)
    asking = asyncio.create_task(lab.ask(b"hello"))
    async with asyncio.timeout(DEADLINE_S):
        while not lab.rung:  # noqa: ASYNC110
            await asyncio.sleep(0)
    async with lab.backend() as endpoint:
        lab.write(gone, endpoint)
        assert await asking == b"HELLO"


async def test_large_bodies_pass_both_ways(lab: Lab) -> None:
    """Bytes are neither lost nor changed."""
    body = b"".join(struct.pack("!I", number) for number in range(1 << 20)).replace(b"a", b"b")
    async with lab.backend() as endpoint:
        lab.write(endpoint)
        assert await lab.ask(body) == body.upper()


async def test_what_is_not_held_is_reset(lab: Lab) -> None:
    """A connection to what is no held service ends at once, as a refused one would."""
    lab.held_path.write_text("{}")
    lab.waker.reload()
    with pytest.raises(ConnectionResetError):
        await lab.ask(b"hello")


async def test_the_bell_is_heard(tmp_path: Path) -> None:
    """The agent hears which service is rung for; without an agent, ringing says so."""
    path = tmp_path / "dns" / "doorbell"
    assert not doorbell.press(path, "default", "web")
    heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    transport = await doorbell.listen(doorbell.hang(path), lambda *service: heard.put_nowait(service))
    try:
        assert doorbell.press(path, "default", "web")
        async with asyncio.timeout(DEADLINE_S):
            assert await heard.get() == ("default", "web")
    finally:
        transport.close()
    assert path.stat().st_mode & 0o777 == 0o600
