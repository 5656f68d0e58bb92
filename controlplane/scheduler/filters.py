"""Which nodes can run a pod, and why each of the others can't: filters that check and explain.

Each filter sees the nodes that all filters before it left over, as Kubernetes' plugins do, so that every node counts
under one reason (resources excepted: every one that is short is named). The words are Kubernetes', because people
search for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from controlplane.scheduler.affinity import matches_required
from controlplane.scheduler.node_matrix import Mask, NodeMatrix
from controlplane.scheduler.pod_info import PODS, PodInfo, ports_conflict
from controlplane.scheduler.taints import NO_EXECUTE, NO_SCHEDULE, first_untolerated, tolerates
from controlplane.scheduler.volumes import Needs, PodVolumes

_UNSCHEDULABLE_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": NO_SCHEDULE}
_REMEMBERED_SELECTORS = 256

Failures = Iterator[tuple[Mask, str]]
Filter = Callable[[NodeMatrix, PodInfo, Mask], Failures]


@dataclass(frozen=True, slots=True)
class Verdict:
    """``fits`` by row; ``reasons`` say how many nodes fail for what. ``capacity``: more room could change it.

    ``rejected`` is why it was no use to look at the nodes.
    """

    fits: Mask
    nodes: int
    reasons: Counter[str]
    capacity: bool
    rejected: str = ""

    def message(self) -> str:
        """Why the pod fits nowhere, as Kubernetes says it."""
        if self.nodes == 0:
            return "no nodes available to schedule pods"
        if self.rejected:
            return f"0/{self.nodes} nodes are available: {self.rejected}."
        listed = ", ".join(sorted(f"{count} {reason}" for reason, count in self.reasons.items()))
        return f"0/{self.nodes} nodes are available: {listed}."


class Filters:
    """The filters in order, with what they remember between pods. Without ``volumes`` none are looked at."""

    def __init__(self, volumes: PodVolumes | None = None) -> None:
        self._volumes = volumes
        self._selector_masks: dict[bytes, Mask] = {}
        self._labels_version = -1

    def judge(self, matrix: NodeMatrix, pod: PodInfo) -> Verdict:
        """Check the pod against every node."""
        fits = matrix.valid[: matrix.rows].copy()
        reasons: Counter[str] = Counter()
        capacity = False
        needs = self._volumes.needs(pod, matrix) if self._volumes is not None and pod.claims else Needs()
        if needs.rejected:
            return Verdict(fits & False, matrix.count, reasons, capacity, needs.rejected)
        volumes = self._volume_filter(needs)
        steps: tuple[Filter, ...] = (_unschedulable, _taints, self._affinity, _ports, _resources, volumes)
        for step in steps:
            before = fits.copy()
            for failing, reason in step(matrix, pod, before):
                failed = int(np.count_nonzero(failing & before))
                if failed:
                    reasons[reason] += failed
                    fits &= ~failing
                    capacity |= step in (_ports, _resources) or (step is volumes and needs.in_use)
        return Verdict(fits, matrix.count, reasons, capacity)

    def _affinity(self, matrix: NodeMatrix, pod: PodInfo, among: Mask) -> Failures:
        if pod.required_key:
            yield ~self._selected(matrix, pod), "node(s) didn't match Pod's node affinity/selector"

    def _volume_filter(self, needs: Needs) -> Filter:
        def check(matrix: NodeMatrix, pod: PodInfo, among: Mask) -> Failures:
            if self._volumes is not None and pod.claims:
                yield from self._volumes.failures(matrix, pod, among, needs)

        return check

    def _selected(self, matrix: NodeMatrix, pod: PodInfo) -> Mask:
        """Rows that the pod's selector and affinity admit, remembered until a node's labels change."""
        if self._labels_version != matrix.labels_version or len(self._selector_masks) > _REMEMBERED_SELECTORS:
            self._selector_masks.clear()
            self._labels_version = matrix.labels_version
        mask = self._selector_masks.get(pod.required_key)
        if mask is None:
            admitted = [
                node is not None and matches_required(pod.required, node.labels, node.name) for node in matrix.nodes
            ]
            mask = self._selector_masks[pod.required_key] = np.array(admitted, dtype=bool)
        return mask


def _unschedulable(matrix: NodeMatrix, pod: PodInfo, among: Mask) -> Failures:
    cordoned = matrix.unschedulable[: matrix.rows]
    if cordoned.any() and not any(tolerates(each, _UNSCHEDULABLE_TAINT) for each in pod.tolerations):
        yield cordoned, "node(s) were unschedulable"


def _taints(matrix: NodeMatrix, pod: PodInfo, among: Mask) -> Failures:
    sets = matrix.taint_set[: matrix.rows]
    for number in np.flatnonzero(np.bincount(sets[among])):
        taint = first_untolerated(matrix.taint_sets[number], pod.tolerations, effects=(NO_SCHEDULE, NO_EXECUTE))
        if taint is not None:
            yield sets == number, f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value') or ''}}}"


def _ports(matrix: NodeMatrix, pod: PodInfo, among: Mask) -> Failures:
    if pod.ports:
        taken = [bool(free) and ports_conflict(pod.ports, matrix.ports_at(row)) for row, free in enumerate(among)]
        yield np.array(taken, dtype=bool), "node(s) didn't have free ports for the requested pod ports"


def _resources(matrix: NodeMatrix, pod: PodInfo, among: Mask) -> Failures:
    wanted = matrix.request_vector(pod)
    free = matrix.allocatable[: matrix.rows] - matrix.requested[: matrix.rows]
    short = (free < wanted) & (wanted > 0)
    for resource, column in matrix.columns.items():
        if wanted[column]:
            yield short[:, column], "Too many pods" if resource == PODS else f"Insufficient {resource}"
