"""Arithmetic on pods and pod templates that several parts must do alike: hashes, requests, QoS, readiness."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from flotilla.api.conditions import is_true
from flotilla.api.quantities import bytes_of, cpu_millis

POD_TEMPLATE_HASH = "pod-template-hash"
_HASH_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_HASH_LENGTH = 10
_ordered_encoder = msgspec.json.Encoder(order="sorted")


def pod_template_hash(template: Mapping[str, Any], collision_count: int = 0) -> str:
    """Ten characters that name a pod template; the order of keys doesn't matter, its own label is left out.

    ``collision_count`` gives another hash for the same template, for when the name is taken by a different one.
    """
    metadata = template.get("metadata") or {}
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != POD_TEMPLATE_HASH}
    content = {**template, "metadata": {**metadata, "labels": labels}}
    salt = str(collision_count).encode() if collision_count else b""
    number = int.from_bytes(hashlib.blake2b(_ordered_encoder.encode(content) + salt, digest_size=8).digest(), "big")
    characters = []
    for _ in range(_HASH_LENGTH):
        number, index = divmod(number, len(_HASH_ALPHABET))
        characters.append(_HASH_ALPHABET[index])
    return "".join(characters)


def int_or_percent(value: int | str, total: int, *, round_up: bool) -> int:
    """A number as it is, or ``"25%"`` of ``total`` rounded as asked. Raises ValueError for any other string."""
    if isinstance(value, int):
        return value
    digits = value.removesuffix("%")
    if digits == value or not digits.isdecimal():
        raise ValueError(f"{value!r} is neither a number nor a percentage")
    scaled = int(digits) * total
    return -(-scaled // 100) if round_up else scaled // 100


def _amounts(resources: Mapping[str, Any], part: str) -> dict[str, int]:
    listed = resources.get(part) or {}
    return {
        "cpu": cpu_millis(listed["cpu"]) if "cpu" in listed else 0,
        "memory": bytes_of(listed["memory"]) if "memory" in listed else 0,
    }


def _requests(container: Mapping[str, Any]) -> dict[str, int]:
    return _amounts(container.get("resources") or {}, "requests")


def pod_requests(pod_spec: Mapping[str, Any]) -> dict[str, int]:
    """What the scheduler reserves for a pod: ``{"cpu": millis, "memory": bytes}``.

    The containers and sidecars together, or the largest init container with the sidecars started before it if that is
    more, plus the overhead; requests at the level of the pod replace the sum. Expects defaulted objects.
    """
    total = {"cpu": 0, "memory": 0}
    for container in pod_spec.get("containers") or ():
        total = {name: total[name] + amount for name, amount in _requests(container).items()}
    sidecars = {"cpu": 0, "memory": 0}
    peak = {"cpu": 0, "memory": 0}
    for container in pod_spec.get("initContainers") or ():
        needed = {name: sidecars[name] + amount for name, amount in _requests(container).items()}
        peak = {name: max(peak[name], amount) for name, amount in needed.items()}
        if container.get("restartPolicy") == "Always":
            sidecars = needed
    total = {name: max(total[name] + sidecars[name], peak[name]) for name in total}
    pod_level = pod_spec.get("resources") or {}
    total |= {name: amount for name, amount in _amounts(pod_level, "requests").items() if amount}
    overhead = _amounts({"overhead": pod_spec.get("overhead")}, "overhead")
    return {name: total[name] + overhead[name] for name in total}


def pod_is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether the pod's ``Ready`` condition is True."""
    return is_true(pod, "Ready")


def pod_is_active(pod: Mapping[str, Any]) -> bool:
    """Whether the pod still counts for its owner: neither finished nor being deleted."""
    phase = (pod.get("status") or {}).get("phase")
    return phase not in ("Succeeded", "Failed") and not pod["metadata"].get("deletionTimestamp")


def qos_class(pod_spec: Mapping[str, Any]) -> str:
    """``Guaranteed``, ``Burstable`` or ``BestEffort`` by the requests and limits for cpu and memory."""
    pod_level = pod_spec.get("resources")
    containers = [*(pod_spec.get("containers") or ()), *(pod_spec.get("initContainers") or ())]
    parts = [pod_level] if pod_level else [container.get("resources") or {} for container in containers]
    limits = [_amounts(part, "limits") for part in parts]
    defaulted = [{**(part.get("limits") or {}), **(part.get("requests") or {})} for part in parts]
    requests = [_amounts({"requests": amounts}, "requests") for amounts in defaulted]
    if not any(amount for amounts in (*requests, *limits) for amount in amounts.values()):
        return "BestEffort"
    complete = all(all(amounts.values()) for amounts in limits)
    return "Guaranteed" if complete and requests == limits else "Burstable"
