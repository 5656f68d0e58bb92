"""One agent's session: hello, then both directions at once until either side ends it.

The session reads; everything that takes longer than looking at a message is handed to a task of its own (statuses,
node reports, the Lease, the downlink), so that a heartbeat is never stuck behind a write to etcd.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from controlplane.autoscaler.figures import Figures
from controlplane.dispatcher.assignments import Renderer
from controlplane.dispatcher.downlink import Downlink
from controlplane.dispatcher.ending import StreamEndedError, left, node_deleted, not_now, replaced, violation
from controlplane.dispatcher.messages import Moment
from controlplane.dispatcher.metrics import SESSIONS
from controlplane.dispatcher.mirrors import MirrorWriter
from controlplane.dispatcher.node_reports import NodeLease, NodeReports
from controlplane.dispatcher.pod_networks import NetworksExhaustedError
from controlplane.dispatcher.registration import Registrar
from controlplane.dispatcher.removed_volumes import RemovedVolumes
from controlplane.dispatcher.sessions import Sessions
from controlplane.dispatcher.statuses import StatusWriter
from controlplane.reconcile.clock import Clock
from controlplane.reconcile.events import EventRecorder
from controlplane.reconcile.objects import Objects
from controlplane.settings import ServerSettings
from controlplane.store.cache import Cache
from controlplane.store.store import StoreError
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, decode
from flotilla.api.resources import PODS
from protos import dispatcher_pb2 as pb

logger = logging.getLogger(__name__)

HELLO_TIMEOUT_S = 10.0
AGENT_COMPONENT = "flotilla-agent"
_EVENT_TYPES = ("Normal", "Warning")


class Stream(Protocol):
    """A bidirectional stream: ``read`` gives None at the end."""

    async def read(self) -> pb.AgentMessage | None: ...
    async def write(self, message: pb.ServerMessage) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionParts:
    """What all sessions of a server share."""

    cache: Cache
    objects: Objects
    recorder: EventRecorder
    figures: Figures
    sessions: Sessions[Session]
    registrar: Registrar
    settings: ServerSettings
    status_limiter: asyncio.Semaphore
    renderer: Renderer
    clock: Clock
    leads: Callable[[], bool]


class Session:
    """A session of ``node`` over ``stream``."""

    def __init__(self, node: str, stream: Stream, parts: SessionParts) -> None:
        self.node = node
        self._stream = stream
        self._parts = parts
        self._ended: asyncio.Future[StreamEndedError] = asyncio.get_running_loop().create_future()
        self._network = ""
        self.downlink = Downlink(node, parts.cache, stream.write, renderer=parts.renderer, warn=self._warn)
        self._reports = NodeReports(node, parts.cache, parts.objects, clock=parts.clock)
        self._mirrors = MirrorWriter(node, parts.cache, parts.objects, warn=self._warn)
        self._lease = NodeLease(node, parts.cache, parts.objects, clock=parts.clock)
        self._removed_volumes = RemovedVolumes(node, parts.objects)
        self._statuses = StatusWriter(
            node, parts.objects, limiter=parts.status_limiter, acknowledge=self.downlink.acknowledge
        )

    async def run(self) -> StreamEndedError:
        """Serve the session; returns why it ended. Cancel-safe: what was not stored is reported again by the agent."""
        try:
            hello = await self._read_hello()
            await self._parts.cache.wait_synced()
            await self._register(hello)
        except StreamEndedError as ended:
            return ended
        self._parts.sessions.open(self)
        logger.info("session_opened", extra={"node": self.node, "agent_version": hello.agent_version})
        try:
            with SESSIONS.track_inprogress():
                return await self._serve()
        finally:
            self._parts.sessions.close(self)

    def replace(self) -> None:
        """Another session of the node takes over."""
        self._end(replaced(self.node))

    def node_deleted(self) -> None:
        """The Node object was deleted: the agent has to register again."""
        self._end(node_deleted(self.node))

    def stop(self) -> None:
        """This server stops: the agent may turn to another, or to its successor, at once."""
        self._end(not_now("the server stops"))

    def welcome(self) -> None:
        """Tell the agent (again) what it needs to know of this server."""
        settings = self._parts.settings
        welcome = pb.Welcome(
            server_id=settings.identity,
            history_id=self._parts.cache.history_id,
            heartbeat_period_s=self._parts.sessions.period_s(),
            leader=self._parts.leads(),
            cluster_domain=settings.cluster_domain,
            dns_address=settings.cluster_dns,
            pod_cidr=self._network,
            service_cidr=settings.service_cidr,
            cluster_cidr=settings.cluster_cidr,
        )
        self.downlink.send(pb.ServerMessage(welcome=welcome))
        self.tell_interest()

    def tell_interest(self) -> None:
        """Tell the agent (again) what to look for on the metrics pages of its pods."""
        series = self._parts.figures.interest.series
        namespaces = [pb.NamespaceInterest(namespace=name, series=sorted(series[name])) for name in sorted(series)]
        self.downlink.send(pb.ServerMessage(metric_interest=pb.MetricInterest(namespaces=namespaces)))

    def _end(self, why: StreamEndedError) -> None:
        if not self._ended.done():
            self._ended.set_result(why)

    def _warn(self, reason: str, message: str) -> None:
        about = {"apiVersion": "v1", "kind": "Node", "name": self.node, "uid": self.node}
        self._parts.recorder.record(about, "Warning", reason, message)
        logger.warning("node_warning", extra={"node": self.node, "reason": reason})

    async def _read_hello(self) -> pb.Hello:
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                message = await self._stream.read()
        except TimeoutError as error:
            raise violation("no hello came") from error
        if message is None:
            raise left(self.node)
        if message.WhichOneof("body") != "hello":
            raise violation("a session begins with hello")
        return message.hello

    async def _register(self, hello: pb.Hello) -> None:
        reported = _object(hello.node_json, "hello.node_json")
        try:
            self._network = await self._parts.registrar.register(self.node, reported)
        except ApiError as error:
            raise (not_now if error.transient else violation)(f"can't register: {error.message}") from error
        except (StoreError, NetworksExhaustedError) as error:
            raise not_now(f"can't register: {error}") from error
        self._reports.hello(reported)
        self.welcome()
        applied = Moment(hello.applied.history_id, hello.applied.revision)
        self.downlink.begin(applied, {pod.uid for pod in hello.running})

    async def _serve(self) -> StreamEndedError:
        workers = {
            "reader": self._read_all(),
            "downlink": self.downlink.run(),
            "statuses": self._statuses.run(),
            "reports": self._reports.run(),
            "mirrors": self._mirrors.run(),
            "lease": self._lease.run(),
            "removed volumes": self._removed_volumes.run(),
            "end": self._wait_end(),
        }
        try:
            async with asyncio.TaskGroup() as tasks:
                for name, worker in workers.items():
                    tasks.create_task(worker, name=f"session {self.node} {name}")
        except BaseExceptionGroup as group:
            ended, others = group.split(StreamEndedError)
            if others is not None or ended is None:
                raise
            return _first(ended)
        raise AssertionError("a session ends by an error")

    async def _wait_end(self) -> None:
        raise await self._ended

    async def _read_all(self) -> None:
        while (message := await self._stream.read()) is not None:
            self._parts.sessions.contact(self.node)
            self._lease.heard()
            self._reports.heard()
            self._take(message)
        raise left(self.node)

    def _take(self, message: pb.AgentMessage) -> None:
        match message.WhichOneof("body"):
            case "heartbeat" | "applied":
                pass
            case "pod_statuses":
                self._statuses.offer(message.pod_statuses.statuses)
            case "samples":
                self._parts.figures.samples.ingest(self.node, message.samples)
            case "application_samples":
                self._parts.figures.applications.ingest(self.node, message.application_samples)
            case "offered_metrics":
                self._parts.figures.applications.offer(self.node, message.offered_metrics)
            case "wake":
                self._parts.figures.wakes.ring(message.wake.namespace, message.wake.service)
            case "node_update":
                self._reports.status(_object(message.node_update.status_json, "node_update.status_json"))
            case "events":
                self._record(message.events)
            case "static_pods":
                self._mirrors.want([_object(each, "static_pods.pods_json") for each in message.static_pods.pods_json])
            case "removed_volumes":
                self._removed_volumes.offer(message.removed_volumes.volumes)
            case "hold":
                self._parts.sessions.hold(self.node, message.hold.seconds)
            case "resync":
                logger.info("resync_requested", extra={"node": self.node, "why": message.resync.reason})
                self.downlink.restart()
            case other:
                raise violation(f"unexpected message {other!r}")

    def _record(self, batch: pb.EventBatch) -> None:
        for event in batch.events:
            about = _object(event.involved_object_json, "events.involved_object_json")
            if event.type not in _EVENT_TYPES or not self._may_speak_of(about):
                logger.warning("agent_event_refused", extra={"node": self.node, "about": about.get("name")})
                continue
            self._parts.recorder.record(
                about, event.type, event.reason, event.message, component=AGENT_COMPONENT, host=self.node
            )

    def _may_speak_of(self, about: Mapping[str, Any]) -> bool:
        if about.get("kind") == "Node":
            return about.get("name") == self.node
        if about.get("kind") != "Pod" or not about.get("name"):
            return False
        pod = self._parts.cache.get(PODS, about.get("namespace") or "", about["name"])
        return pod is None or pod.node == self.node


def _object(data: bytes, what: str) -> KubeObject:
    try:
        value = decode(data)
    except msgspec.DecodeError as error:
        raise violation(f"{what}: {error}") from error
    if not isinstance(value, dict):
        raise violation(f"{what}: not a JSON object")
    return value


def _first(group: BaseExceptionGroup[StreamEndedError]) -> StreamEndedError:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            return _first(error)
        return error
    raise AssertionError("an exception group is never empty")
