"""Every request that is no stream has a deadline; past it the client is told 504 and the work is cancelled.

A timer for each request would be the dearest part of a GET. Requests with the deadline of everybody stand in one
dictionary instead, in the order in which they fall due, and a sweep each second cancels what is overdue; only a request
that asks for a shorter one (``timeout=``) gets a timer.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from controlplane.api.request_info import RequestInfo
from flotilla.api.errors import bad_request

DEADLINE_S = 60.0
SWEEP_S = 1.0
_STREAMS = frozenset({"attach", "exec", "log", "portforward", "proxy"})
_DURATION = re.compile(r"[+-]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)", re.ASCII)
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST_TEXT = 64


def is_stream(info: RequestInfo) -> bool:
    """Whether a request runs as long as its client wants: watches, logs, and what connects to a container."""
    return info.verb == "watch" or info.subresource.partition("/")[0] in _STREAMS


def parse_timeout(text: str) -> float:
    """A Go duration such as ``1m30s`` in seconds. BadRequest for what is none."""
    if len(text) > _LONGEST_TEXT or not _DURATION.fullmatch(text):
        reason = f'time: invalid duration "{text[:_LONGEST_TEXT]}"'
        raise bad_request(f"invalid timeout specified in the request URL - {reason}")
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))
    return -seconds if text.startswith("-") else seconds


class Deadlines:
    """The running requests and when each is due. ``default_s`` is everybody's deadline and nobody gets a later one."""

    def __init__(self, default_s: float = DEADLINE_S) -> None:
        self._default_s = default_s
        self._due: dict[asyncio.Task[Any], float] = {}
        self._timers: dict[asyncio.Task[Any], asyncio.TimerHandle] = {}
        self._expired: set[asyncio.Task[Any]] = set()

    def start(self, task: asyncio.Task[Any], wanted: str) -> None:
        """Let ``task`` run until the deadline; ``wanted`` is the request's ``timeout`` parameter. BadRequest."""
        loop = task.get_loop()
        timeout_s = parse_timeout(wanted) if wanted else 0.0
        if 0 < timeout_s < self._default_s:
            self._timers[task] = loop.call_later(timeout_s, self._expire, task)
        else:
            self._due[task] = loop.time() + self._default_s

    def stop(self, task: asyncio.Task[Any]) -> None:
        """The request of ``task`` is answered."""
        if self._due.pop(task, None) is None:
            timer = self._timers.pop(task, None)
            if timer is not None:
                timer.cancel()
        if self._expired:
            self._expired.discard(task)

    def claims(self, task: asyncio.Task[Any]) -> bool:
        """Whether the cancellation that ``task`` has caught is the deadline's alone; it is taken back then."""
        return task in self._expired and task.uncancel() <= 0

    async def run(self) -> None:
        """Cancel what is overdue, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            now = loop.time()
            overdue = []
            for task, due in self._due.items():
                if due > now:
                    break
                overdue.append(task)
            for task in overdue:
                del self._due[task]
                self._expire(task)

    def _expire(self, task: asyncio.Task[Any]) -> None:
        self._expired.add(task)
        task.cancel()
