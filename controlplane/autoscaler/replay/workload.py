"""Pods that share a load, and the samples that nodes would take of them.

The load is spread evenly over the pods that are ready. A pod uses what its share asks for, up to its limit; what is
above the limit is denied: it shows as throttled time (as far as a node has cores), and is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from controlplane.autoscaler.columns import Span, Usage
from controlplane.autoscaler.readiness import Readiness
from controlplane.autoscaler.samples import SampleStore
from controlplane.autoscaler.usage import PodState
from flotilla.api.objects import KubeObject, format_time
from flotilla.api.selectors import LabelSelector
from protos import dispatcher_pb2 as pb

NODE = "replay"
NODE_CORES = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PodModel:
    """Every pod's CPU (thousandths of a core) and the seconds from its creation until it is ready."""

    request_millis: int
    limit_millis: int
    start_s: float


@dataclass(slots=True)
class Pod:
    """One pod. Implements ``PodState``."""

    uid: str
    created_s: float
    obj: KubeObject
    node: str = NODE
    revision: int = 1
    ready_s: float | None = None
    used_s: float = 0.0
    throttled_s: float = 0.0


@dataclass(slots=True)
class ScrapedUsage:
    """What metrics-server knows: the average between its last two scrapes of a pod. Implements ``UsageSource``."""

    before: dict[str, tuple[float, float]] = field(default_factory=dict)  # uid → when, CPU seconds so far
    known: dict[str, Usage] = field(default_factory=dict)

    def scrape(self, workload: Workload) -> None:
        """Read the counters of all pods that run."""
        now_s, running = workload.now_s, [pod for pod in workload.pods if pod.ready_s is not None]
        self.known = {
            pod.uid: Usage((pod.used_s - used_s) / (now_s - at_s), at_s, now_s)
            for pod in running
            if (earlier := self.before.get(pod.uid)) is not None
            for at_s, used_s in (earlier,)
        }
        self.before = {pod.uid: (now_s, pod.used_s) for pod in running}

    def cpu(self, pod: PodState, container: str, span: Span) -> Usage | None:
        return self.known.get(pod.uid)

    def memory(self, pod: PodState, container: str) -> Usage | None:
        return None


@dataclass(slots=True)
class Workload:
    """All pods at ``now_s`` (Unix time), under a load of so many cores, or of whatever else the metric counts."""

    model: PodModel
    samples: SampleStore
    now_s: float
    scraped: ScrapedUsage = field(default_factory=ScrapedUsage)
    load: float = 0.0
    pods: list[Pod] = field(default_factory=list)
    _by_uid: dict[str, Pod] = field(default_factory=dict)
    _made: int = 0
    _generation: int = 0

    def scale(self, replicas: int) -> None:
        """Have this many pods: new ones begin to start, the youngest of too many go at once."""
        while len(self.pods) < replicas:
            self.pods.append(self._new_pod())
        for pod in self.pods[replicas:]:
            del self._by_uid[pod.uid]
        del self.pods[replicas:]

    def advance(self, seconds: float, load: float) -> None:
        """Let time pass under a load."""
        self.load = load
        share, limit = self.share(), self.model.limit_millis / 1000
        for pod in self.pods:
            if pod.ready_s is not None:
                pod.used_s += min(share, limit) * seconds
                pod.throttled_s += min(max(0.0, share - limit), max(0.0, NODE_CORES - limit)) * seconds
        self.now_s += seconds
        for pod in self.pods:
            if pod.ready_s is None and self.now_s - pod.created_s >= self.model.start_s:
                pod.ready_s = self.now_s
                pod.obj["status"]["phase"] = "Running"
                pod.revision += 1

    def share(self) -> float:
        """What each ready pod gets of the load."""
        return self.load / self.ready if self.ready else 0.0

    @property
    def ready(self) -> int:
        return sum(pod.ready_s is not None for pod in self.pods)

    @property
    def served(self) -> float:
        """The load that the pods bear, in cores."""
        return min(self.load, self.ready * self.model.limit_millis / 1000)

    def sample(self) -> None:
        """A round, as an agent takes it of the pods that run."""
        self._generation += 1
        running = [pod for pod in self.pods if pod.ready_s is not None]
        used = np.array([pod.used_s * 1e9 for pod in running]).astype("<u8")
        throttled = np.array([pod.throttled_s * 1e9 for pod in running]).astype("<u8")
        started = np.array([pod.created_s for pod in running], dtype="<f8")
        keys = [pb.ContainerKey(namespace="", pod=pod.uid, pod_uid=pod.uid, container="app") for pod in running]
        round_ = pb.Samples(
            time_unix_s=self.now_s,
            containers=keys,
            generation=self._generation,
            cpu_usage_ns=used.tobytes(),
            cpu_throttled_ns=throttled.tobytes(),
            memory_working_set_bytes=np.zeros(len(running), "<u8").tobytes(),
            start_time_unix_s=started.tobytes(),
        )
        self.samples.ingest(NODE, round_)

    def of(self, uid: str) -> Readiness | None:
        """Implements ``ReadinessSource``."""
        pod = self._by_uid.get(uid)
        if pod is None:
            return None
        changed = pod.created_s if pod.ready_s is None else pod.ready_s
        created = datetime.fromtimestamp(pod.created_s, UTC)
        return Readiness(pod.ready_s is not None, datetime.fromtimestamp(changed, UTC), created)

    def of_pod(self, node: str, uid: str, metric: str, selector: LabelSelector) -> Usage | None:
        """Implements ``ApplicationSource``: every ready pod says that it has its share of the load."""
        readiness = self.of(uid)
        return Usage(self.share(), self.now_s, self.now_s) if readiness is not None and readiness.ready else None

    def _new_pod(self) -> Pod:
        self._made += 1
        uid = f"pod-{self._made}"
        resources = {
            "requests": {"cpu": f"{self.model.request_millis}m"},
            "limits": {"cpu": f"{self.model.limit_millis}m"},
        }
        obj: KubeObject = {
            "metadata": {"name": uid, "uid": uid},
            "spec": {"containers": [{"name": "app", "resources": resources}]},
            "status": {"phase": "Pending", "startTime": format_time(datetime.fromtimestamp(self.now_s, UTC))},
        }
        self._by_uid[uid] = Pod(uid, self.now_s, obj)
        return self._by_uid[uid]
