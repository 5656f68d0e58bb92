"""The load generator of the API benchmark: a process of its own that keeps some connections busy, or watches.

    python -m tests.benchmarks.api_load '{"port": 6443, "pki": "/tmp/x/pki", "story": "get", ...}'

It speaks HTTP/1.1 over TLS through bare asyncio protocols and looks at no more of an answer than its length, so that
most of a measured machine is left to the server. It prints one JSON object: how many requests were answered, how long
they took, and the CPU time that it used itself.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
import sys
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import uvloop

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
_HEAD_END = b"\r\n\r\n"
_EVENT_END = b"}\n"
_LONGEST_TABLE_HEAD = 4096


def client_context(pki: Path) -> ssl.SSLContext:
    """A context with the admin's certificate."""
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    return context


def request_bytes(method: str, path: str, body: bytes = b"", *, headers: str = "") -> bytes:
    """A request ready to be sent; ``headers`` are whole lines."""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: benchmark/1\r\n{headers}{length}\r\n"
    return head.encode() + body


def percentile(values: Sequence[float], part: float) -> float:
    """The value that ``part`` of all values do not exceed; ValueError without any."""
    if not values:
        raise ValueError("nothing was measured")
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


@dataclass(slots=True)
class Answers:
    """What came back. Times are seconds."""

    times_s: list[float] = field(default_factory=list)
    failures: int = 0
    received_bytes: int = 0
    example: str = ""


class Connection(asyncio.Protocol):
    """One request at a time, the next one as soon as the answer is complete, until ``next_request`` gives None.

    ``on_body`` sees the bodies of answers and may be left out.
    """

    def __init__(
        self,
        next_request: Callable[[], bytes | None],
        answers: Answers,
        *,
        on_body: Callable[[bytes], None] | None = None,
        pause_s: float = 0.0,
    ) -> None:
        self._next_request = next_request
        self._answers = answers
        self._on_body = on_body
        self._pause_s = pause_s
        self._transport: asyncio.Transport | None = None
        self._missing = -1
        self._head = b""
        self._body: list[bytes] = []
        self._sent_s = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self) -> None:
        """Send the next request, or finish."""
        request = self._next_request()
        if request is None or self._transport is None:
            self._finish()
            return
        self._missing = -1
        self._sent_s = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._answers.received_bytes += len(data)
        if self._missing < 0:
            self._head += data
            end = self._head.find(_HEAD_END)
            if end < 0:
                return
            data = self._read_head(end)
        self._missing -= len(data)
        if self._on_body is not None:
            self._body.append(data)
        if self._missing <= 0:
            self._complete()

    def _read_head(self, end: int) -> bytes:
        """Take the length from the head; the bytes after it."""
        head, data = self._head, self._head[end + len(_HEAD_END) :]
        self._head = b""
        if not head.startswith(b"HTTP/1.1 2"):
            self._answers.failures += 1
            self._answers.example = self._answers.example or head.decode(errors="replace")[:1000]
        at = head.find(b"Content-Length: ", 0, end)
        self._missing = int(head[at + 16 : head.index(b"\r", at)]) if at >= 0 else 0
        return data

    def _complete(self) -> None:
        self._answers.times_s.append(time.perf_counter() - self._sent_s)
        if self._on_body is not None:
            self._on_body(b"".join(self._body))
            self._body.clear()
        if self._pause_s:
            asyncio.get_running_loop().call_later(self._pause_s, self.send)
        else:
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._answers.failures += 1
        self._transport = None
        self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
        if self._transport is not None:
            self._transport.close()


class Arrivals:
    """When each event has come to the last of ``watchers``, until ``events`` have come to all."""

    def __init__(self, watchers: int, events: int) -> None:
        self._watchers = watchers
        self._events = events
        self.last_s: list[float] = []
        self.counts: list[int] = []
        self.complete = asyncio.Event()

    def note(self, index: int) -> None:
        """The event has come to one more watcher."""
        now_s = time.monotonic()
        if index == len(self.last_s):
            self.last_s.append(now_s)
            self.counts.append(1)
        else:
            self.last_s[index] = now_s
            self.counts[index] += 1
        if index + 1 == self._events and self.counts[index] == self._watchers:
            self.complete.set()


class Watcher(asyncio.Protocol):
    """One watch."""

    def __init__(self, request: bytes, arrivals: Arrivals) -> None:
        self._request = request
        self._arrivals = arrivals
        self._seen = 0
        self._open_end = False
        self._headed = False
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._headed:
            self._headed = True
            if not data.startswith(b"HTTP/1.1 200"):
                self.opened.set_exception(RuntimeError(data[:500].decode(errors="replace")))
                return
            self.opened.set_result(None)
        events = data.count(_EVENT_END) + (self._open_end and data.startswith(b"\n"))
        self._open_end = data.endswith(b"}")
        for index in range(self._seen, self._seen + events):
            self._arrivals.note(index)
        self._seen += events


@dataclass(frozen=True, slots=True)
class Spec:
    """What to do. ``paths`` are asked in turn; ``{n}`` in a path or in ``body`` is a running number.

    Only that of paths starts again after ``numbers``: a patch that comes round to an object changes it each time.
    """

    port: int
    pki: str
    story: str
    connections: int
    paths: list[str]
    seconds: float = 5.0
    method: str = "GET"
    body: str = ""
    content_type: str = "application/json"
    first_number: int = 0
    numbers: int = 0  # after how many the running number starts again, 0: never
    pause_s: float = 0.0
    events: int = 0


