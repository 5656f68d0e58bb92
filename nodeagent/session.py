"""The stream to one server: everything this node has to say goes up, assignments come down.

There is a session with every server, each in its own loop of connecting, speaking and waiting; the wait after a loss is
short, grows to a second at most and is jittered, so that a server that comes back is found at once and not by all its
nodes in the same instant. Assignments are taken from all servers, the newest revision wins. Statuses, events and
samples go to one of them, which ``Uplink`` chooses.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Any, Protocol

import grpc

from nodeagent.incoming import Applier, Incoming
from nodeagent.join import Identity
from nodeagent.upward import Uplink, UplinkCursor
from protos import dispatcher_pb2 as pb
from protos import dispatcher_pb2_grpc

logger = logging.getLogger(__name__)

FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 1.0
WELCOME_TIMEOUT_S = 15.0
RESYNC_PAUSE_S = 0.5
DEFAULT_HEARTBEAT_S = 1.0
HEARTBEAT_SLACK_S = 0.2  # lets what is sent each second anyway take a heartbeat's place


class NodeSide(Protocol):
    """What a session needs of its agent."""

    def hello(self) -> pb.Hello:
        """The first message of a session, made anew each time."""

    async def welcomed(self, welcome: pb.Welcome) -> None:
        """A server has said what the cluster looks like; the node's network is ready when this returns."""

    def interested(self, interest: pb.MetricInterest) -> None:
        """The leader says what to look for on the metrics pages of pods."""

    def open_tunnel(self, request: pb.TunnelRequest, channel: Any) -> None:
        """A server wants a tunnel, to be opened on the session's channel."""


class SessionEndedError(Exception):
    """The session is over; the next one may begin. The message says why."""


