"""What goes up, whichever session carries it: pod statuses, events, samples.

One server gets them: the leader if there is a session with it, else any. When the choice changes, the new session
starts over with the newest status of every pod; events that no session could take wait in a bounded queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from flotilla.api.objects import KubeObject, encode
from nodeagent.metrics.sampler import Round
from nodeagent.pod_events import PodEvent
from nodeagent.scraping.scraper import ApplicationRound
from nodeagent.status_reporter import StatusCursor, StatusReport, StatusReporter
from protos import dispatcher_pb2 as pb

EVENT_LIMIT = 1000
EVENTS_A_MESSAGE = 100
STATUSES_A_MESSAGE = 100


class Carrier(Protocol):
    """A session as far as the choice is concerned."""

    connected: bool
    leader: bool

    def wake(self) -> None: ...


class Uplink:
    """The node's side of what sessions carry."""

    def __init__(self) -> None:
        self.statuses = StatusReporter(self.wake)
        self.carriers: list[Carrier] = []
        self.round: Round | None = None
        self.applications: ApplicationRound | None = None
        self.node_status: KubeObject | None = None
        self.unready: KubeObject | None = None
        self.mirrors: pb.StaticPods | None = None
        self.removed_volumes = pb.RemovedVolumes()
        self._events: deque[PodEvent] = deque(maxlen=EVENT_LIMIT)
        self._rung: set[tuple[str, str]] = set()

    def wake(self) -> None:
        """Let the sessions look for something to send."""
        for carrier in self.carriers:
            carrier.wake()

    def event(self, event: PodEvent) -> None:
        """Send an event; the oldest are lost when no server has listened for long."""
        self._events.append(event)
        self.wake()

    def sampled(self, newest: Round, applications: ApplicationRound | None = None) -> None:
        """Send a round of samples, and what pods say, if the leader listens: an old one is of no use to anyone."""
        self.round, self.applications = newest, applications
        self.wake()

    def rung(self, namespace: str, service: str) -> None:
        """Tell that requests to a service wait here; who rings rings again, so that nothing is kept for long."""
        self._rung.add((namespace, service))
        self.wake()

    def take_rung(self) -> set[tuple[str, str]]:
        """The services that were rung for since the last call."""
        rung, self._rung = self._rung, set()
        return rung

    def node_changed(self, status: KubeObject) -> None:
        """Send parts of the node's status that have changed."""
        self.node_status = {**(self.node_status or {}), **status}
        self.wake()

    def node_unready(self, condition: KubeObject | None) -> None:
        """Send that the node is not ready, as this Ready condition says; None for the end of that."""
        self.unready = condition
        self.node_changed({})

    def conditions(self, conditions: Iterable[KubeObject]) -> list[KubeObject]:
        """A node's conditions, with what it says of being ready."""
        return [*conditions, *([self.unready] if self.unready is not None else [])]

    def mirrors_wanted(self, pods: list[KubeObject]) -> None:
        """Let a server see to it that exactly these pods stand in the API for the node's static ones."""
        self.mirrors = pb.StaticPods(pods_json=[encode(pod) for pod in pods])
        self.wake()

    def volumes_removed(self, volumes: Mapping[str, str]) -> None:
        """Send which volumes' data has been deleted: uids by names, all of them."""
        removed = [pb.RemovedVolume(name=name, uid=uid) for name, uid in volumes.items()]
        self.removed_volumes = pb.RemovedVolumes(volumes=removed)
        self.wake()

    def chosen(self, carrier: Carrier) -> bool:
        """Whether this session is the one to carry everything."""
        connected = [each for each in self.carriers if each.connected]
        best = [each for each in connected if each.leader] or connected
        return bool(best) and best[0] is carrier

    def cursor(self) -> UplinkCursor:
        """The beginning of a session."""
        return UplinkCursor(self, StatusCursor(self.statuses))

    def take_events(self) -> list[PodEvent]:
        """The events that wait, at most a message full."""
        return [self._events.popleft() for _ in range(min(len(self._events), EVENTS_A_MESSAGE))]


