"""Tables for the scheduler: which nodes fit, why others don't, and which one is best."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from controlplane.scheduler.affinity import matches_required
from controlplane.scheduler.filters import Filters, Verdict
from controlplane.scheduler.node_matrix import NodeMatrix, read_node
from controlplane.scheduler.pod_info import PodInfo, awaits_scheduling, read_pod
from controlplane.scheduler.scores import best
from flotilla.api.objects import KubeObject


def _node(name: str, *, cpu: str = "4", memory: str = "8Gi", pods: str = "110", **more: Any) -> KubeObject:
    amounts = {"cpu": cpu, "memory": memory, "pods": pods} | more.get("extended", {})
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name} | more.get("labels", {})},
        "spec": {"taints": more.get("taints", []), "unschedulable": more.get("unschedulable", False)},
        "status": {"allocatable": amounts},
    }


def _pod(name: str = "pod", *, cpu: str = "100m", owner: str = "", labels: Any = None, **spec: Any) -> KubeObject:
    requests = {"cpu": cpu, "memory": "64Mi"} | spec.pop("extended", {})
    container = {"name": "app", "resources": {"requests": requests}, "ports": spec.pop("ports", [])}
    references = [{"controller": True, "uid": owner, "kind": "ReplicaSet", "name": owner}] if owner else []
    metadata = {"name": name, "namespace": "default", "uid": name, "labels": labels or {}}
    return {"metadata": metadata | {"ownerReferences": references}, "spec": {"containers": [container], **spec}}


def _matrix(*nodes: KubeObject) -> NodeMatrix:
    matrix = NodeMatrix()
    for node in nodes:
        matrix.put_node(read_node(node))
    return matrix


def _judge(matrix: NodeMatrix, pod: KubeObject) -> Verdict:
    return Filters().judge(matrix, read_pod(pod))


def _place(matrix: NodeMatrix, pod: KubeObject, node: str) -> PodInfo:
    info = read_pod(pod)
    matrix.place(info, node)
    return info


def _best(matrix: NodeMatrix, pod: KubeObject) -> str:
    return matrix.name_at(best(matrix, read_pod(pod), _judge(matrix, pod).fits, turn=0))


def test_the_message_counts_every_reason() -> None:
    """Each node counts under the first thing that keeps the pod off, resources under all that are short."""
    gpu = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
    matrix = _matrix(
        _node("a", cpu="1"),
        _node("b", cpu="1", memory="1Mi"),
        _node("c", taints=[gpu]),
        _node("d", unschedulable=True, taints=[gpu]),
        _node("e", pods="0"),
    )
    assert _judge(matrix, _pod(cpu="2")).message() == (
        "0/5 nodes are available: 1 Insufficient memory, 1 Too many pods, "
        "1 node(s) had untolerated taint {gpu: yes}, 1 node(s) were unschedulable, 2 Insufficient cpu."
    )


def test_no_nodes_at_all() -> None:
    """Without nodes the reason is that there are none."""
    assert _judge(_matrix(), _pod()).message() == "no nodes available to schedule pods"


@pytest.mark.parametrize(
    ("pod", "fitting"),
    [
        (_pod(), {"plain", "disk"}),
        (_pod(nodeSelector={"disk": "ssd"}), {"disk"}),
        (_pod(nodeSelector={"disk": "tape"}), set()),
        (_pod(tolerations=[{"key": "gpu", "operator": "Exists"}]), {"plain", "disk", "tainted"}),
        (
            _pod(tolerations=[{"operator": "Exists"}]),
            {"plain", "disk", "tainted", "cordoned"},
        ),
        (_pod(extended={"example.com/card": "2"}), {"disk"}),
        (_pod(extended={"example.com/card": "3"}), set()),
        (_pod(extended={"ephemeral-storage": "1Gi"}), {"plain", "disk"}),
        (_pod(extended={"ephemeral-storage": "3Gi"}), {"disk"}),
        (_pod(ports=[{"containerPort": 80, "hostPort": 80}]), {"disk"}),
        (_pod(ports=[{"containerPort": 80, "hostPort": 80, "protocol": "UDP"}]), {"plain", "disk"}),
        (_pod(ports=[{"containerPort": 80, "hostPort": 80, "hostIP": "10.0.0.9"}]), {"disk"}),
    ],
)
def test_which_nodes_fit(pod: KubeObject, fitting: set[str]) -> None:
    """Selectors, tolerations, host ports, local storage and extended resources each narrow the choice."""
    taint = {"key": "gpu", "effect": "NoSchedule"}
    matrix = _matrix(
        _node("plain", extended={"ephemeral-storage": "2Gi"}),
        _node("disk", labels={"disk": "ssd"}, extended={"example.com/card": "2", "ephemeral-storage": "4Gi"}),
        _node("tainted", taints=[taint]),
        _node("cordoned", unschedulable=True),
    )
    _place(matrix, _pod("taken", ports=[{"containerPort": 1, "hostPort": 80}]), "plain")
    verdict = _judge(matrix, pod)
    assert {matrix.name_at(row) for row, fits in enumerate(verdict.fits) if fits} == fitting


def _required(*expressions: dict[str, Any]) -> dict[str, Any]:
    terms = [{"matchExpressions": list(expressions)}] if expressions else [{}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return {"affinity": {"nodeAffinity": required}}


@pytest.mark.parametrize(
    ("spec", "matches"),
    [
        ({}, True),
        (_required({"key": "zone", "operator": "In", "values": ["a", "b"]}), True),
        (_required({"key": "zone", "operator": "NotIn", "values": ["a"]}), False),
        (_required({"key": "other", "operator": "NotIn", "values": ["a"]}), True),
        (_required({"key": "zone", "operator": "Exists"}, {"key": "other", "operator": "DoesNotExist"}), True),
        (_required({"key": "size", "operator": "Gt", "values": ["4"]}), True),
        (_required({"key": "size", "operator": "Lt", "values": ["8"]}), False),
        (_required({"key": "zone", "operator": "Gt", "values": ["4"]}), False),
        (_required(), False),
    ],
)
def test_required_affinity(spec: dict[str, Any], matches: bool) -> None:
    """Every operator, and a term without expressions, which matches nothing."""
    assert matches_required(spec, {"zone": "a", "size": "8"}, "node") is matches


def test_affinity_by_name() -> None:
    """matchFields compares the node's name."""
    field = {"key": "metadata.name", "operator": "In", "values": ["node"]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    spec = {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}
    assert matches_required(spec, {}, "node")
    assert not matches_required(spec, {}, "other")


def test_the_emptier_node_is_better() -> None:
    """Among nodes without pods of the same kind the one with more left wins."""
    matrix = _matrix(_node("a"), _node("b"))
    _place(matrix, _pod("other", cpu="2"), "a")
    assert _best(matrix, _pod()) == "b"


def test_spreading_outweighs_emptiness() -> None:
    """Replicas go apart even if the other node is fuller; those of an older ReplicaSet of the same app count too."""
    matrix = _matrix(_node("a"), _node("b"))
    _place(matrix, _pod("other", cpu="1"), "b")
    _place(matrix, _pod("old", owner="rs-1", labels={"app": "web", "pod-template-hash": "1"}), "a")
    assert _best(matrix, _pod("new", owner="rs-2", labels={"app": "web", "pod-template-hash": "2"})) == "b"


def test_preferences_count() -> None:
    """A preferred label and a taint to be avoided decide between equal nodes."""
    avoided = {"key": "slow", "effect": "PreferNoSchedule"}
    matrix = _matrix(_node("a", taints=[avoided]), _node("b"), _node("c", labels={"disk": "ssd"}))
    assert _best(matrix, _pod()) in ("b", "c")
    term = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}
    preferred = [{"weight": 10, "preference": term}]
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
    assert _best(matrix, _pod(affinity=affinity)) == "c"


