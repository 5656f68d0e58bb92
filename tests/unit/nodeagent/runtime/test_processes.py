"""Starting programs and telling processes apart."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nodeagent.runtime.inotify import IN_CREATE, IN_MOVED_TO, Inotify
from nodeagent.runtime.oci import message_of
from nodeagent.runtime.processes import ProcessIdentity, identify, run, wait_readable

DEADLINE_S = 10.0


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, "the condition did not come true"
        time.sleep(0.005)


async def test_a_program_and_its_output() -> None:
    """Both streams are kept, and the exit code."""
    completed = await run(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (completed.code, completed.output) == (3, "out\nerr\n")


async def test_output_is_cut_but_never_blocks() -> None:
    """A program that writes more than is kept still comes to its end."""
    completed = await run([sys.executable, "-c", "print('x' * 1000000)"], limit_bytes=10)
    assert (completed.code, completed.output) == (0, "x" * 10)


async def test_a_program_past_its_time_is_killed() -> None:
    """The caller gets what it wrote until then."""
    completed = await run(["/bin/sh", "-c", "echo begun; exec sleep 1000"], timeout_s=0.3)
    assert (completed.timed_out, completed.code, completed.output) == (True, 137, "begun\n")


@pytest.mark.parametrize("cancelled", [False, True])
async def test_what_it_has_started_goes_with_it(tmp_path: Path, cancelled: bool) -> None:
    """A program that is killed leaves no child behind, nor the child of one."""
    pids = tmp_path / "pids"
    script = f"sh -c 'sleep 1000 & echo $! >> {pids}; wait' & echo $! >> {pids}; wait"
    running = asyncio.create_task(run(["/bin/sh", "-c", script], timeout_s=None if cancelled else 1.0))
    await asyncio.to_thread(until, lambda: pids.exists() and len(pids.read_text().split()) == 2)
    started = [identify(int(pid)) for pid in pids.read_text().split()]
    if cancelled:
        running.cancel()
    await asyncio.wait({running})
    await asyncio.to_thread(until, lambda: not any(process.alive for process in started))


async def test_a_background_child_does_not_hold_the_caller() -> None:
    """The end of the program counts, not of everyone who has inherited its output."""
    completed = await asyncio.wait_for(run(["/bin/sh", "-c", "sleep 5 & echo done"]), 3)
    assert completed.output == "done\n"


async def test_a_missing_program_is_an_error() -> None:
    """It is not mistaken for a program that failed."""
    with pytest.raises(FileNotFoundError):
        await run(["/no/such/program"])


async def test_children_start_with_default_signals() -> None:
    """Python ignores SIGPIPE; its children must not inherit that."""
    completed = await run(["/bin/sh", "-c", "grep SigIgn /proc/self/status"])
    assert int(completed.output.split()[1], 16) & (1 << (signal.SIGPIPE - 1)) == 0


def identify_again(identity: ProcessIdentity) -> bool:
    return identity.alive


def test_a_process_is_its_pid_and_its_start() -> None:
    """A pid that belongs to another process by now is neither alive nor signalled."""
    child = subprocess.Popen(["sleep", "1000"])
    identity = identify(child.pid)
    assert identity.alive
    stranger = ProcessIdentity(child.pid, identity.start_ticks - 1)
    assert not stranger.alive
    assert stranger.send(signal.SIGKILL) is False
    assert identity.send(signal.SIGKILL) is True
    child.wait()
    assert not identify_again(identity)
    with pytest.raises(ProcessLookupError):
        identify(child.pid)


async def test_inotify_tells_names(tmp_path: Path) -> None:
    """A rename into a watched directory is one event with the final name."""
    inotify = Inotify()
    try:
        inotify.add(tmp_path, IN_MOVED_TO | IN_CREATE)
        assert inotify.read() == []
        (tmp_path / "new").touch()
        os.rename(tmp_path / "new", tmp_path / "final")  # noqa: PTH104
        await wait_readable(inotify.fileno(), timeout_s=3)
        assert [(event.mask, event.name) for event in inotify.read()] == [(IN_CREATE, "new"), (IN_MOVED_TO, "final")]
    finally:
        inotify.close()


def test_the_runtimes_message_is_found_in_its_output() -> None:
    """Users see the sentence, without time stamps and levels."""
    line = 'time="2026-01-01T00:00:00Z" level=error msg="runc create failed: exec: \\"x\\": not found"\n'
    assert message_of(line) == 'runc create failed: exec: "x": not found'
    assert message_of("plain words\n") == "plain words"
