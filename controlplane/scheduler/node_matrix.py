"""All nodes as columns of numbers, so that one pod is checked against thousands of nodes in microseconds.

A row is a node; rows of removed nodes are used again. Pods are counted where they run or are assumed to run, and they
are remembered by node name, so that the order in which nodes and pods arrive doesn't matter.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane.scheduler.pod_info import CPU, MEMORY, PODS, HostPort, PodInfo, allocatable_of
from controlplane.scheduler.taints import taints_of
from flotilla.api.objects import KubeObject, encode, labels_of, name_of

Mask = NDArray[np.bool_]
Counts = NDArray[np.int64]
_FIRST_ROWS = 16
_REMEMBERED_GROUPS = 64


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What of a Node decides about placement."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Mapping[str, Any], ...]
    unschedulable: bool
    allocatable: Mapping[str, int]


def read_node(node: KubeObject) -> NodeInfo:
    """The scheduler's view of a node."""
    return NodeInfo(
        name=name_of(node),
        labels=labels_of(node),
        taints=tuple(taints_of(node)),
        unschedulable=bool((node.get("spec") or {}).get("unschedulable")),
        allocatable=allocatable_of(node),
    )


@dataclass(slots=True)
class _Load:
    """The pods of one node, whether or not there is such a node."""

    pods: dict[str, PodInfo] = field(default_factory=dict)
    ports: Counter[HostPort] = field(default_factory=Counter)


