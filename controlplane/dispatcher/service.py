"""The gRPC server that agents dial: mutual TLS, Join for those that have no certificate yet, sessions and tunnels.

Every call's node is the one that its certificate names. The port is open before the cache has synced, so that agents
find it at once and their contact counts; what depends on the cache waits inside the session.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
from google.protobuf.message import Message

from controlplane.autoscaler.figures import Figures
from controlplane.dispatcher.alive_clock import AliveClock
from controlplane.dispatcher.assignments import Renderer
from controlplane.dispatcher.ending import StreamEndedError
from controlplane.dispatcher.feed import Feed
from controlplane.dispatcher.identity import node_name
from controlplane.dispatcher.joining import Joining, JoinRefusedError
from controlplane.dispatcher.registration import Registrar
from controlplane.dispatcher.session import Session, SessionParts
from controlplane.dispatcher.sessions import Sessions
from controlplane.dispatcher.tunnels import Tunnels
from controlplane.election import Election
from controlplane.pki import ClusterPki
from controlplane.reconcile.clock import Clock, utc_now
from controlplane.reconcile.events import EventRecorder
from controlplane.reconcile.objects import Objects
from controlplane.settings import ServerSettings
from controlplane.store.cache import Cache
from protos import dispatcher_pb2 as pb
from protos import dispatcher_pb2_grpc
from protos.unjoined import unjoined_authority

logger = logging.getLogger(__name__)

STATUS_WRITES_AT_ONCE = 64
STOP_GRACE_S = 0.5
_OPTIONS = (
    ("grpc.so_reuseport", 0),  # an occupied port is an error, not a second listener
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 500),
)


class PortInUseError(Exception):
    """The dispatcher's address can't be listened on."""


class DispatcherServer:
    """Serves agents until cancelled. ``sessions`` is the node lifecycle's liveness, ``tunnels`` the way to nodes."""

    def __init__(
        self,
        cache: Cache,
        objects: Objects,
        *,
        recorder: EventRecorder,
        pki: ClusterPki,
        figures: Figures,
        election: Election,
        settings: ServerSettings,
        clock: Clock = utc_now,
    ) -> None:
        self._cache = cache
        self._pki = pki
        self._election = election
        self._settings = settings
        self._alive = AliveClock()
        self.sessions: Sessions[Session] = Sessions(self._alive)
        self.tunnels = Tunnels(self.sessions)
        self._joining = Joining(cache, pki, clock=clock)
        renderer = Renderer()
        self._feed = Feed(cache, self.sessions, figures=figures, renderer=renderer)
        self._parts = SessionParts(
            cache=cache,
            objects=objects,
            recorder=recorder,
            figures=figures,
            sessions=self.sessions,
            registrar=Registrar(cache, objects, election, cluster_cidr=settings.cluster_cidr, clock=clock),
            settings=settings,
            status_limiter=asyncio.Semaphore(STATUS_WRITES_AT_ONCE),
            renderer=renderer,
            clock=clock,
            leads=lambda: election.is_leader,
        )
        self._listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def port(self) -> int:
        """The port that is listened on, once it is. PortInUseError."""
        return await asyncio.shield(self._listening)

    async def run(self) -> None:
        """Listen and serve until cancelled. PortInUseError."""
        server = grpc.aio.server(options=_OPTIONS)
        dispatcher_pb2_grpc.add_DispatcherServicer_to_server(self, server)  # type: ignore[no-untyped-call]
        address = self._settings.dispatcher_listen
        try:
            port = server.add_secure_port(address, self._credentials())
        except RuntimeError as error:
            in_use = PortInUseError(f"can't listen on {address}: {error}")
            self._listening.set_exception(in_use)
            raise in_use from error
        await server.start()
        self._listening.set_result(port)
        logger.info("dispatcher_listens", extra={"address": address, "port": port})
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._alive.run(), name="alive clock")
                tasks.create_task(self._feed.run(), name="assignment feed")
                tasks.create_task(self._announce_leadership(), name="leadership")
                tasks.create_task(self._announce_period(), name="heartbeat period")
                tasks.create_task(self._announce_interest(), name="metric interest")
        finally:
            for session in self.sessions.all():
                session.stop()
            await server.stop(STOP_GRACE_S)

    def _credentials(self) -> Any:
        server = self._pki.server.read()
        roots = self._pki.ca_pem + unjoined_authority()
        return grpc.ssl_server_credentials([(server.key_pem, server.certificate_pem)], roots, True)

    async def _announce_leadership(self) -> None:
        while True:
            await self._election.wait_leader()
            await self._cache.wait_synced()
            self.sessions.judge_from_now()
            self._welcome_all()
            await self._election.wait_lost()
            self._welcome_all()

    async def _announce_period(self) -> None:
        announced = self.sessions.period_s()
        async for _ in self.sessions.changed():
            if abs(self.sessions.period_s() - announced) > announced / 10:
                announced = self.sessions.period_s()
                self._welcome_all()

    async def _announce_interest(self) -> None:
        while True:
            await self._parts.figures.interest.wait_changed()
            for session in self.sessions.all():
                session.tell_interest()

    def _welcome_all(self) -> None:
        for session in self.sessions.all():
            session.welcome()

    async def Join(self, request: pb.JoinRequest, context: Any) -> pb.JoinResponse:  # noqa: N802
        """See ``protos/dispatcher.proto``."""
        caller = node_name(context.auth_context(), self._pki.authority)
        try:
            return await self._joining.join(request, caller=caller)
        except JoinRefusedError as error:
            await context.abort(error.code, error.message)
            raise AssertionError("abort raises") from error

    async def Session(self, _: Any, context: Any) -> None:  # noqa: N802
        """See ``protos/dispatcher.proto``."""
        node = await self._require_node(context)
        ended = await Session(node, _GrpcStream(context), self._parts).run()
        logger.info("session_ended", extra={"node": node, "why": ended.details})
        await _finish(context, ended)

    async def Tunnel(self, _: Any, context: Any) -> None:  # noqa: N802
        """See ``protos/dispatcher.proto``."""
        node = await self._require_node(context)
        await _finish(context, await self.tunnels.serve(node, _GrpcStream(context)))

    async def _require_node(self, context: Any) -> str:
        node = node_name(context.auth_context(), self._pki.authority)
        if node is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "a node's certificate is needed")
            raise AssertionError("abort raises")
        return node


async def _finish(context: Any, ended: StreamEndedError) -> None:
    if ended.code is not None:
        await context.abort(ended.code, ended.details)


class _GrpcStream:
    def __init__(self, context: Any) -> None:
        self._context = context

    async def read(self) -> Any:
        message = await self._context.read()
        return message if isinstance(message, Message) else None

    async def write(self, message: Message) -> None:
        await self._context.write(message)
