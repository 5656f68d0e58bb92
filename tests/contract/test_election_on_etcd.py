"""The election on a real etcd, between processes that are killed, stopped and restarted."""

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

from controlplane.election import Election
from controlplane.store.etcd import EtcdStore

if TYPE_CHECKING:
    from tests.contract.conftest import EtcdServer

pytestmark = pytest.mark.etcd

PROGRAM = Path(__file__).with_name("elector.py")
ROOT = PROGRAM.parents[2]
DEADLINE_S = 20.0

Start = Callable[[str], Awaitable[Process]]


@pytest.fixture
async def start(etcd: EtcdServer) -> AsyncGenerator[Start]:
    """Starts an elector of the given identity and returns it once it takes part."""
    started: list[Process] = []

    async def start_one(identity: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAM), etcd.endpoint, identity, stdout=PIPE, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
        )
        started.append(process)
        assert await says(process) == "started"
        return process

    yield start_one
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def says(process: Process) -> str:
    """The next line of an elector."""
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        return (await process.stdout.readline()).decode().strip()


async def test_killed_leader_is_replaced(start: Start) -> None:
    """After the leader is killed another one leads in less than 3 s."""
    leader = await start("one")
    assert await says(leader) == "leads"
    other = await start("other")
    began = time.monotonic()
    leader.kill()
    assert await says(other) == "leads"
    assert time.monotonic() - began < 3.0


async def test_restarted_leader_leads_at_once(start: Start) -> None:
    """A leader that was killed and started again leads within 1 s of taking part, its old lease notwithstanding."""
    leader = await start("one")
    assert await says(leader) == "leads"
    leader.kill()
    again = await start("one")
    began = time.monotonic()
    assert await says(again) == "leads"
    assert time.monotonic() - began < 1.0


async def test_stopped_leader_loses_and_is_fenced(start: Start) -> None:
    """A leader stopped for longer than its lease knows when it goes on that it does not lead, and can't write."""
    leader = await start("one")
    assert await says(leader) == "leads"
    other = await start("other")
    leader.send_signal(signal.SIGSTOP)
    assert await says(other) == "leads"
    leader.send_signal(signal.SIGCONT)
    assert await says(leader) == "lost"
    assert await says(leader) == "fenced"


async def test_stalled_loop_stays_leader(etcd_store: EtcdStore) -> None:
    """An event loop that is busy for longer than the lease costs no leadership."""
    election = Election(etcd_store, identity="one", ttl_s=2)
    running = asyncio.create_task(election.run())
    async with asyncio.timeout(DEADLINE_S):
        await election.wait_leader()
        fence = election.fence
        time.sleep(3.5)  # noqa: ASYNC251
        assert election.is_leader
        await asyncio.sleep(0.1)
        assert election.is_leader
        assert election.fence == fence
    running.cancel()
    await asyncio.wait([running])


async def test_leader_survives_a_restart_of_etcd(etcd: EtcdServer, etcd_store: EtcdStore) -> None:
    """After etcd was killed and started again the same server leads, by a campaign that is valid."""
    election = Election(etcd_store, identity="one", ttl_s=2)
    running = asyncio.create_task(election.run())
    async with asyncio.timeout(DEADLINE_S):
        await election.wait_leader()
        etcd.kill()
        await election.wait_lost()
        etcd.start()
        await election.wait_leader()
        await etcd_store.create("/a", b"", fence=election.fence)
    running.cancel()
    await asyncio.wait([running])
