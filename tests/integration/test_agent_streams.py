"""Commands in real containers, their first process attached, and connections to their ports, as streams."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flotilla.api.errors import ApiError
from flotilla.api.objects import decode, encode
from flotilla.api.streams import RESIZE, STATUS, STDERR, STDIN, STDOUT, Chunk, StreamOptions
from nodeagent.streams.attaching import attach
from nodeagent.streams.forwarding import forward
from nodeagent.streams.processes import run_command
from tests.directories import passable_directory
from tests.integration.agent_lab import DEADLINE_S, Bench, Node, is_ready, pod_of, running_bench

pytestmark = pytest.mark.root
EVERYTHING = StreamOptions(stdin=True, stdout=True, stderr=True)
TERMINAL = StreamOptions(stdin=True, stdout=True, tty=True)


@dataclass
class Client:
    """The other side of a stream: what it sends is put in, what came is kept by channel."""

    sent: asyncio.Queue[Chunk | None] = field(default_factory=asyncio.Queue)
    received: dict[int, bytes] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> Chunk | None:
        return await self.sent.get()

    async def write(self, chunk: Chunk) -> None:
        self.received[chunk.channel] = self.received.get(chunk.channel, b"") + chunk.data
        if chunk.end:
            self.ended.add(chunk.channel)
        self.changed.set()

    def send(self, channel: int, data: bytes, *, end: bool = False) -> None:
        self.sent.put_nowait(Chunk(channel, data, end=end))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = decode(self.received[STATUS])
        return found

    def output(self, channel: int = STDOUT) -> bytes:
        return self.received.get(channel, b"")


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    with passable_directory() as directory:
        async with running_bench(directory) as bench:
            yield bench


async def running(bench: Bench, command: str, **container: Any) -> tuple[Node, str]:
    """A node with one pod that runs, and its container's id."""
    node = bench.node()
    pod = pod_of(command)
    pod["spec"]["containers"][0] |= container
    worker = node.add(pod)
    await node.reports.until(lambda: is_ready(worker))
    run = worker.state.container("main").record.run
    assert run is not None
    return node, run.id


async def within(work: Awaitable[None]) -> None:
    await asyncio.wait_for(work, DEADLINE_S)


async def execute(node: Node, run: str, *command: str, options: StreamOptions = EVERYTHING) -> Client:
    client = Client()
    await within(run_command(node.containers, run, list(command), streams=options, channels=client))
    return client


