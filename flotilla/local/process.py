"""Processes by identity: a pid with its start time, so that a reused pid is never taken for the old process."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

_START_TIME_FIELD = 19
_STATE_FIELD = 0


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """``start_ticks`` is field 22 of ``/proc/<pid>/stat`` (proc(5)): clock ticks since boot."""

    pid: int
    start_ticks: int


def identify(pid: int) -> ProcessIdentity | None:
    """The identity of a live process; None where there is none, or only a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    if fields[_STATE_FIELD] in "ZX":
        return None
    return ProcessIdentity(pid, int(fields[_START_TIME_FIELD]))


def is_alive(identity: ProcessIdentity) -> bool:
    return identify(identity.pid) == identity


def open_pidfd(identity: ProcessIdentity) -> int | None:
    """A descriptor that becomes readable when the process ends, or None when it has already ended."""
    try:
        descriptor = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return None
    if is_alive(identity):
        return descriptor
    os.close(descriptor)
    return None


def stop_process(identity: ProcessIdentity, *, grace_s: float) -> bool:
    """SIGTERM, then SIGKILL after ``grace_s``; returns once the process has ended. False if it had to be killed."""
    descriptor = open_pidfd(identity)
    if descriptor is None:
        return True
    with closing(os.fdopen(descriptor)):
        _send(descriptor, signal.SIGTERM)
        if _ended(descriptor, grace_s):
            return True
        _send(descriptor, signal.SIGKILL)
        _ended(descriptor, 10.0)
        return False


def wait_until_ended(identity: ProcessIdentity, *, timeout_s: float) -> bool:
    """Whether the process ended within ``timeout_s``."""
    descriptor = open_pidfd(identity)
    if descriptor is None:
        return True
    with closing(os.fdopen(descriptor)):
        return _ended(descriptor, timeout_s)


def _send(descriptor: int, number: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        pass


def _ended(descriptor: int, timeout_s: float) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + timeout_s
    return bool(poller.poll(max(0.0, deadline - time.monotonic()) * 1000))
