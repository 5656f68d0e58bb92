"""What the containers of one pod should be given, and whether that is worth a change. Pure.

A pod is changed when a request lies outside of the bounds of its recommendation, when it has run for half a day and is
a tenth off, or when it was killed for want of memory soon after its start: the rules of the Vertical Pod Autoscaler's
updater. Its QoS class stays what it is, and a pod asks for no more than its node has left, because a request that
waits on the node helps nobody.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from controlplane.autoscaler.vertical.recommendation import RESOURCES, Range
from flotilla.api.objects import KubeObject
from flotilla.api.quantities import bytes_of, cpu_millis, format_bytes, format_cpu_millis
from flotilla.api.vertical_options import VerticalOptions
from flotilla.api.workloads import pod_requests, qos_class

LIVED_S = 12 * 3600.0
WORTH = 0.1
LEAST_WORTH = 0.01  # below that nothing is gained by asking for what little a node has left

Ranges = Mapping[str, Mapping[str, Range]]
"""By container and resource; those that nothing is recommended for, or that are not to be changed, are not there."""


@dataclass(frozen=True, slots=True)
class Size:
    """A pod's spec as it should be, how far that is from what it is, and the changes for people to read."""

    spec: KubeObject
    grows: bool
    difference: float
    text: str


class SizeRefusedError(Exception):
    """The pod can't be given what is recommended; the message says why, and what would help."""


def size(
    pod: Mapping[str, Any],
    ranges: Ranges,
    options: VerticalOptions,
    *,
    age_s: float,
    killed: Set[str] = frozenset(),
    room: Mapping[str, int] | None = None,
) -> Size | None:
    """None if the pod is well as it is. SizeRefusedError.

    ``killed`` has containers that ran out of memory within minutes of their start. ``room`` is what the node has left
    beside all its pods, by resource; it is not looked at if it is None.
    """
    if pod["spec"].get("resources"):
        raise SizeRefusedError(
            "pods with resources of their own (spec.resources) can't be resized: give them to containers"
        )
    if not _is_due(pod["spec"], ranges, options, age_s=age_s, killed=killed):
        return None
    wanted = _sized(pod["spec"], ranges, options, share=Fraction(1))
    share = _share_that_fits(pod["spec"], wanted, room) if room is not None else Fraction(1)
    spec = wanted if share == 1 else _sized(pod["spec"], ranges, options, share=share)
    was, now = pod_requests(pod["spec"]), pod_requests(spec)
    if qos_class(spec) != qos_class(pod["spec"]):
        raise SizeRefusedError(
            f"its QoS class would change from {qos_class(pod['spec'])} to {qos_class(spec)}, which a running pod's "
            "can't: give its containers requests in the template"
        )
    difference = sum(abs(now[name] - was[name]) / max(1, was[name]) for name in RESOURCES)
    if difference < LEAST_WORTH:
        if share < 1:
            raise SizeRefusedError(
                "its node has nothing left to grow into: add a node, or set flotilla.dev/vertical-max"
            )
        return None
    return Size(spec, any(now[name] > was[name] for name in RESOURCES), difference, _text(pod["spec"], spec))