def _requests(spec: Spec) -> Iterator[bytes]:
    headers = f"Content-Type: {spec.content_type}\r\n" if spec.body else ""
    plain = "{n}" not in spec.body and not any("{n}" in path for path in spec.paths)
    if plain:
        ready = [request_bytes(spec.method, path, spec.body.encode(), headers=headers) for path in spec.paths]
        yield from itertools.cycle(ready)
    for number in itertools.count():
        shown = str(spec.first_number + (number % spec.numbers if spec.numbers else number))
        path = spec.paths[number % len(spec.paths)].replace("{n}", shown)
        body = spec.body.replace("{n}", str(spec.first_number + number))
        yield request_bytes(spec.method, path, body.encode(), headers=headers)


class Pager:
    """Lists as ``kubectl get`` does: a Table in pages of 500, gzipped."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._token = ""
        self.lists = 0

    def request(self) -> bytes:
        more = f"&continue={self._token}" if self._token else ""
        headers = f"Accept: {TABLE}\r\nAccept-Encoding: gzip\r\n"
        return request_bytes("GET", f"{self._path}?limit=500{more}", headers=headers)

    def take(self, body: bytes) -> None:
        """Find the token of the next page; it stands at the front."""
        head = body[:_LONGEST_TABLE_HEAD]
        if body.startswith(b"\x1f\x8b"):
            head = zlib.decompressobj(wbits=31).decompress(body, _LONGEST_TABLE_HEAD)
        _, found, rest = head.partition(b'"continue":"')
        self._token = rest.partition(b'"')[0].decode() if found else ""
        self.lists += not self._token


def _same(protocol: asyncio.Protocol) -> asyncio.Protocol:
    return protocol


async def _connect(spec: Spec, protocols: Sequence[asyncio.Protocol]) -> None:
    context = client_context(Path(spec.pki))
    loop = asyncio.get_running_loop()
    waiting = deque(protocols)

    async def one_after_the_other() -> None:
        while waiting:
            protocol = waiting.popleft()
            await loop.create_connection(partial(_same, protocol), "127.0.0.1", spec.port, ssl=context)

    await asyncio.gather(*(one_after_the_other() for _ in range(16)))


class Load:
    """Requests until a deadline, which is set once all connections are there."""

    def __init__(self, spec: Spec) -> None:
        self._requests = _requests(spec)
        self.deadline_s = float("inf")
        self.answers = Answers()
        self.pagers: list[Pager] = []
        self.connections = [self._connection(spec) for _ in range(spec.connections)]

    def _connection(self, spec: Spec) -> Connection:
        if spec.story != "tables":
            return Connection(lambda: self._in_time(self._requests.__next__), self.answers, pause_s=spec.pause_s)
        pager = Pager(spec.paths[0])
        self.pagers.append(pager)
        return Connection(lambda: self._in_time(pager.request), self.answers, on_body=pager.take)

    def _in_time(self, make: Callable[[], bytes]) -> bytes | None:
        return make() if time.perf_counter() < self.deadline_s else None


async def load(spec: Spec) -> dict[str, Any]:
    """Keep ``connections`` requests in flight for ``seconds``."""
    under_way = Load(spec)
    answers, connections = under_way.answers, under_way.connections
    await _connect(spec, connections)
    used_s, started_s = time.process_time(), time.perf_counter()
    under_way.deadline_s = started_s + spec.seconds
    for connection in connections:
        connection.send()
    await asyncio.gather(*(connection.done for connection in connections))
    elapsed_s = time.perf_counter() - started_s
    return {
        "requests": len(answers.times_s),
        "elapsed_s": elapsed_s,
        "cpu_s": time.process_time() - used_s,
        "median_s": percentile(answers.times_s, 0.5),
        "p99_s": percentile(answers.times_s, 0.99),
        "failures": answers.failures,
        "example": answers.example,
        "received_bytes": answers.received_bytes,
        "lists": sum(pager.lists for pager in under_way.pagers),
    }


async def watch(spec: Spec) -> dict[str, Any]:
    """Hold ``connections`` watches until each has seen ``events`` events; says ``open`` once all are."""
    arrivals = Arrivals(spec.connections, spec.events)
    watchers = [Watcher(request_bytes("GET", spec.paths[0]), arrivals) for _ in range(spec.connections)]
    await _connect(spec, watchers)
    await asyncio.gather(*(watcher.opened for watcher in watchers))
    print("open", flush=True)
    used_s = time.process_time()
    try:
        async with asyncio.timeout(spec.seconds):
            await arrivals.complete.wait()
    except TimeoutError:
        pass
    return {"last_s": arrivals.last_s, "counts": arrivals.counts, "cpu_s": time.process_time() - used_s}


def main() -> None:
    spec = Spec(**json.loads(sys.argv[1]))
    print(json.dumps(uvloop.run(watch(spec) if spec.story == "watch" else load(spec))), flush=True)


if __name__ == "__main__":
    main()