class ServerSession:
    """Sessions with the server at ``server`` (HOST:PORT), one after the other."""

    def __init__(
        self, server: str, *, node: NodeSide, applier: Applier, uplink: Uplink, identity: Callable[[], Identity]
    ) -> None:
        self.server = server
        self._node, self._applier, self._uplink, self._identity = node, applier, uplink, identity
        self._wake = asyncio.Event()
        self._outbox: list[pb.AgentMessage] = []
        self._flushed = asyncio.Event()
        self._cursor: UplinkCursor | None = None
        self._period_s = DEFAULT_HEARTBEAT_S
        self._sent_s = 0.0
        self.connected = False
        self.leader = False

    async def run(self) -> None:
        """Keep a session open until cancelled."""
        wait_s = FIRST_WAIT_S
        while True:
            welcomed = False
            try:
                await self._own_session()
            except SessionEndedError as ended:
                welcomed = self.connected
                if welcomed or wait_s >= LONGEST_WAIT_S:
                    logger.warning("session_lost", extra={"server": self.server, "why": str(ended)})
            finally:
                self.connected = self.leader = False
                self._uplink.wake()
            wait_s = FIRST_WAIT_S if welcomed else min(LONGEST_WAIT_S, wait_s * 2)
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))

    def wake(self) -> None:
        """There may be something to send."""
        self._wake.set()

    async def hold(self, seconds: float) -> None:
        """Announce that the agent stops on purpose; returns once the server has been told, if it listens."""
        if self.connected:
            self._flushed.clear()
            self._send(pb.AgentMessage(hold=pb.Hold(seconds=seconds)))
            await self._flushed.wait()

    def _send(self, message: pb.AgentMessage) -> None:
        self._outbox.append(message)
        self._wake.set()

    async def _own_session(self) -> None:
        """One session in a task of its own: a task group that fails while it is cancelled loses the cancellation."""
        session = asyncio.create_task(self._hold_session(), name=f"session {self.server}")
        try:
            await asyncio.wait({session})
        except asyncio.CancelledError:
            session.cancel()
            await asyncio.gather(session, return_exceptions=True)
            raise
        await session

    async def _hold_session(self) -> None:
        async with self._identity().channel(self.server) as channel:
            stub = dispatcher_pb2_grpc.DispatcherStub(channel)  # type: ignore[no-untyped-call]
            call = stub.Session()
            self._outbox, self._cursor = [pb.AgentMessage(hello=self._node.hello())], None
            self._wake.set()
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._read_all(call, channel), name=f"session {self.server} reader")
                    group.create_task(self._write_all(call), name=f"session {self.server} writer")
                    group.create_task(self._beat(), name=f"session {self.server} heartbeat")
            except BaseExceptionGroup as errors:
                raise _reason(errors) from errors
            finally:
                call.cancel()

    async def _read_all(self, call: Any, channel: Any) -> None:
        incoming = Incoming(self._applier)
        try:
            async with asyncio.timeout(WELCOME_TIMEOUT_S):
                message = await call.read()
        except TimeoutError:
            raise SessionEndedError(f"no welcome within {WELCOME_TIMEOUT_S:g} s") from None
        while isinstance(message, pb.ServerMessage):
            await self._take(message, incoming, channel)
            message = await call.read()
        raise SessionEndedError(f"{(await call.code()).name}: {await call.details()}")

    async def _take(self, message: pb.ServerMessage, incoming: Incoming, channel: Any) -> None:
        match message.WhichOneof("body"):
            case "welcome":
                await self._welcomed(message.welcome)
            case "assignment_set":
                self._resync(incoming.take_set(message.assignment_set))
            case "increment":
                self._resync(incoming.take_increment(message.increment))
            case "status_ack":
                if self._cursor is not None:
                    self._cursor.statuses.acknowledged(message.status_ack.sequence)
            case "tunnel_request":
                self._node.open_tunnel(message.tunnel_request, channel)
            case "metric_interest":
                if self.leader:
                    self._node.interested(message.metric_interest)
            case "shutdown":
                raise SessionEndedError(f"the server shuts down: {message.shutdown.reason}")
            case other:
                logger.warning("message_unknown", extra={"server": self.server, "message": str(other)})

    async def _welcomed(self, welcome: pb.Welcome) -> None:
        await self._node.welcomed(welcome)
        if not self.connected:
            self._cursor = self._uplink.cursor()
            logger.info("session_open", extra={"server": self.server, "server_id": welcome.server_id})
        self.connected, self.leader = True, welcome.leader
        self._period_s = welcome.heartbeat_period_s or DEFAULT_HEARTBEAT_S
        self._uplink.wake()

    def _resync(self, reason: str) -> None:
        """Ask for a complete set after a pause: a server that lags would otherwise be asked without end."""
        if reason:
            logger.warning("assignments_refused", extra={"server": self.server, "why": reason})
            message = pb.AgentMessage(resync=pb.ResyncRequest(reason=reason))
            asyncio.get_running_loop().call_later(RESYNC_PAUSE_S, self._send, message)

    async def _beat(self) -> None:
        """A heartbeat where nothing else was sent: any message tells the server that the node lives."""
        loop = asyncio.get_running_loop()
        sequence = 0
        while True:
            silent_s = loop.time() - self._sent_s
            if silent_s < self._period_s:
                await asyncio.sleep(self._period_s - silent_s + HEARTBEAT_SLACK_S)
                continue
            self._sent_s = loop.time()
            if self.connected:
                sequence += 1
                self._send(pb.AgentMessage(heartbeat=pb.Heartbeat(sequence=sequence)))

    async def _write_all(self, call: Any) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            messages, self._outbox = self._outbox, []
            due_s: float | None = None
            if self._cursor is not None and self._uplink.chosen(self):
                more, due_s = self._cursor.take(time.monotonic(), samples=self.leader)
                messages += more
            for message in messages:
                await call.write(message)
                self._sent_s = asyncio.get_running_loop().time()
            if not self._outbox:
                self._flushed.set()
            if due_s is not None:
                asyncio.get_running_loop().call_later(max(0.0, due_s - time.monotonic()), self._wake.set)


def _reason(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error that tells why: an orderly end first, then what gRPC says; anything else is a defect."""
    ended, others = errors.split(SessionEndedError)
    refused, defects = others.split((grpc.aio.AioRpcError, asyncio.InvalidStateError)) if others else (None, None)
    if defects is not None:
        return defects
    first = _first(ended or refused or errors)
    if isinstance(first, grpc.aio.AioRpcError):
        return SessionEndedError(f"{first.code().name}: {first.details()}")
    return first if isinstance(first, SessionEndedError) else SessionEndedError(str(first))


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