class NodeMatrix:
    """Rows up to ``rows`` are in use where ``valid`` is True; columns are the resources in ``columns``."""

    def __init__(self) -> None:
        self.columns: dict[str, int] = {CPU: 0, MEMORY: 1, PODS: 2}
        self.rows = 0
        self.nodes: list[NodeInfo | None] = []
        self.valid: Mask = np.zeros(_FIRST_ROWS, dtype=bool)
        self.unschedulable: Mask = np.zeros(_FIRST_ROWS, dtype=bool)
        self.taint_set: Counts = np.zeros(_FIRST_ROWS, dtype=np.int64)
        self.allocatable: Counts = np.zeros((_FIRST_ROWS, len(self.columns)), dtype=np.int64)
        self.requested: Counts = np.zeros((_FIRST_ROWS, len(self.columns)), dtype=np.int64)
        self.scored: Counts = np.zeros((_FIRST_ROWS, 2), dtype=np.int64)
        self.taint_sets: list[tuple[Mapping[str, Any], ...]] = [()]
        self.labels_version = 0
        self._taint_ids: dict[bytes, int] = {encode(()): 0}
        self._row_of: dict[str, int] = {}
        self._free: list[int] = []
        self._loads: dict[str, _Load] = {}
        self._node_of: dict[str, str] = {}
        self._claim_users: dict[tuple[str, str], set[str]] = {}
        self._groups: dict[str, Counter[str]] = {}
        self._group_counts: OrderedDict[str, Counts] = OrderedDict()

    @property
    def count(self) -> int:
        """How many nodes there are."""
        return len(self._row_of)

    def node_of(self, uid: str) -> str:
        """The node on which a pod is counted, ``""`` if on none."""
        return self._node_of.get(uid, "")

    def name_at(self, row: int) -> str:
        node = self.nodes[row]
        return node.name if node is not None else ""

    def ports_at(self, row: int) -> Mapping[HostPort, int]:
        """The host ports in use on the node."""
        load = self._loads.get(self.name_at(row))
        return load.ports if load is not None else {}

    def claim_users(self, namespace: str, claim: str) -> set[str]:
        """The uids of the pods on nodes that use a claim: read only."""
        return self._claim_users.get((namespace, claim), set())

    def put_node(self, node: NodeInfo) -> bool:
        """Add or change a node; whether that may let a pod fit that did not."""
        row = self._row_of.get(node.name)
        present = self.nodes[row] if row is not None else None
        if present == node:
            return False
        if row is None:
            row = self._new_row(node.name)
        self.nodes[row] = node
        self.valid[row] = True
        self.unschedulable[row] = node.unschedulable
        self.taint_set[row] = self._taint_id(node.taints)
        if present is None or present.labels != node.labels:
            self.labels_version += 1
        for resource in node.allocatable:
            self._column(resource)
        self.allocatable[row] = 0
        for resource, amount in node.allocatable.items():
            self.allocatable[row, self.columns[resource]] = amount
        if present is None:
            self._count_load(row, node.name)
        return True

    def remove_node(self, name: str) -> None:
        row = self._row_of.pop(name, None)
        if row is not None:
            self.valid[row] = False
            self.nodes[row] = None
            self.labels_version += 1
            self._group_counts.clear()
            self._free.append(row)

    def place(self, pod: PodInfo, node: str) -> None:
        """Count the pod on the node, and no longer on another one."""
        if self._node_of.get(pod.uid) == node:
            return
        self.release(pod.uid)
        self._node_of[pod.uid] = node
        load = self._loads.setdefault(node, _Load())
        load.pods[pod.uid] = pod
        load.ports.update(pod.ports)
        for claim, _ in pod.claims:
            self._claim_users.setdefault((pod.namespace, claim), set()).add(pod.uid)
        self._add(pod, node, 1)

    def release(self, uid: str) -> bool:
        """Count the pod nowhere any more; whether it was counted."""
        node = self._node_of.pop(uid, None)
        if node is None:
            return False
        load = self._loads[node]
        pod = load.pods.pop(uid)
        load.ports -= Counter(pod.ports)
        for claim, _ in pod.claims:
            self._claim_users[pod.namespace, claim].discard(uid)
            if not self._claim_users[pod.namespace, claim]:
                del self._claim_users[pod.namespace, claim]
        if not load.pods:
            del self._loads[node]
        self._add(pod, node, -1)
        return True

    def group_counts(self, group: str) -> Counts:
        """How many pods of the group are on each row's node."""
        counts = self._group_counts.get(group)
        if counts is None:
            counts = np.zeros(len(self.valid), dtype=np.int64)
            for name, number in self._groups.get(group, {}).items():
                if name in self._row_of:
                    counts[self._row_of[name]] = number
            self._group_counts[group] = counts
            if len(self._group_counts) > _REMEMBERED_GROUPS:
                self._group_counts.popitem(last=False)
        return counts[: self.rows]

    def request_vector(self, pod: PodInfo) -> Counts:
        """The pod's requests by column."""
        for resource in pod.requests:
            self._column(resource)
        vector = np.zeros(len(self.columns), dtype=np.int64)
        for resource, amount in pod.requests.items():
            vector[self.columns[resource]] = amount
        return vector

    def _add(self, pod: PodInfo, node: str, sign: int) -> None:
        row = self._row_of.get(node)
        if row is not None:
            self.requested[row] += sign * self.request_vector(pod)
            self.scored[row] += sign * np.array(pod.scored, dtype=np.int64)
        for group in pod.groups:
            counts = self._groups.setdefault(group, Counter())
            counts[node] += sign
            if not counts[node]:
                del counts[node]
            if not counts:
                del self._groups[group]
                self._group_counts.pop(group, None)
            elif row is not None and group in self._group_counts:
                self._group_counts[group][row] += sign

    def _count_load(self, row: int, name: str) -> None:
        self.requested[row] = 0
        self.scored[row] = 0
        load = self._loads.get(name)
        for pod in load.pods.values() if load is not None else ():
            vector = self.request_vector(pod)
            self.requested[row] += vector
            self.scored[row] += np.array(pod.scored, dtype=np.int64)
        self._group_counts.clear()

    def _new_row(self, name: str) -> int:
        if self._free:
            row = self._free.pop()
        else:
            row = self.rows
            self.rows += 1
            self.nodes.append(None)
            if row == len(self.valid):
                self._grow()
        self._row_of[name] = row
        return row

    def _grow(self) -> None:
        rows = len(self.valid)
        self.valid = np.concatenate([self.valid, np.zeros(rows, dtype=bool)])
        self.unschedulable = np.concatenate([self.unschedulable, np.zeros(rows, dtype=bool)])
        self.taint_set = np.concatenate([self.taint_set, np.zeros(rows, dtype=np.int64)])
        self.allocatable = np.concatenate([self.allocatable, np.zeros_like(self.allocatable)])
        self.requested = np.concatenate([self.requested, np.zeros_like(self.requested)])
        self.scored = np.concatenate([self.scored, np.zeros_like(self.scored)])
        self._group_counts.clear()

    def _column(self, resource: str) -> None:
        if resource in self.columns:
            return
        self.columns[resource] = len(self.columns)
        column = np.zeros((len(self.valid), 1), dtype=np.int64)
        self.allocatable = np.concatenate([self.allocatable, column], axis=1)
        self.requested = np.concatenate([self.requested, column], axis=1)

    def _taint_id(self, taints: tuple[Mapping[str, Any], ...]) -> int:
        key = encode([{part: taint.get(part) for part in ("key", "value", "effect")} for taint in taints])
        if key not in self._taint_ids:
            self._taint_ids[key] = len(self.taint_sets)
            self.taint_sets.append(taints)
        return self._taint_ids[key]
