"""What the agent knows of a pod beyond its spec, and the part of it that is kept on disk.

``PodRecord`` is all that an agent started again needs to go on: which containers there are, what became of the
previous ones, and until when a back-off lasts. It is written before a container is created and after every change, so
that nothing is ever running that no record names. It holds no environment and nothing of Secrets.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from flotilla.api.objects import KubeObject
from nodeagent.isolation.ranges import PodUsers
from nodeagent.runtime.processes import ProcessIdentity

SandboxPhase = Literal["absent", "preparing", "ready", "releasing", "released"]
StopKind = Literal["deleted", "removed", "deadline", "terminated"]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a container's run ended. ``reason`` in Kubernetes' words: Completed, Error, OOMKilled, StartError, ..."""

    exit_code: int
    reason: str
    finished_unix_s: float
    message: str = ""
    signal: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """One life of a container. ``attempt`` counts from 0 and is the restart count.

    A run without ``process`` is being created; one without ``started_unix_s`` has not begun its program.
    """

    id: str
    attempt: int
    image: str
    image_id: str
    created_unix_s: float
    process: ProcessIdentity | None = None
    conmon: ProcessIdentity | None = None
    started_unix_s: float = 0.0
    stop_signal: str = ""
    ended: Ended | None = None
    resources: KubeObject = field(default_factory=dict)  # requests and limits as in force

    @property
    def live(self) -> bool:
        """Whether the container's program runs, as far as the agent has heard."""
        return self.started_unix_s > 0 and self.ended is None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container has no run going: reason and message as a user reads them."""

    reason: str
    message: str
    since_unix_s: float


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """One container of a pod: its newest run, the ended one before that, and when to try next.

    ``failures`` counts ends in a row, ``refusals`` the attempts since then that came to no run (a failed pull);
    ``retry_at_unix_s`` is the earliest next start.
    ``started`` and ``ready`` are what the probes have found; they outlive the agent so that a restart of the agent does
    not take a healthy pod out of its services.
    """

    run: Run | None = None
    last: Run | None = None
    failures: int = 0
    retry_at_unix_s: float = 0.0
    waiting: Waiting | None = None
    started: bool = False
    ready: bool = False
    refusals: int = 0

    def with_ended(self, ended: Ended, *, failures: int, retry_at_unix_s: float) -> ContainerRecord:
        """The record after the newest run has ended."""
        assert self.run is not None
        run = replace(self.run, ended=ended)
        return replace(
            self, run=run, failures=failures, retry_at_unix_s=retry_at_unix_s, waiting=None, started=False, ready=False
        )

    def with_run(self, run: Run) -> ContainerRecord:
        """The record once a new run is about to be created; the run before becomes the last state."""
        last = self.run if self.run is not None and self.run.ended is not None else self.last
        return replace(self, run=run, last=last, refusals=0, waiting=None, started=False, ready=False)

    @property
    def next_attempt(self) -> int:
        return 0 if self.run is None else self.run.attempt + 1


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The pod's address and network namespace; ``netns`` is empty on the host's network.

    ``users`` are the pod's own, None for the node's; ``warning`` is what the pod's owner should know of that.
    ``handler`` is that of the pod's RuntimeClass, empty for the node's default runtime.
    """

    ip: str
    netns: str = ""
    users: PodUsers | None = None
    warning: str = ""
    handler: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """Why the whole pod ends, since when, and how long its containers have for it.

    ``deleted``: by its deletionTimestamp; ``removed``: it is no longer this node's; ``deadline``: it ran too long;
    ``terminated``: the node ends it for a cause of its own. The last two leave a failed pod behind, with reason and
    message; ``disruption`` is the reason of its DisruptionTarget condition, if it gets one.
    """

    kind: StopKind
    since_unix_s: float
    grace_s: float
    reason: str = ""
    message: str = ""
    disruption: str = ""

    @property
    def fails(self) -> bool:
        """Whether the pod stays, failed, until it is deleted."""
        return self.kind in ("deadline", "terminated")

    @property
    def deadline_unix_s(self) -> float:
        return self.since_unix_s + self.grace_s


@dataclass(frozen=True, slots=True)
class PodRecord:
    """The state of one pod on disk. ``pod`` is the object as last assigned; ``status`` as last reported.

    ``released``: nothing of its sandbox is left.
    """

    pod: KubeObject
    boot_id: str
    start_time_unix_s: float
    sandbox: Sandbox | None = None
    initialized: bool = False
    containers: dict[str, ContainerRecord] = field(default_factory=dict)
    stop: Stop | None = None
    status: KubeObject = field(default_factory=dict)
    released: bool = False


@dataclass(frozen=True, slots=True)
class ResizeProblem:
    """Why changed resources are not in force: never on this node, not until other pods go, or for an error."""

    reason: Literal["Infeasible", "Deferred", "Error"]
    message: str


@dataclass(slots=True)
class ContainerState:
    """One container while its pod's worker runs: the record and what is under way."""

    record: ContainerRecord = field(default_factory=ContainerRecord)
    starting: bool = False
    stopping: bool = False
    resizing: bool = False
    resize_problem: ResizeProblem | None = None
    resize_retry_at_unix_s: float = 0.0
    unhealthy: str = ""

    @property
    def live(self) -> bool:
        return self.record.run is not None and self.record.run.live

    @property
    def busy(self) -> bool:
        """Whether something of this container exists or is being made, so that the sandbox must stay."""
        return self.starting or self.stopping or self.live


@dataclass(slots=True)
class PodState:
    """One pod while its worker runs. Times are Unix seconds.

    ``start_time_unix_s`` is told and follows the time of day; that was ahead of the steady clock, which all that is
    waited for goes by, by ``start_ahead_s``.
    """

    start_time_unix_s: float
    start_ahead_s: float = 0.0
    sandbox_phase: SandboxPhase = "absent"
    sandbox: Sandbox | None = None
    sandbox_failures: int = 0
    sandbox_message: str = ""
    sandbox_retry_at_unix_s: float = 0.0
    initialized: bool = False
    containers: dict[str, ContainerState] = field(default_factory=dict)
    stop: Stop | None = None

    def container(self, name: str) -> ContainerState:
        """The state of a container, made on first use."""
        return self.containers.setdefault(name, ContainerState())
