"""From a pod's requests and limits to what the kernel is told, as pure functions.

The arithmetic is the kubelet's (``pkg/kubelet/cm/helpers_linux.go``): CPU requests become shares, 1024 for one CPU;
CPU limits become a quota in each period of 100 ms; a pod has a limit only if all its containers have one. The weight of
version 2 is derived from shares by the formula that runc uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flotilla.api.objects import KubeObject
from flotilla.api.quantities import bytes_of, cpu_millis
from flotilla.api.workloads import pod_requests, qos_class

MINIMUM_SHARES = 2
MAXIMUM_SHARES = 262_144
PERIOD_US = 100_000
MINIMUM_QUOTA_US = 1_000
UNLIMITED = -1
DEFAULT_PIDS_LIMIT = 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one cgroup may use; ``UNLIMITED`` (-1) where there is no bound."""

    cpu_shares: int = MINIMUM_SHARES
    cpu_quota_us: int = UNLIMITED
    memory_bytes: int = UNLIMITED
    pids: int = UNLIMITED


def shares_of(millis: int) -> int:
    """``cpu.shares`` for a CPU request."""
    return max(MINIMUM_SHARES, min(MAXIMUM_SHARES, millis * 1024 // 1000))


def weight_of(shares: int) -> int:
    """``cpu.weight`` (1 to 10,000) for ``cpu.shares`` (2 to 262,144)."""
    return 1 + (shares - MINIMUM_SHARES) * 9_999 // (MAXIMUM_SHARES - MINIMUM_SHARES)


def quota_of(millis: int) -> int:
    """The CPU quota in microseconds a period, ``UNLIMITED`` for 0."""
    return max(MINIMUM_QUOTA_US, millis * PERIOD_US // 1000) if millis else UNLIMITED


def _listed(container: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    return (container.get("resources") or {}).get(part) or {}


def _cpu(container: Mapping[str, Any], part: str) -> int:
    return cpu_millis(_listed(container, part).get("cpu", 0))


def _memory(container: Mapping[str, Any], part: str) -> int:
    return bytes_of(_listed(container, part).get("memory", 0))


def container_limits(container: Mapping[str, Any]) -> Limits:
    """The limits of one container; a CPU request defaults to the limit, as the API defaults it."""
    return Limits(
        cpu_shares=shares_of(_cpu(container, "requests") or _cpu(container, "limits")),
        cpu_quota_us=quota_of(_cpu(container, "limits")),
        memory_bytes=_memory(container, "limits") or UNLIMITED,
    )


def _pod_bound(spec: Mapping[str, Any], resource: str) -> int:
    """The pod's own limit, or else the sum of its containers' or its largest init container's; 0 if one has none.

    What the pod's runtime costs (``overhead``) is added to the sum.
    """
    amount = _cpu if resource == "cpu" else _memory
    if own := amount(spec, "limits"):
        return own
    running = [amount(container, "limits") for container in spec.get("containers") or ()]
    initial = [amount(container, "limits") for container in spec.get("initContainers") or ()]
    if not all(running) or not all(initial):
        return 0
    kept = [
        amount(container, "limits")
        for container in spec.get("initContainers") or ()
        if container.get("restartPolicy") == "Always"
    ]
    overhead = amount({"resources": {"limits": spec.get("overhead")}}, "limits")
    return max(sum(running) + sum(kept), *(value + sum(kept) for value in initial), 0) + overhead


def pod_limits(spec: Mapping[str, Any], *, pids: int = DEFAULT_PIDS_LIMIT) -> Limits:
    """The limits of the pod's cgroup, which holds all its containers."""
    return Limits(
        cpu_shares=shares_of(pod_requests(spec)["cpu"]),
        cpu_quota_us=quota_of(_pod_bound(spec, "cpu")),
        memory_bytes=_pod_bound(spec, "memory") or UNLIMITED,
        pids=pids,
    )


def files_of(limits: Limits, version: int) -> dict[tuple[str, str], str]:
    """``(controller, file) -> contents`` that put ``limits`` into force."""
    if version == 1:
        return {
            ("cpu", "cpu.shares"): str(limits.cpu_shares),
            ("cpu", "cpu.cfs_period_us"): str(PERIOD_US),
            ("cpu", "cpu.cfs_quota_us"): str(limits.cpu_quota_us),
            ("memory", "memory.limit_in_bytes"): str(limits.memory_bytes),
            ("pids", "pids.max"): _bound(limits.pids),
        }
    return {
        ("cpu", "cpu.weight"): str(weight_of(limits.cpu_shares)),
        ("cpu", "cpu.max"): f"{_bound(limits.cpu_quota_us)} {PERIOD_US}",
        ("memory", "memory.max"): _bound(limits.memory_bytes),
        ("pids", "pids.max"): _bound(limits.pids),
    }


def _bound(value: int) -> str:
    return "max" if value == UNLIMITED else str(value)


def oci_resources(limits: Limits, *, version: int, swap_accounting: bool) -> KubeObject:
    """``linux.resources`` of the OCI runtime specification.

    On version 2 an out-of-memory kill takes the whole container (``memory.oom.group``). With ``swap_accounting`` a
    memory limit bounds memory and swap together, so that a container cannot leave its limit by swapping.
    """
    resources: KubeObject = {"cpu": {"shares": limits.cpu_shares, "period": PERIOD_US}}
    if limits.cpu_quota_us != UNLIMITED:
        resources["cpu"]["quota"] = limits.cpu_quota_us
    if limits.memory_bytes != UNLIMITED:
        resources["memory"] = {"limit": limits.memory_bytes}
        if swap_accounting:
            resources["memory"]["swap"] = limits.memory_bytes
    if limits.pids != UNLIMITED:
        resources["pids"] = {"limit": limits.pids}
    if version == 2:
        resources["unified"] = {"memory.oom.group": "1"}
    return resources


def oom_score_adjust(container: Mapping[str, Any], *, pod_qos: str, node_memory_bytes: int) -> int:
    """``oom_score_adj``: whom the kernel kills first when the node runs out of memory (kubelet ``qos/policy.go``)."""
    if pod_qos == "Guaranteed":
        return -997
    if pod_qos == "BestEffort":
        return 1000
    requested = _memory(container, "requests")
    return max(3, min(999, 1000 - 1000 * requested // max(1, node_memory_bytes)))


def parent_of(spec: Mapping[str, Any]) -> str:
    """The QoS class's directory below the agent's parent cgroup: ``""`` for Guaranteed pods."""
    qos = qos_class(spec)
    return "" if qos == "Guaranteed" else qos.lower()
