"""Who goes first, how it is worded, who may come, and who exceeds his own bounds."""

from __future__ import annotations

from typing import Any

import pytest

from flotilla.api.objects import KubeObject
from nodeagent.disk.places import PodDisk
from nodeagent.pressure.admission import refusal
from nodeagent.pressure.ranking import PodUse, message, rank
from nodeagent.pressure.signals import Observation
from nodeagent.pressure.storage import excess
from nodeagent.pressure.thresholds import (
    MEMORY_AVAILABLE,
    NODEFS_AVAILABLE,
    NODEFS_INODES_FREE,
    PID_AVAILABLE,
    Amount,
    Threshold,
)

MIB = 1 << 20


def _pod(name: str, *, priority: int = 0, requests: dict[str, str] | None = None, **metadata: Any) -> KubeObject:
    container = {"name": "c", "resources": {"requests": requests or {}}}
    return {"metadata": {"name": name, **metadata}, "spec": {"priority": priority, "containers": [container]}}


def _order(signal: str, *uses: PodUse) -> list[str]:
    return [use.pod["metadata"]["name"] for use in rank(Threshold(signal, Amount(1)), uses)]


def test_memory_goes_by_request_priority_and_excess() -> None:
    """Pods beyond their request go first, among them those of low priority, among these those furthest beyond it."""
    uses = (
        PodUse(_pod("within", requests={"memory": "900Mi"}), 800 * MIB),
        PodUse(_pod("important", priority=1000, requests={"memory": "1Mi"}), 900 * MIB),
        PodUse(_pod("little", requests={"memory": "100Mi"}), 150 * MIB),
        PodUse(_pod("much", requests={"memory": "400Mi"}), 500 * MIB),
        PodUse(_pod("near", requests={"memory": "850Mi"}), 800 * MIB),
    )
    assert _order(MEMORY_AVAILABLE, *uses) == ["much", "little", "important", "near", "within"]


def test_disk_and_processes() -> None:
    """Disk goes by requests of ephemeral storage; process ids and inodes by priority and number."""
    large = PodUse(_pod("large", requests={"ephemeral-storage": "1Gi"}), 900 * MIB)
    small = PodUse(_pod("small"), 10 * MIB)
    first = PodUse(_pod("first", priority=5), 99)
    assert _order(NODEFS_AVAILABLE, large, small) == ["small", "large"]
    for signal in (PID_AVAILABLE, NODEFS_INODES_FREE):
        assert _order(signal, first, small, large) == ["large", "small", "first"]


def test_critical_pods_never_go() -> None:
    """Pods of a system priority and the node's own stay, whatever they use."""
    static = _pod("static", annotations={"kubernetes.io/config.source": "file"})
    system = _pod("system", priority=2_000_000_000)
    assert _order(MEMORY_AVAILABLE, PodUse(static, MIB), PodUse(system, MIB)) == []


def test_words() -> None:
    """The message says what was short, by how much, and which containers used more than they had asked for."""
    use = PodUse(_pod("p", requests={"memory": "10Mi"}), 12 * MIB, {"c": 12 * MIB + 1})
    assert message(Threshold(MEMORY_AVAILABLE, Amount(100 * MIB)), Observation(50 * MIB, 1 << 30), use) == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
        "Container c was using 12Mi, request is 10Mi, has larger consumption of memory. "
    )
    pids = Threshold(PID_AVAILABLE, Amount(share=0.5))
    assert message(pids, Observation(10, 100), use) == (
        "The node was low on resource: pids. Threshold quantity: 50, available: 10. "
    )


@pytest.mark.parametrize(
    ("pod", "conditions", "refused"),
    [
        (_pod("any"), set(), ""),
        (_pod("effort"), {"MemoryPressure"}, "The node had condition: [MemoryPressure]. "),
        (_pod("burstable", requests={"memory": "1Mi"}), {"MemoryPressure"}, ""),
        (
            _pod("burstable", requests={"memory": "1Mi"}),
            {"DiskPressure", "MemoryPressure"},
            "The node had condition: [DiskPressure MemoryPressure]. ",
        ),
        (_pod("effort"), {"PIDPressure"}, "The node had condition: [PIDPressure]. "),
        (_pod("system", priority=2_000_000_000), {"DiskPressure"}, ""),
    ],
)
def test_admission(pod: KubeObject, conditions: set[str], refused: str) -> None:
    """Under memory pressure only pods that request nothing are refused, else all but critical ones."""
    assert refusal(pod, conditions) == refused


@pytest.mark.parametrize(
    ("toleration", "taken"),
    [
        ({"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "node.kubernetes.io/disk-pressure", "operator": "Exists"}, False),
    ],
)
def test_tolerating_memory_pressure(toleration: dict[str, str], taken: bool) -> None:
    """A pod without requests that tolerates the taint comes in."""
    pod = _pod("effort")
    pod["spec"]["tolerations"] = [toleration]
    assert (refusal(pod, {"MemoryPressure"}) == "") is taken


def test_own_bounds_on_disk() -> None:
    """A directory's limit is looked at first, then the pod's, then each container's."""
    spec = {
        "containers": [
            {"name": "a", "resources": {"limits": {"ephemeral-storage": "2Mi"}}},
            {"name": "b", "resources": {"limits": {"ephemeral-storage": "3Mi"}}},
        ],
        "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}],
    }
    assert excess(spec, PodDisk(0, {"a": MIB}, {"a": MIB}, {"v": MIB})) == ""
    assert excess(spec, PodDisk(0, {}, {}, {"v": MIB + 1})) == (
        'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '
    )
    assert excess(spec, PodDisk(0, {"a": 5 * MIB}, {"b": 1})) == (
        "Pod ephemeral local storage usage exceeds the total limit of containers 5Mi. "
    )
    assert excess(spec, PodDisk(0, {"a": MIB}, {"a": MIB + 1})) == (
        'Container a exceeded its local ephemeral storage limit "2Mi". '
    )
