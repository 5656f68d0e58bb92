"""The node matrix counts what it is told in any order, and no decision promises more than a node has."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.scheduler.filters import Filters
from controlplane.scheduler.node_matrix import NodeInfo, NodeMatrix
from controlplane.scheduler.pod_info import PodInfo, read_pod
from controlplane.scheduler.scores import best

_NODES = ("a", "b", "c", "d")


def _pod(number: int, cpu_millis: int, group: int) -> PodInfo:
    owner = {"controller": True, "uid": f"owner-{group}", "kind": "ReplicaSet", "name": "x"}
    requests = {"cpu": f"{cpu_millis}m", "memory": "1Mi"}
    metadata = {"name": f"pod-{number}", "namespace": "default", "uid": f"pod-{number}", "ownerReferences": [owner]}
    return read_pod(
        {"metadata": metadata, "spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}}
    )


def _node(name: str, cpu_millis: int, pods: int) -> NodeInfo:
    allocatable = {"cpu": cpu_millis, "memory": 2**30, "pods": pods}
    return NodeInfo(name=name, labels={}, taints=(), unschedulable=False, allocatable=allocatable)


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("node"), st.sampled_from(_NODES), st.integers(0, 4000)),
        st.tuples(st.just("remove"), st.sampled_from(_NODES), st.just(0)),
        st.tuples(st.just("place"), st.sampled_from(_NODES), st.integers(0, 9)),
        st.tuples(st.just("release"), st.just(""), st.integers(0, 9)),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(steps=_STEPS)
def test_counts_follow_any_order_of_events(steps: list[tuple[str, str, int]]) -> None:
    """After any sequence of arrivals and departures every row shows exactly the pods on its node."""
    matrix = NodeMatrix()
    pods = [_pod(number, 100 * (number + 1), number % 3) for number in range(10)]
    nodes: set[str] = set()
    where: dict[int, str] = {}
    for action, name, number in steps:
        match action:
            case "node":
                matrix.put_node(_node(name, number, 110))
                nodes.add(name)
            case "remove":
                matrix.remove_node(name)
                nodes.discard(name)
            case "place":
                matrix.place(pods[number], name)
                where[number] = name
            case "release":
                matrix.release(pods[number].uid)
                where.pop(number, None)
    assert matrix.count == len(nodes)
    for row in range(matrix.rows):
        if not matrix.valid[row]:
            continue
        here = [pods[number] for number, name in where.items() if name == matrix.name_at(row)]
        assert matrix.requested[row, matrix.columns["cpu"]] == sum(pod.requests["cpu"] for pod in here)
        assert matrix.requested[row, matrix.columns["pods"]] == len(here)
        for group in range(3):
            expected = sum(f"owner-{group}" in pod.groups for pod in here)
            assert matrix.group_counts(f"owner-{group}")[row] == expected


@settings(max_examples=60, deadline=None)
@given(
    capacities=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 8)), min_size=1, max_size=20),
    wants=st.lists(st.integers(0, 2500), min_size=1, max_size=40),
)
def test_no_node_is_promised_twice(capacities: list[tuple[int, int]], wants: list[int]) -> None:
    """Whatever is assumed one after another, no node exceeds what it has; a refusal means that no node had room."""
    matrix = NodeMatrix()
    for number, (cpu, pods) in enumerate(capacities):
        matrix.put_node(_node(f"node-{number}", cpu, pods))
    filters = Filters()
    for number, cpu in enumerate(wants):
        pod = _pod(number, cpu, 0)
        verdict = filters.judge(matrix, pod)
        if verdict.fits.any():
            matrix.place(pod, matrix.name_at(best(matrix, pod, verdict.fits, turn=number)))
        else:
            assert sum(verdict.reasons.values()) >= len(capacities)
            free = matrix.allocatable[: matrix.rows] - matrix.requested[: matrix.rows]
            assert not ((free[:, 0] >= cpu) & (free[:, 1] >= 2**20) & (free[:, 2] >= 1)).any()
        assert np.all(matrix.requested[: matrix.rows] <= matrix.allocatable[: matrix.rows])


@settings(deadline=None)
@given(nodes=st.integers(1, 12), replicas=st.integers(1, 60))
def test_replicas_of_one_owner_are_even(nodes: int, replicas: int) -> None:
    """On equal nodes the numbers of replicas differ by at most one."""
    matrix = NodeMatrix()
    for number in range(nodes):
        matrix.put_node(_node(f"node-{number}", 100_000, 1000))
    filters = Filters()
    for number in range(replicas):
        pod = _pod(number, 100, 0)
        matrix.place(pod, matrix.name_at(best(matrix, pod, filters.judge(matrix, pod).fits, turn=number)))
    counts = matrix.group_counts("owner-0")
    assert counts.max() - counts.min() <= 1