def lasting_containers(spec: Mapping[str, Any]) -> list[KubeObject]:
    """Those that run for the pod's whole life."""
    sidecars = [each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always"]
    return [*(spec.get("containers") or ()), *sidecars]


def amount_of(container: Mapping[str, Any], part: str, resource: str) -> int | None:
    """A request or limit (``part``) in thousandths of a core or bytes; None without one."""
    value = ((container.get("resources") or {}).get(part) or {}).get(resource)
    if value is None:
        return None
    return cpu_millis(value) if resource == "cpu" else bytes_of(value)


def _is_due(
    spec: Mapping[str, Any], ranges: Ranges, options: VerticalOptions, *, age_s: float, killed: Set[str]
) -> bool:
    totals = {resource: [0, 0] for resource in RESOURCES}
    for container in lasting_containers(spec):
        for resource, range_ in ranges.get(container["name"], {}).items():
            request, limit = (amount_of(container, part, resource) for part in ("requests", "limits"))
            if limit is not None and not options.limits_too:
                range_ = range_.capped(None, limit)
            if not range_.lower <= (request or 0) <= range_.upper:
                return True
            if resource == "memory" and container["name"] in killed and range_.target > (request or 0):
                return True
            totals[resource][0] += request or 0
            totals[resource][1] += range_.target
    if age_s < LIVED_S:
        return False
    return sum(abs(now - was) / max(1, was) for was, now in totals.values()) >= WORTH


def _sized(spec: Mapping[str, Any], ranges: Ranges, options: VerticalOptions, *, share: Fraction) -> KubeObject:
    """The spec with every container's target; of what a container would gain, only this share."""

    def changed(container: KubeObject) -> KubeObject:
        mine = ranges.get(container["name"])
        if not mine:
            return container
        resources = {part: dict(amounts) for part, amounts in (container.get("resources") or {}).items() if amounts}
        for resource, range_ in mine.items():
            _set(resources, container, resource, range_.target, options, share=share)
        return {**container, "resources": {**(container.get("resources") or {}), **resources}}

    lasting = {each["name"] for each in lasting_containers(spec)}
    lists = {
        kind: [changed(each) if each["name"] in lasting else each for each in spec[kind]]
        for kind in ("containers", "initContainers")
        if spec.get(kind)
    }
    return {**spec, **lists}


def _set(
    resources: dict[str, dict[str, Any]],
    container: KubeObject,
    resource: str,
    target: int,
    options: VerticalOptions,
    *,
    share: Fraction,
) -> None:
    request, limit = (amount_of(container, part, resource) for part in ("requests", "limits"))
    was = request or 0
    if target > was:
        target = was + math.floor((target - was) * share)
    if limit is not None and not options.limits_too:
        target = min(target, limit)
    if target == was or not target:
        return
    resources.setdefault("requests", {})[resource] = shown(resource, target)
    if limit is not None and options.limits_too:
        scaled = math.ceil(Fraction(limit * target, was)) if was else max(limit, target)
        resources["limits"][resource] = shown(resource, scaled)


def _share_that_fits(was: Mapping[str, Any], wanted: Mapping[str, Any], room: Mapping[str, int]) -> Fraction:
    """Of the growth, the largest share that leaves nothing waiting for room."""
    before, after = pod_requests(was), pod_requests(wanted)
    shares = [
        Fraction(max(0, room[name]), after[name] - before[name])
        for name in RESOURCES
        if name in room and after[name] - before[name] > max(0, room[name])
    ]
    return min(shares, default=Fraction(1))


def _text(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    parts = []
    for before, after in zip(lasting_containers(was), lasting_containers(now), strict=True):
        for resource in RESOURCES:
            old, new = (amount_of(each, "requests", resource) for each in (before, after))
            if old == new:
                continue
            said = f"{after['name']} {resource} {shown(resource, old or 0)} to {shown(resource, new or 0)}"
            bounds = [amount_of(each, "limits", resource) for each in (before, after)]
            if bounds[0] != bounds[1]:
                said += f" (limit {shown(resource, bounds[0] or 0)} to {shown(resource, bounds[1] or 0)})"
            parts.append(said)
    return ", ".join(parts)


def shown(resource: str, amount: int) -> str:
    """An amount as a quantity."""
    return format_cpu_millis(amount) if resource == "cpu" else format_bytes(amount)


def within_limit_ranges(
    container: Mapping[str, Any], resource: str, range_: Range, items: Sequence[Mapping[str, Any]], *, limits_too: bool
) -> Range:
    """The range, kept where the LimitRanges of the namespace (their items) let requests and scaled limits be."""
    if not items:
        return range_
    request, limit = (amount_of(container, part, resource) for part in ("requests", "limits"))
    ratio = Fraction(limit, request) if limits_too and limit and request else Fraction(1)
    least: int | None = None
    most: int | None = None
    for item in items:
        if item.get("type") != "Container":
            continue
        low, high = ((item.get(bound) or {}).get(resource) for bound in ("min", "max"))
        if low is not None:
            amount = cpu_millis(low) if resource == "cpu" else bytes_of(low)
            least = amount if least is None else max(least, amount)
        if high is not None:
            amount = math.floor((cpu_millis(high) if resource == "cpu" else bytes_of(high)) / ratio)
            most = amount if most is None else min(most, amount)
    return range_.capped(least, most)
