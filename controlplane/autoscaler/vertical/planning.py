"""Which pods of a workload are resized now, and what is said of the others. Pure.

Those that grow come first, then those that are furthest off. A tenth of the workload's pods is resized at once, and one
at least: what a resize does to a container is known before the next one has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controlplane.autoscaler.vertical.facts import PodFacts
from controlplane.autoscaler.vertical.recommendation import Range
from controlplane.autoscaler.vertical.sizing import (
    Ranges,
    Size,
    SizeRefusedError,
    lasting_containers,
    size,
    within_limit_ranges,
)
from flotilla.api.objects import KubeObject
from flotilla.api.vertical_options import VerticalOptions

SHARE = 10


@dataclass(frozen=True, slots=True)
class Pod:
    """A running pod: its object, facts, and the room on its node."""

    uid: str
    obj: KubeObject
    facts: PodFacts
    paused: bool
    room: Callable[[], Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done with one pod: ``size`` if it is to be resized now; else ``why`` it is not, empty if it is as
    it should be. ``refused`` if people should be told."""

    pod: Pod
    size: Size | None = None
    why: str = ""
    refused: bool = False


def in_turn(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts on all running pods of a workload with those first that are resized now; what is due else waits."""
    due = [each for each in verdicts if each.size is not None]
    due.sort(key=lambda each: each.size is not None and (each.size.grows, each.size.difference), reverse=True)
    flying = sum(each.pod.facts.in_flight for each in verdicts)
    free = max(0, max(1, len(verdicts) // SHARE) - flying)
    others = [each for each in verdicts if each.size is None]
    waiting = [Verdict(each.pod, why=f"has its turn soon: {_text(each)}") for each in due[free:]]
    return [*due[:free], *waiting, *others]


def _text(verdict: Verdict) -> str:
    return verdict.size.text if verdict.size is not None else ""


def judged(
    pod: Pod, ranges: Ranges, options: VerticalOptions, limit_ranges: Sequence[Mapping[str, Any]], *, now_s: float
) -> Verdict:
    """What is to be done with one pod, whoever's turn it is. ``limit_ranges`` are the items of the namespace's."""
    facts = pod.facts
    if facts.in_flight:
        return Verdict(pod, why="is being resized")
    if pod.paused:
        return Verdict(pod, why="is left alone for a while after a refusal")
    killed = {kill.container for kill in facts.kills if kill.soon}
    mine = _ranges_for(pod.obj, ranges, options, limit_ranges)
    age_s = now_s - facts.started_s
    try:
        wanted = size(pod.obj, mine, options, age_s=age_s, killed=killed)
        if wanted is not None and wanted.grows:
            wanted = size(pod.obj, mine, options, age_s=age_s, killed=killed, room=pod.room())
    except SizeRefusedError as refusal:
        return Verdict(pod, why=str(refusal), refused=True)
    if wanted is not None and wanted.grows and facts.pending:
        return Verdict(pod, why=f"waits for its node ({facts.pending})")
    if wanted is not None and facts.failing:
        return Verdict(pod, why=f"can't be resized on its node: {facts.failing}", refused=not facts.pending)
    return Verdict(pod, size=wanted)


def _ranges_for(
    pod: KubeObject, ranges: Ranges, options: VerticalOptions, limit_ranges: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, Range]]:
    """The ranges as the namespace's LimitRanges and this pod's limits let them be."""
    return {
        container["name"]: {
            resource: within_limit_ranges(container, resource, range_, limit_ranges, limits_too=options.limits_too)
            for resource, range_ in ranges.get(container["name"], {}).items()
        }
        for container in lasting_containers(pod["spec"])
    }


def with_resources_of(pod: KubeObject, sized: KubeObject, based_on: KubeObject) -> KubeObject | None:
    """``pod``, edited, with the containers' resources of ``sized``; None if they are not any more what they were."""
    if _resources(pod["spec"]) != _resources(based_on):
        return None
    for kind in ("containers", "initContainers"):
        for container, wanted in zip(pod["spec"].get(kind) or (), sized.get(kind) or (), strict=True):
            if "resources" in wanted:
                container["resources"] = wanted["resources"]
    return pod


def _resources(spec: Mapping[str, Any]) -> list[tuple[str, Any]]:
    kinds = ("containers", "initContainers")
    return [(each["name"], each.get("resources")) for kind in kinds for each in spec.get(kind) or ()]
