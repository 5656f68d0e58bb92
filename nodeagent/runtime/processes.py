"""Starting programs and naming processes.

Programs are started with ``posix_spawn`` from the event loop: it blocks the loop for 0.2 ms, where a subprocess of
asyncio takes three times as much and a child watcher with it. A program's end is a pidfd becoming readable.

A pid alone does not name a process, because the kernel uses pids again; a process is its pid and its start time.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

# Below these numbers are the descriptors that a child is given, so that a source is never overwritten by a target.
_FIRST_SOURCE = 64
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_RESET_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
OUTPUT_LIMIT_BYTES = 16 * 1024
_CAP_SYS_RESOURCE = 24
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process that cannot be mistaken for a later one with the same pid; ``start_ticks`` since boot (proc(5))."""

    pid: int
    start_ticks: int

    @property
    def alive(self) -> bool:
        """Whether the process exists and is not a zombie."""
        state, ticks = _stat(self.pid)
        return ticks == self.start_ticks and state not in ("Z", "X", "")

    @property
    def age_s(self) -> float:
        """How long ago the process was started, to a hundredth of a second, whatever the clock was set to."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.start_ticks / _TICKS_PER_S

    def send(self, number: int) -> bool:
        """Signal the process; whether it was there. The pidfd closes the gap between check and signal."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if _stat(self.pid)[1] != self.start_ticks:
                return False
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that has ended: ``code`` as a shell shows it (128 + signal), ``output`` of both streams, cut."""

    code: int
    output: str
    timed_out: bool = False


def _stat(pid: int) -> tuple[str, int]:
    fields = _stat_fields(pid)
    return (fields[0], int(fields[19])) if fields else ("", -1)


def _stat_fields(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the third, the state, on; none if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


def identify(pid: int) -> ProcessIdentity:
    """The identity of a process that exists now. Raises ProcessLookupError."""
    _, ticks = _stat(pid)
    if ticks < 0:
        raise ProcessLookupError(f"no process {pid}")
    return ProcessIdentity(pid, ticks)


def kill_tree(root: ProcessIdentity) -> None:
    """SIGKILL a process and all that descends from it. Blocks for some milliseconds.

    All are stopped first, so that none starts more meanwhile or lets go of what it has started.
    """
    root.send(signal.SIGSTOP)
    stopped: set[ProcessIdentity] = set()
    while found := _descendants(root.pid) - stopped:
        for process in found:
            process.send(signal.SIGSTOP)
        stopped |= found
    for process in (*stopped, root):
        process.send(signal.SIGKILL)


def _descendants(pid: int) -> set[ProcessIdentity]:
    """All processes below ``pid``, by a scan of /proc: kernels are built without a list of a process's children."""
    children: dict[int, list[ProcessIdentity]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal() and (fields := _stat_fields(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(ProcessIdentity(int(entry.name), int(fields[19])))
    found: set[ProcessIdentity] = set()
    pending = [pid]
    while pending:
        for child in children.get(pending.pop(), ()):
            found.add(child)
            pending.append(child.pid)
    return found


def lowest_oom_score() -> int:
    """The least ``oom_score_adj`` that this process can give others: its own where it lacks CAP_SYS_RESOURCE."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    if effective >> _CAP_SYS_RESOURCE & 1:
        return -1000
    return int(Path("/proc/self/oom_score_adj").read_text(encoding="ascii"))


def boot_id() -> str:
    """The kernel's identifier of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def spawn(
    arguments: Sequence[str], *, descriptors: Mapping[int, int], environment: Mapping[str, str] | None = None
) -> int:
    """Start a program; its pid, which the caller must wait for.

    ``descriptors`` maps the child's descriptor numbers to ours; everything else is closed on exec. Raises OSError.
    """
    sources = {
        target: fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, _FIRST_SOURCE) for target, source in descriptors.items()
    }
    try:
        actions = [(os.POSIX_SPAWN_DUP2, source, target) for target, source in sources.items()]
        return os.posix_spawn(
            arguments[0],
            list(arguments),
            {"PATH": _PATH, **(environment or {})},
            file_actions=actions,
            setsigdef=_RESET_SIGNALS,
            setsigmask=(),
        )
    finally:
        for source in sources.values():
            os.close(source)


class Start(Protocol):
    """:func:`spawn`, or something else that starts programs as it does."""

    def __call__(self, arguments: Sequence[str], *, descriptors: Mapping[int, int]) -> int: ...


async def wait_readable(descriptor: int, *, timeout_s: float | None = None) -> None:
    """Return once there is something to read. Raises TimeoutError."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _resolve, done)
    try:
        async with asyncio.timeout(timeout_s):
            await done
    finally:
        loop.remove_reader(descriptor)


async def ended(pid: int) -> int:
    """Wait for a child of ours; its exit code, 128 + n when signal n ended it."""
    descriptor = os.pidfd_open(pid)
    try:
        await wait_readable(descriptor)
    finally:
        os.close(descriptor)
    return _reap(pid)


def _reap(pid: int) -> int:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _Output:
    """What a child writes, read as it comes and kept up to a limit, so that the child never blocks on a full pipe."""

    def __init__(self, descriptor: int, limit_bytes: int) -> None:
        self._descriptor, self._limit = descriptor, limit_bytes
        self._kept = bytearray()
        self._loop = asyncio.get_running_loop()
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._drain)

    def _drain(self) -> None:
        while True:
            try:
                data = os.read(self._descriptor, 65536)
            except BlockingIOError:
                return
            if not data:
                self._loop.remove_reader(self._descriptor)
                return
            self._kept += data[: max(0, self._limit - len(self._kept))]

    def text(self) -> str:
        self._drain()
        return self._kept.decode("utf-8", errors="replace")

    def close(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)


async def run(
    arguments: Sequence[str],
    *,
    timeout_s: float | None = None,
    limit_bytes: int = OUTPUT_LIMIT_BYTES,
    start: Start = spawn,
    owner: int = 0,
) -> Completed:
    """Run a program without input to its end and keep its output, which user ``owner`` may open. Raises OSError.

    When the time is over, or nobody waits any more, it is killed with all that it has started.
    """
    reading, writing = os.pipe()
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fchown(writing, owner, -1)
        pid = start(arguments, descriptors={0: null, 1: writing, 2: writing})
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
        os.close(null)
    identity = identify(pid)
    with contextlib.closing(_Output(reading, limit_bytes)) as output:
        waiting = asyncio.ensure_future(ended(pid))
        try:
            done, _ = await asyncio.wait((waiting,), timeout=timeout_s)
        finally:
            if not waiting.done():
                await asyncio.to_thread(kill_tree, identity)
                await waiting
        return Completed(await waiting, output.text(), timed_out=not done)
