"""Requests and limits become the numbers that the kubelet would write."""

from __future__ import annotations

from typing import Any

import pytest

from nodeagent.cgroups.limits import (
    UNLIMITED,
    Limits,
    container_limits,
    files_of,
    oci_resources,
    oom_score_adjust,
    parent_of,
    pod_limits,
    weight_of,
)


def container(requests: dict[str, str] | None = None, limits: dict[str, str] | None = None) -> dict[str, Any]:
    return {"name": "c", "resources": {"requests": requests or {}, "limits": limits or {}}}


def test_container_limits_follow_the_kubelet() -> None:
    """Shares from the request, quota and memory from the limit."""
    limits = container_limits(container({"cpu": "100m"}, {"cpu": "500m", "memory": "64Mi"}))
    assert limits == Limits(cpu_shares=102, cpu_quota_us=50_000, memory_bytes=64 * 2**20)


def test_a_tiny_limit_stays_above_the_kernels_minimum() -> None:
    """The kernel refuses quotas under 1 ms and fewer than 2 shares."""
    limits = container_limits(container({"cpu": "1m"}, {"cpu": "1m"}))
    assert (limits.cpu_shares, limits.cpu_quota_us) == (2, 1_000)


def test_a_pod_is_bounded_only_if_all_its_containers_are() -> None:
    """One container without a limit lifts the pod's bound for that resource alone."""
    both = {"containers": [container(limits={"cpu": "1", "memory": "1Mi"}), container(limits={"memory": "2Mi"})]}
    limits = pod_limits(both, pids=100)
    assert limits.cpu_quota_us == UNLIMITED
    assert limits.memory_bytes == 3 * 2**20
    assert limits.pids == 100


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 39), (262_144, 10_000)])
def test_weight_covers_the_range_of_shares(shares: int, weight: int) -> None:
    """The conversion maps both ends of the scale and the middle as runc does."""
    assert weight_of(shares) == weight


def test_files_of_both_versions() -> None:
    """The same limits are written under each version's names."""
    limits = Limits(cpu_shares=1024, cpu_quota_us=50_000, memory_bytes=4096, pids=7)
    assert files_of(limits, 1)["memory", "memory.limit_in_bytes"] == "4096"
    assert files_of(limits, 1)["cpu", "cpu.cfs_quota_us"] == "50000"
    assert files_of(limits, 2) == {
        ("cpu", "cpu.weight"): "39",
        ("cpu", "cpu.max"): "50000 100000",
        ("memory", "memory.max"): "4096",
        ("pids", "pids.max"): "7",
    }


def test_unlimited_is_spelled_as_each_version_wants_it() -> None:
    """-1 on version 1, "max" on version 2."""
    assert files_of(Limits(), 1)["memory", "memory.limit_in_bytes"] == "-1"
    assert files_of(Limits(), 2)["cpu", "cpu.max"] == "max 100000"


def test_oci_resources_bound_swap_with_memory() -> None:
    """A container cannot leave its memory limit by swapping, and on version 2 dies as a whole."""
    limits = Limits(memory_bytes=4096)
    assert oci_resources(limits, version=1, swap_accounting=True)["memory"] == {"limit": 4096, "swap": 4096}
    assert oci_resources(limits, version=2, swap_accounting=False)["unified"] == {"memory.oom.group": "1"}


def test_the_kernel_prefers_best_effort_victims() -> None:
    """Guaranteed pods are the last to be killed, best-effort pods the first."""
    burstable = container({"memory": "1Gi"})
    scores = [
        oom_score_adjust(burstable, pod_qos=qos, node_memory_bytes=4 * 2**30)
        for qos in ("Guaranteed", "Burstable", "BestEffort")
    ]
    assert scores == [-997, 750, 1000]


def test_qos_classes_have_their_directories() -> None:
    """Guaranteed pods sit directly below the parent."""
    same = {"cpu": "1", "memory": "1Gi"}
    assert parent_of({"containers": [container(same, same)]}) == ""
    assert parent_of({"containers": [container({"cpu": "1"})]}) == "burstable"
    assert parent_of({"containers": [container()]}) == "besteffort"


def test_a_runtimes_overhead_is_the_pods() -> None:
    """What a RuntimeClass says that its runtime costs is on top of what the containers may use."""
    resources = {"limits": {"cpu": "1", "memory": "100Mi"}, "requests": {"cpu": "1", "memory": "100Mi"}}
    spec = {"containers": [{"name": "a", "resources": resources}], "overhead": {"cpu": "250m", "memory": "20Mi"}}
    limits = pod_limits(spec)
    assert (limits.cpu_shares, limits.cpu_quota_us, limits.memory_bytes) == (1280, 125_000, 120 << 20)
    assert pod_limits({**spec, "containers": [{"name": "a"}]}).memory_bytes == UNLIMITED
