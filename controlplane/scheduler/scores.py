"""How good each fitting node is for a pod: emptier is better, fewer of its own kind is better still.

Every score runs from 0 to 100 and is weighted as in Kubernetes' default profile: resources 1, spreading 2, preferred
node affinity 2, taints to be avoided 3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controlplane.scheduler.affinity import matches_term
from controlplane.scheduler.node_matrix import Counts, Mask, NodeMatrix
from controlplane.scheduler.pod_info import PodInfo
from controlplane.scheduler.taints import PREFER_NO_SCHEDULE, tolerates

Scores = NDArray[np.float64]

_SPREAD_WEIGHT = 2.0
_AFFINITY_WEIGHT = 2.0
_TAINT_WEIGHT = 3.0


def score(matrix: NodeMatrix, pod: PodInfo, rows: Counts) -> Scores:
    """The scores of the nodes in ``rows``, larger is better."""
    total = _least_allocated(matrix, pod, rows)
    for group in pod.groups:
        total += _SPREAD_WEIGHT / len(pod.groups) * _fewest(matrix.group_counts(group)[rows])
    if pod.preferred:
        total += _AFFINITY_WEIGHT * _preferred(matrix, pod, rows)
    avoided = _avoided(matrix, pod)
    if avoided.any():
        total += _TAINT_WEIGHT * _fewest(avoided[matrix.taint_set[rows]])
    return total


def best(matrix: NodeMatrix, pod: PodInfo, fits: Mask, *, turn: int) -> int:
    """The row of the best of the fitting nodes; among equals they take turns."""
    rows = np.flatnonzero(fits)
    scores = score(matrix, pod, rows)
    equals = rows[scores >= scores.max() - 1e-9]
    return int(equals[turn % len(equals)])


def _least_allocated(matrix: NodeMatrix, pod: PodInfo, rows: Counts) -> Scores:
    allocatable = np.maximum(matrix.allocatable[rows, :2], 1)
    free = allocatable - matrix.scored[rows] - np.array(pod.scored, dtype=np.int64)
    shares: Scores = np.clip(free / allocatable, 0.0, 1.0).mean(axis=1) * 100.0
    return shares


def _fewest(counts: Counts) -> Scores:
    most = counts.max(initial=0)
    if most == 0:
        return np.full(len(counts), 100.0)
    scores: Scores = 100.0 * (most - counts) / most
    return scores


def _preferred(matrix: NodeMatrix, pod: PodInfo, rows: Counts) -> Scores:
    weights = np.zeros(len(rows))
    for position, row in enumerate(rows):
        node = matrix.nodes[row]
        if node is not None:
            weights[position] = sum(
                term["weight"] for term in pod.preferred if matches_term(term["preference"], node.labels, node.name)
            )
    most = weights.max(initial=0.0)
    return weights if most == 0 else 100.0 * weights / most


def _avoided(matrix: NodeMatrix, pod: PodInfo) -> Counts:
    """Per set of taints, how many of those to be avoided the pod doesn't tolerate."""
    return np.array(
        [
            sum(
                taint["effect"] == PREFER_NO_SCHEDULE and not any(tolerates(each, taint) for each in pod.tolerations)
                for taint in taints
            )
            for taints in matrix.taint_sets
        ],
        dtype=np.int64,
    )