async def test_output_and_exit_code(bench: Bench) -> None:
    """Output, error output and the exit code of a command arrive apart."""
    node, run = await running(bench, "sleep 1000")
    client = await execute(node, run, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (client.output(), client.output(STDERR)) == (b"out\n", b"err\n")
    assert client.status["reason"] == "NonZeroExitCode"
    assert client.status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    assert (await execute(node, run, "true")).status["status"] == "Success"
    assert not list(node.containers.bundle(run).glob("exec-*"))


async def test_a_command_that_cannot_be_started(bench: Bench) -> None:
    """The runtime's reason is in the status, and nothing of it in the command's error output."""
    node, run = await running(bench, "sleep 1000")
    for options in (EVERYTHING, TERMINAL):
        client = await execute(node, run, "no-such-program", options=options)
        assert "no-such-program" in client.status["message"]
        assert "not found" in client.status["message"]
        assert client.output(STDERR) == b""
    with pytest.raises(ApiError, match="error executing command in container"):
        await execute(node, "0" * 64, "true")


async def test_input_until_its_end(bench: Bench) -> None:
    """A command reads input as it comes and sees its end; megabytes pass both ways."""
    node, run = await running(bench, "sleep 1000")
    client = Client()
    data = os.urandom(1 << 16) * 64
    for start in range(0, len(data), 1 << 16):
        client.send(STDIN, data[start : start + (1 << 16)])
    client.send(STDIN, b"", end=True)
    await within(run_command(node.containers, run, ["cat"], streams=EVERYTHING, channels=client))
    assert client.output() == data
    assert client.status["status"] == "Success"


async def test_a_terminal_with_its_size(bench: Bench) -> None:
    """A command with a terminal sees it and its size, also after it has changed."""
    node, run = await running(bench, "sleep 1000")
    client = Client()
    client.send(RESIZE, encode({"Width": 100, "Height": 30}))
    running_command = asyncio.create_task(run_command(node.containers, run, ["sh"], streams=TERMINAL, channels=client))
    client.send(STDIN, b"test -t 0 && echo terminal $TERM; while ! stty size | grep '30 10[0]'; do :; done\n")
    await client.until(lambda: b"terminal xterm" in client.output() and b"30 100" in client.output())
    client.send(RESIZE, encode({"Width": 60, "Height": 20}))
    client.send(STDIN, b"while ! stty size | grep '20 6[0]'; do :; done; exit 4\n")
    await within(running_command)
    assert b"20 60" in client.output()
    assert client.status["details"]["causes"][0]["message"] == "4"


async def test_a_client_that_leaves_ends_its_command(bench: Bench) -> None:
    """The processes of a command don't outlive the stream they were started for."""
    node, run = await running(bench, "sleep 1000")
    client = Client()
    command = ["sh", "-c", "echo begun; sleep 999; true"]
    working = asyncio.create_task(run_command(node.containers, run, command, streams=EVERYTHING, channels=client))
    await client.until(lambda: client.output() == b"begun\n")
    client.sent.put_nowait(None)
    with contextlib.suppress(ApiError):
        await within(working)
    listing = await execute(node, run, "sh", "-c", "ps | grep -c 'sleep 99[9]' || true")
    assert listing.output() == b"0\n"


async def test_attach(bench: Bench) -> None:
    """An attached client reads and feeds the first process, whose end ends the stream."""
    node, run = await running(bench, "while read line; do echo got $line; done; exit 0", stdin=True, stdinOnce=True)
    client = Client()
    attached = asyncio.create_task(attach(node.containers, run, streams=EVERYTHING, channels=client))
    await client.until(lambda: STDIN in client.received)
    client.send(STDIN, b"one\n")
    await client.until(lambda: client.output() == b"got one\n")
    client.send(STDIN, b"two\n", end=True)
    await within(attached)
    assert client.output() == b"got one\ngot two\n"
    assert client.status["status"] == "Success"


async def test_attach_to_a_terminal(bench: Bench) -> None:
    """A terminal's size can be set from outside."""
    node, run = await running(bench, "while read line; do stty size; done", stdin=True, tty=True)
    client = Client()
    attached = asyncio.create_task(attach(node.containers, run, streams=TERMINAL, channels=client))
    await client.until(lambda: STDIN in client.received)
    for width in range(82, 102):
        client.send(RESIZE, encode({"Width": width, "Height": 31}))
    client.send(STDIN, b"\n")
    while b"31 101" not in client.output():
        await client.until(lambda: b"\n" in client.output())
        client.received[STDOUT] = client.output().replace(b"\r\n", b"")
        client.send(STDIN, b"\n")
    client.sent.put_nowait(None)
    await within(attached)


async def test_forward_a_connection(tmp_path: Path) -> None:
    """Both directions of a connection pass, each with its own end; a port nobody listens on is named."""

    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        writer.write_eof()
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = Client()
    client.send(STDIN, b"hello")
    client.send(STDIN, b"", end=True)
    forwarding = asyncio.create_task(forward(None, port, client))
    await client.until(lambda: client.output() == b"HELLO" and STDOUT in client.ended)
    client.sent.put_nowait(None)
    await within(forwarding)
    server.close()
    await server.wait_closed()
    with pytest.raises(ApiError, match=f"failed to connect to localhost:{port}"):
        await forward(None, port, client)
