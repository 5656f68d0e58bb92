"""Questions about the rest of the world, passed on to the resolvers that the host itself uses.

Queries go out as they came in but for their id, each from a socket of its own, so that a forged answer would have to
guess port and id. Answers are remembered for their TTL, half a minute at most.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from nodeagent.dns import wire

logger = logging.getLogger(__name__)

_PORT = 53
_ATTEMPT_S = 2.0
_ROUNDS = 2
_CACHE_ENTRIES = 2000
_CACHE_LONGEST_S = 30
_RECHECK_S = 2.0
_SERVER_FAILURE, _NAME_ERROR = 2, 3

Resolver = tuple[str, int]


@dataclass(frozen=True, slots=True)
class _Cached:
    response: bytes
    offsets: tuple[int, ...]
    stored_s: float
    expires_s: float


def read_resolvers(path: Path, *, own_addresses: Collection[str]) -> list[Resolver]:
    """The nameservers in a resolv.conf(5), without those that are ourselves and would make a loop."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and words[1] not in own_addresses:
            try:
                ipaddress.ip_address(words[1].partition("%")[0])
            except ValueError:
                continue
            found.append((words[1], _PORT))
    return found[:3]


class Forwarder:
    """Asks the host's resolvers in turn and remembers what they say."""

    def __init__(self, resolv_conf: Path, *, own_addresses: Collection[str]) -> None:
        self._resolv_conf = resolv_conf
        self._own_addresses = own_addresses
        self._resolvers: list[Resolver] = []
        self._checked_s = float("-inf")
        self._cache: OrderedDict[bytes, _Cached] = OrderedDict()
        self._reachable = True

    async def ask(self, query: bytes, *, over_tcp: bool) -> bytes:
        """The response to ``query``; a response that says server failure where no resolver answers."""
        cached = self._remembered(query)
        if cached:
            return cached
        sent = secrets.token_bytes(2) + query[2:]
        for _ in range(_ROUNDS):
            for resolver in self._current():
                try:
                    exchange = _ask_tcp(sent, resolver) if over_tcp else _ask_udp(sent, resolver)
                    response = await asyncio.wait_for(exchange, _ATTEMPT_S)
                except (OSError, TimeoutError, asyncio.IncompleteReadError):
                    continue
                if wire.same_question(sent, response) and wire.response_code(response) != _SERVER_FAILURE:
                    self._reachable = True
                    self._remember(query, response)
                    return query[:2] + response[2:]
        if self._reachable:
            self._reachable = False
            logger.warning("resolvers_unreachable", extra={"resolvers": [host for host, _ in self._current()]})
        return wire.failure(query, _SERVER_FAILURE)

    def _current(self) -> list[Resolver]:
        now_s = time.monotonic()
        if now_s - self._checked_s > _RECHECK_S:
            self._checked_s = now_s
            self._resolvers = read_resolvers(self._resolv_conf, own_addresses=self._own_addresses)
        return self._resolvers

    def _remembered(self, query: bytes) -> bytes | None:
        cached = self._cache.get(query[2:])
        now_s = time.monotonic()
        if cached is None or cached.expires_s <= now_s:
            return None
        self._cache.move_to_end(query[2:])
        return query[:2] + wire.aged(cached.response, cached.offsets, int(now_s - cached.stored_s))[2:]

    def _remember(self, query: bytes, response: bytes) -> None:
        if wire.is_truncated(response) or wire.response_code(response) not in (0, _NAME_ERROR):
            return
        try:
            found = wire.lifetimes(response)
        except wire.MalformedMessageError:
            return
        if found.least_s:
            now_s = time.monotonic()
            expires_s = now_s + min(found.least_s, _CACHE_LONGEST_S)
            self._cache[query[2:]] = _Cached(response, found.offsets, now_s, expires_s)
            if len(self._cache) > _CACHE_ENTRIES:
                self._cache.popitem(last=False)


class _OneAnswer(asyncio.DatagramProtocol):
    def __init__(self, query: bytes) -> None:
        self._query = query
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[str | int, int]) -> None:
        if not self.answer.done() and wire.same_question(self._query, data):
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _ask_udp(query: bytes, resolver: Resolver) -> bytes:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: _OneAnswer(query), remote_addr=resolver)
    try:
        transport.sendto(query)
        return await protocol.answer
    finally:
        transport.close()


async def _ask_tcp(query: bytes, resolver: Resolver) -> bytes:
    reader, writer = await asyncio.open_connection(*resolver)
    try:
        writer.write(len(query).to_bytes(2) + query)
        length = int.from_bytes(await reader.readexactly(2))
        return await reader.readexactly(length)
    finally:
        writer.close()