@dataclass(slots=True)
class UplinkCursor:
    """What one session has carried so far."""

    uplink: Uplink
    statuses: StatusCursor
    _round: Round | None = field(default=None)
    _generation: int = -1
    _applications_generation: int = -1
    _offered: frozenset[tuple[str, str, bool]] = frozenset()
    _node_status: KubeObject | None = None
    _mirrors: pb.StaticPods | None = None
    _removed_volumes: pb.RemovedVolumes = field(default_factory=pb.RemovedVolumes)

    def take(self, now_s: float, *, samples: bool) -> tuple[list[pb.AgentMessage], float | None]:
        """Messages to write now, and when to look again (monotonic seconds; None: when woken)."""
        reports, due_s = self.statuses.take(now_s)
        messages = [
            pb.AgentMessage(pod_statuses=status_batch(reports[start : start + STATUSES_A_MESSAGE]))
            for start in range(0, len(reports), STATUSES_A_MESSAGE)
        ]
        while events := self.uplink.take_events():
            messages.append(pb.AgentMessage(events=event_batch(events)))
        if self.uplink.removed_volumes != self._removed_volumes:
            self._removed_volumes = self.uplink.removed_volumes
            messages.append(pb.AgentMessage(removed_volumes=self._removed_volumes))
        messages += [
            pb.AgentMessage(wake=pb.Wake(namespace=namespace, service=service))
            for namespace, service in sorted(self.uplink.take_rung())
        ]
        if self.uplink.node_status is not None and self.uplink.node_status is not self._node_status:
            self._node_status = self.uplink.node_status
            conditions = self.uplink.conditions(self._node_status.get("conditions") or ())
            status = {**self._node_status, "conditions": conditions}
            messages.append(pb.AgentMessage(node_update=pb.NodeUpdate(status_json=encode(status))))
        if self.uplink.mirrors is not self._mirrors and self.uplink.mirrors is not None:
            self._mirrors = self.uplink.mirrors
            messages.append(pb.AgentMessage(static_pods=self._mirrors))
        newest = self.uplink.round
        if samples and newest is not None and newest is not self._round:
            self._round = newest
            messages += self._applications()
            messages.append(pb.AgentMessage(samples=samples_of(newest, whole=newest.generation != self._generation)))
            self._generation = newest.generation
        return messages, due_s

    def _applications(self) -> list[pb.AgentMessage]:
        """What pods say of themselves goes before the containers' samples, which bring up the autoscalers."""
        newest = self.uplink.applications
        if newest is None:
            return []
        whole = newest.generation != self._applications_generation
        self._applications_generation = newest.generation
        messages = [pb.AgentMessage(application_samples=application_samples_of(newest, whole=whole))]
        if newest.offered != self._offered:
            self._offered = newest.offered
            metrics = [
                pb.OfferedMetric(namespace=namespace, name=name, cumulative=grows)
                for namespace, name, grows in sorted(newest.offered)
            ]
            messages.append(pb.AgentMessage(offered_metrics=pb.OfferedMetrics(metrics=metrics)))
        return messages


def status_batch(reports: Sequence[StatusReport]) -> pb.PodStatusBatch:
    """Statuses as they travel."""
    return pb.PodStatusBatch(
        statuses=[
            pb.PodStatus(
                namespace=each.namespace,
                name=each.name,
                uid=each.uid,
                sequence=each.sequence,
                status_json=each.status_json,
                terminated=each.terminated,
            )
            for each in reports
        ]
    )


def event_batch(events: Sequence[PodEvent]) -> pb.EventBatch:
    """Events as they travel."""
    return pb.EventBatch(
        events=[
            pb.NodeEvent(
                involved_object_json=encode(each.involved),
                type=each.type,
                reason=each.reason,
                message=each.message,
                time_unix_s=each.time_unix_s,
            )
            for each in events
        ]
    )


def samples_of(newest: Round, *, whole: bool) -> pb.Samples:
    """A round as it travels; ``whole`` names the containers, which is needed when they have changed."""
    columns = newest.columns()
    keys = [
        pb.ContainerKey(namespace=each.namespace, pod=each.pod, pod_uid=each.pod_uid, container=each.container)
        for each in (newest.containers if whole else ())
    ]
    return pb.Samples(
        time_unix_s=newest.steady_unix_s,
        containers=keys,
        generation=newest.generation,
        cpu_usage_ns=columns.cpu_usage_ns,
        cpu_throttled_ns=columns.cpu_throttled_ns,
        memory_working_set_bytes=columns.memory_working_set_bytes,
        start_time_unix_s=columns.start_time_unix_s,
        node_cpu_usage_ns=newest.machine.cpu_usage_ns,
        node_memory_working_set_bytes=newest.machine.memory_working_set_bytes,
    )


def application_samples_of(newest: ApplicationRound, *, whole: bool) -> pb.ApplicationSamples:
    """A round of pods' own series as it travels; ``whole`` names them, which is needed when they have changed."""
    series = [
        pb.SeriesKey(
            namespace=each.namespace,
            pod=each.pod,
            pod_uid=each.uid,
            name=each.name,
            cumulative=each.cumulative,
            labels=dict(each.labels),
        )
        for each in (newest.series if whole else ())
    ]
    return pb.ApplicationSamples(
        time_unix_s=newest.time_unix_s,
        series=series,
        generation=newest.generation,
        scraped_unix_s=newest.scraped_unix_s,
        values=newest.values,
    )