def test_equal_nodes_take_turns() -> None:
    """Pods that have nothing in common don't all go to the first of several equal nodes."""
    matrix = _matrix(*(_node(name) for name in "abcd"))
    verdict = _judge(matrix, _pod())
    chosen = Counter(matrix.name_at(best(matrix, read_pod(_pod()), verdict.fits, turn=turn)) for turn in range(8))
    assert set(chosen.values()) == {2}


def test_pods_count_whenever_their_node_arrives() -> None:
    """Pods may be known before their node, and stay counted when it is removed and comes again."""
    matrix = NodeMatrix()
    _place(matrix, _pod("early", cpu="3"), "a")
    matrix.put_node(read_node(_node("a")))
    assert not _judge(matrix, _pod(cpu="2")).fits.any()
    matrix.remove_node("a")
    matrix.put_node(read_node(_node("b")))
    assert _judge(matrix, _pod(cpu="2")).fits.any()
    matrix.put_node(read_node(_node("a")))
    assert _judge(matrix, _pod(cpu="2")).message() == "0/2 nodes are available: 1 Insufficient cpu."
    assert matrix.release("early")
    assert not matrix.release("early")


@pytest.mark.parametrize(
    ("change", "awaits"),
    [
        ({}, True),
        ({"nodeName": "a"}, False),
        ({"schedulerName": "mine"}, False),
        ({"schedulingGates": [{"name": "wait"}]}, False),
    ],
)
def test_which_pods_are_ours(change: dict[str, Any], awaits: bool) -> None:
    """Assigned and gated pods, and those of other schedulers, are left alone; so are those that end."""
    pod = _pod(**change)
    assert awaits_scheduling(pod) is awaits
    going = _pod()
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not awaits_scheduling(going)
    assert not awaits_scheduling(_pod() | {"status": {"phase": "Failed"}})
