"""Reads without a question on a real etcd, by processes that are stopped, killed and started again."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from controlplane.store.etcd import EtcdStore

if TYPE_CHECKING:
    from tests.contract.conftest import EtcdServer, Network

pytestmark = pytest.mark.etcd

PROGRAM = Path(__file__).with_name("sole_server.py")
ROOT = PROGRAM.parents[2]
DEADLINE_S = 20.0

Start = Callable[..., Awaitable["Server"]]


class Server:
    """One process of :mod:`tests.contract.sole_server`."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def tell(self, command: str) -> None:
        """Send a command, to be answered later."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n".encode())

    async def says(self) -> str:
        """The next answer."""
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            return (await self.process.stdout.readline()).decode().strip()

    async def ask(self, command: str) -> str:
        self.tell(command)
        return await self.says()


@pytest.fixture
async def start(etcd: EtcdServer, tmp_path: Path) -> AsyncGenerator[Start]:
    """Starts a server with a lock file of the given name and returns it once it is ready."""
    started: list[Process] = []

    async def start_one(lock: str, endpoint: str = "") -> Server:
        arguments = (str(PROGRAM), endpoint or etcd.endpoint, str(tmp_path / lock))
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdin=PIPE, stdout=PIPE, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
        )
        started.append(process)
        server = Server(process)
        assert await server.says() == "ready"
        return server

    yield start_one
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_stopped_server_shows_nothing_old_when_it_goes_on(start: Start) -> None:
    """Another one writes once its lease is over; what it is asked before it goes on shows that write."""
    first = await start("first")
    assert await first.ask("alone") == "alone"
    await first.ask("write old")
    assert await first.ask("read") == "old alone"
    first.process.send_signal(signal.SIGSTOP)
    second = await start("second")
    await second.ask("write new")
    first.tell("read")
    first.process.send_signal(signal.SIGCONT)
    assert await first.says() == "new asked"


async def test_a_server_cut_off_stops_answering_alone(start: Start, network: Network) -> None:
    """Without a way to etcd it answers alone no longer than its lease, in which nobody else can write."""
    first = await start("first", network.endpoint)
    assert await first.ask("alone") == "alone"
    await first.ask("write old")
    await network.close()
    second = await start("second")
    await second.ask("write new")
    first.tell("read")
    await network.open()
    assert await first.says() == "new asked"


async def test_a_server_started_again_does_not_wait(start: Start) -> None:
    """It has its predecessor's lock, so that it writes at once and is alone soon; another one waits for the lease."""
    first = await start("first")
    assert await first.ask("alone") == "alone"
    first.process.kill()
    await first.process.wait()
    again = await start("first")
    began = time.monotonic()
    await again.ask("write new")
    assert time.monotonic() - began < 1.0
    assert await again.ask("alone") == "alone"
    assert await again.ask("read") == "new alone"


async def test_two_servers_ask(start: Start) -> None:
    """Each sees at once what the other has written; the one that is left is alone again."""
    first = await start("first")
    assert await first.ask("alone") == "alone"
    second = await start("second")
    for number in range(20):
        writer, reader = (first, second) if number % 2 else (second, first)
        await writer.ask(f"write {number}")
        assert (await reader.ask("read")).startswith(f"{number} ")
    assert await first.ask("read") == "19 asked"
    second.process.kill()
    assert await first.ask("alone") == "alone"
    assert await first.ask("read") == "19 alone"


async def test_a_clock_is_shared_only_within_a_machine(etcd: EtcdServer, etcd_store: EtcdStore) -> None:
    """A store somewhere else ends leases by a clock that need not stop with ours."""
    assert await etcd_store.shares_clock()
    assert not await EtcdStore([etcd.endpoint, "https://192.0.2.1:2379"]).shares_clock()
