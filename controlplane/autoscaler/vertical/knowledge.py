"""What is remembered of a workload between looks at it."""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass, field

from controlplane.autoscaler.columns import Span
from controlplane.autoscaler.samples import SampleStore
from controlplane.autoscaler.usage import PodState
from controlplane.autoscaler.vertical.facts import Kill, PodFacts
from controlplane.autoscaler.vertical.history import History, MemoryWindow
from controlplane.autoscaler.vertical.recommendation import Range, recommend
from flotilla.api.vertical_options import VerticalOptions

PERIOD_S = 10.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 60.0, 900.0

_Place = tuple[str, str]
"""A pod's uid and the name of a container."""


@dataclass(slots=True)
class Pause:
    """How long a pod is left alone after its resize was refused."""

    until_s: float
    length_s: float


@dataclass(slots=True)
class Knowledge:
    """Moments are Unix time. ``problems`` are what the workload has been told of, by reason and message."""

    uid: str
    histories: dict[str, History] = field(default_factory=dict)
    windows: dict[_Place, MemoryWindow] = field(default_factory=dict)
    counted: dict[_Place, float] = field(default_factory=dict)
    kills: dict[_Place, float] = field(default_factory=dict)
    pauses: dict[str, Pause] = field(default_factory=dict)
    problems: set[tuple[str, str]] = field(default_factory=set)
    restored_s: float = -math.inf
    sampled_s: float = -math.inf
    saved_s: float = -math.inf
    saved_targets: object = None

    def sample(self, pod: PodState, facts: PodFacts, samples: SampleStore, *, demand: bool, now_s: float) -> None:
        """Count what each container of a pod has used since the last call, and kills that were not counted yet."""
        for container, requests in facts.requests.items():
            place = (pod.uid, container)
            cpu = samples.pod_cpu(pod.node, pod.uid, container=container, span=Span(PERIOD_S), demand=demand)
            memory = samples.memory_peak(pod.node, pod.uid, container, window_s=PERIOD_S)
            if cpu is None or memory is None:
                continue
            period_s = min(PERIOD_S, cpu.window_end_unix_s - self.counted.get(place, -math.inf))
            if period_s < PERIOD_S / 2:
                continue  # a look that came early: each sample has the same weight
            self.counted[place] = cpu.window_end_unix_s
            history = self._history(container, now_s)
            history.add_cpu(cpu.value, request_cores=requests["cpu"] / 1000.0, at_s=now_s, period_s=period_s)
            self._window(place).observe(history, memory.value, at_s=now_s)
        for kill in facts.kills:
            self._count(kill, (pod.uid, kill.container), facts, now_s=now_s)

    def _count(self, kill: Kill, place: _Place, facts: PodFacts, *, now_s: float) -> None:
        if kill.at_s <= max(self.kills.get(place, -math.inf), self.restored_s):
            return
        self.kills[place] = kill.at_s
        request = float(facts.requests.get(kill.container, {}).get("memory", 0))
        self._window(place).out_of_memory(self._history(kill.container, now_s), request, at_s=now_s)

    def _history(self, container: str, now_s: float) -> History:
        history = self.histories.get(container)
        if history is None or (history.measured_s and history.is_old(now_s)):
            history = self.histories[container] = History()
        return history

    def _window(self, place: _Place) -> MemoryWindow:
        return self.windows.setdefault(place, MemoryWindow())

    def ranges(self, options: VerticalOptions, *, among: Set[str]) -> dict[str, dict[str, Range]]:
        """What is recommended for the containers ``among`` these, within people's bounds."""
        found: dict[str, dict[str, Range]] = {}
        for container in sorted(among & self.histories.keys()):
            bounds = options.bounds_of(container)
            for resource in options.resources if not bounds.off else ():
                range_ = recommend(self.histories[container], resource)
                if range_ is not None:
                    capped = range_.capped(bounds.least.get(resource), bounds.most.get(resource))
                    found.setdefault(container, {})[resource] = capped
        return found

    def refused(self, uid: str, *, now_s: float) -> None:
        """A resize of the pod was refused: leave it alone for a minute, then for longer."""
        before = self.pauses.get(uid)
        length_s = FIRST_PAUSE_S if before is None else min(LONGEST_PAUSE_S, 2 * before.length_s)
        self.pauses[uid] = Pause(now_s + length_s, length_s)

    def is_paused(self, uid: str, *, now_s: float) -> bool:
        """Whether the pod is to be left alone after a refusal."""
        pause = self.pauses.get(uid)
        return pause is not None and now_s < pause.until_s

    def keep(self, uids: Set[str]) -> None:
        """Forget all other pods; what they have used stays known."""
        self.windows = {place: window for place, window in self.windows.items() if place[0] in uids}
        self.counted = {place: moment for place, moment in self.counted.items() if place[0] in uids}
        self.kills = {place: moment for place, moment in self.kills.items() if place[0] in uids}
        self.pauses = {uid: pause for uid, pause in self.pauses.items() if uid in uids}

    def new_problems(self, problems: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those that were not there at the last call, each once."""
        new = [each for each in dict.fromkeys(problems) if each not in self.problems]
        self.problems = set(problems)
        return new
