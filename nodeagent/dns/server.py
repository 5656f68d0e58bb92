"""The DNS process: one UDP and one TCP socket, answers from memory, a reload when the zone file changes.

A repeated question costs a dictionary look-up: responses whose records have no order to vary are kept as bytes until
the zone changes. The process outlives the agent and imports little; it stays under 30 MiB.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

from dnslib import QTYPE, RCODE, DNSError, DNSQuestion, DNSRecord

from nodeagent.dns import wire
from nodeagent.dns.answers import Answer, Zone, reply_to
from nodeagent.dns.forwarder import Forwarder
from nodeagent.dns.records import ZoneRecords, read_zone
from nodeagent.dns.settings import DnsSettings
from nodeagent.waking.doorbell import press
from nodeagent.waking.held import WAKER_PORT
from nodeagent.waking.waker import BACKLOG, Waker

logger = logging.getLogger(__name__)

_IP_FREEBIND = 15
_RECEIVE_BUFFER_BYTES = 1 << 20
_KEPT_RESPONSES = 4096
_PENDING_LIMIT = 1000
_TCP_IDLE_S = 10.0
_TCP_CONNECTIONS = 200
_DEFAULT_DOMAIN = "cluster.local"
_IN_CLOSE_WRITE, _IN_MOVED_TO = 0x8, 0x80


class DnsServer(asyncio.DatagramProtocol):
    """Answers on one address. ``forwarder`` takes what is not the cluster's."""

    def __init__(self, zone_path: Path, forwarder: Forwarder) -> None:
        self._zone_path = zone_path
        self._forwarder = forwarder
        self._zone = Zone(ZoneRecords(_DEFAULT_DOMAIN), serial=0)
        self._kept: dict[bytes, bytes] = {}
        self._pending: set[asyncio.Task[None]] = set()
        self._connections = 0
        self._transport: asyncio.DatagramTransport | None = None

    def reload(self) -> None:
        """Take the zone file in; the zone before stays where the file can't be read."""
        try:
            records = read_zone(self._zone_path)
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("zone_unreadable", extra={"path": str(self._zone_path), "error": repr(error)})
            return
        self._zone = Zone(records, serial=int(time.time()))
        self._kept.clear()
        logger.info("zone_loaded", extra={"names": len(records.addresses), "domain": records.domain})

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        assert self._transport is not None
        kept = self._kept.get(data[2:])
        if kept is not None:
            self._transport.sendto(data[:2] + kept, addr)
        elif len(self._pending) < _PENDING_LIMIT:
            self._start(self._answer_datagram(data, addr))

    async def serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the questions of one TCP connection, one after the other."""
        if self._connections >= _TCP_CONNECTIONS:
            writer.close()
            return
        self._connections += 1
        try:
            while True:
                async with asyncio.timeout(_TCP_IDLE_S):
                    query = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
                response = await self.respond(query, over_tcp=True)
                if response is None:
                    break
                writer.write(struct.pack("!H", len(response)) + response)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            self._connections -= 1
            writer.close()

    async def respond(self, query: bytes, *, over_tcp: bool) -> bytes | None:
        """The response to one message, or None for what deserves none."""
        try:
            end = wire.question_end(query)
            if query[2] & 0x80:
                return None
            if query[2] & 0x78:
                return wire.failure(query, RCODE.NOTIMP)
            parsed = DNSRecord.parse(query[: wire.HEADER_BYTES - 6] + b"\0" * 6 + query[wire.HEADER_BYTES : end])
        except (wire.MalformedMessageError, DNSError, IndexError, UnicodeError):
            return None
        name = str(parsed.q.qname).rstrip(".").lower()
        kind = QTYPE.forward.get(parsed.q.qtype, "")
        if not self._zone.covers(name):
            return await self._forwarder.ask(query, over_tcp=over_tcp)
        answer = self._zone.answer(name, kind)
        if answer.unresolved_alias:
            answer = await self._follow(answer, parsed.q.qtype, over_tcp=over_tcp)
        response = bytes(reply_to(parsed, answer, [self._zone.authority()]).pack())
        if len(response) > wire.udp_limit(query) and not over_tcp:
            response = wire.truncated(response)
        if len(answer.records) <= 1 and not answer.unresolved_alias and len(self._kept) < _KEPT_RESPONSES:
            self._kept[query[2:]] = response[2:]
        return response

    def stop(self) -> None:
        for task in self._pending:
            task.cancel()
        if self._transport:
            self._transport.close()

    async def _follow(self, answer: Answer, kind: int, *, over_tcp: bool) -> Answer:
        """``answer`` completed by what its alias's target resolves to outside: stub resolvers don't ask again."""
        question = DNSRecord(q=DNSQuestion(answer.unresolved_alias, kind))
        question.header.rd = 1
        try:
            outside = DNSRecord.parse(await self._forwarder.ask(bytes(question.pack()), over_tcp=over_tcp))
        except (DNSError, UnicodeError):
            return Answer(RCODE.SERVFAIL, answer.records, unresolved_alias=answer.unresolved_alias)
        records = (*answer.records, *outside.rr)
        return Answer(outside.header.rcode, records, unresolved_alias=answer.unresolved_alias)

    async def _answer_datagram(self, query: bytes, client: tuple[str | Any, int]) -> None:
        response = await self.respond(query, over_tcp=False)
        if response is not None and self._transport is not None:
            self._transport.sendto(response, client)

    def _start(self, answering: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(answering)
        self._pending.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._pending.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("answer_failed", exc_info=error)


async def serve(settings: DnsSettings, *, started: asyncio.Event, stop: asyncio.Event) -> None:
    """Answer until ``stop`` is set; ``started`` is set once the sockets are bound. Raises OSError."""
    loop = asyncio.get_running_loop()
    forwarder = Forwarder(settings.resolv_conf, own_addresses=(settings.address[0],))
    server = DnsServer(settings.zone_path, forwarder)
    waker = Waker(settings.held_path, partial(press, settings.doorbell_path))
    settings.zone_path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    changes = _watch(settings.zone_path.parent)
    reloads = {settings.zone_path.name: server.reload, settings.held_path.name: waker.reload}
    loop.add_reader(changes, _changed, changes, reloads)
    server.reload()
    waker.reload()
    try:
        await loop.create_datagram_endpoint(lambda: server, sock=_socket(socket.SOCK_DGRAM, settings.address))
        listener = await asyncio.start_server(
            server.serve_connection, sock=_socket(socket.SOCK_STREAM, settings.address)
        )
        holding = await asyncio.start_server(
            waker.serve, sock=_socket(socket.SOCK_STREAM, (settings.address[0], WAKER_PORT)), backlog=BACKLOG
        )
        async with listener, holding:
            # What exists now lives as long as the process.
            gc.freeze()
            logger.info("dns_started", extra={"listen": settings.listen})
            started.set()
            await stop.wait()
    finally:
        loop.remove_reader(changes)
        os.close(changes)
        server.stop()
        await waker.close()


def run(settings: DnsSettings) -> None:
    """The process: serve until SIGTERM or SIGINT."""

    async def main() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve(settings, started=asyncio.Event(), stop=stop)

    asyncio.run(main())


def _socket(kind: socket.SocketKind, address: tuple[str, int]) -> socket.socket:
    """A bound socket; the address may appear on the machine later (IP_FREEBIND, ip(7))."""
    bound = socket.socket(socket.AF_INET, kind)
    bound.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
    if kind == socket.SOCK_DGRAM:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    else:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setblocking(False)
    bound.bind(address)
    return bound


def _watch(directory: Path) -> int:
    """An inotify descriptor that tells of files that were written or moved into ``directory`` (inotify(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if libc.inotify_add_watch(descriptor, os.fsencode(directory), _IN_CLOSE_WRITE | _IN_MOVED_TO) < 0:
        raise OSError(ctypes.get_errno(), "inotify_add_watch", str(directory))
    return descriptor


def _changed(descriptor: int, reloads: Mapping[str, Callable[[], None]]) -> None:
    with suppress(BlockingIOError):
        events = os.read(descriptor, 65536)
        for name, reload in reloads.items():
            if name.encode() in events:
                reload()
