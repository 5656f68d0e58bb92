"""What a ReplicaSet lacks or has too much, and what its status says: pure functions of the set and its pods."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flotilla.api.conditions import get_condition, set_condition
from flotilla.api.objects import KubeObject, labels_of, name_of, owner_reference, parse_time, uid_of

BURST = 500
REPLICA_FAILURE = "ReplicaFailure"
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5
_LONGEST_PREFIX = 58


@dataclass(frozen=True, slots=True)
class Failed:
    """Why pods could not be created or deleted: the reason and message of condition ReplicaFailure."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Scale:
    """How many pods to create, or to delete."""

    create: int = 0
    delete: int = 0


def scale(replica_set: KubeObject, active: int) -> Scale:
    """The step from ``active`` pods to the desired number, at most ``BURST`` at once."""
    difference = (replica_set["spec"].get("replicas", 1)) - active
    if difference > 0:
        return Scale(create=min(difference, BURST))
    return Scale(delete=min(-difference, BURST))


def pod_names(
    replica_set: KubeObject, pods: Iterable[KubeObject], count: int, *, taken: Callable[[str], bool]
) -> list[str]:
    """Names for ``count`` new pods, none of which is ``taken``.

    They follow from what was seen (the set's revision, its pods), so that a repetition on the same state asks for the
    same names and is refused, instead of making more pods.
    """
    present = sorted(uid_of(pod) for pod in pods)
    seen = "/".join((uid_of(replica_set), str(replica_set["metadata"].get("resourceVersion")), *present))
    names: list[str] = []
    number = 0
    while len(names) < count:
        name = f"{name_of(replica_set)[: _LONGEST_PREFIX - 1]}-{_suffix(f'{seen}/{number}')}"
        number += 1
        if name not in names and not taken(name):
            names.append(name)
    return names


def _suffix(identity: str) -> str:
    number = int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=8).digest(), "big")
    characters = []
    for _ in range(_SUFFIX_LENGTH):
        number, index = divmod(number, len(_ALPHABET))
        characters.append(_ALPHABET[index])
    return "".join(characters)


def new_pod(replica_set: KubeObject, name: str) -> KubeObject:
    """A pod of the set's template; it shares the template's parts, which a create copies before it edits them."""
    template = replica_set["spec"]["template"]
    metadata = template.get("metadata") or {}
    kept = {key: metadata[key] for key in ("labels", "annotations", "finalizers") if metadata.get(key)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "generateName": f"{name_of(replica_set)}-",
            "namespace": replica_set["metadata"]["namespace"],
            **kept,
            "ownerReferences": [owner_reference(replica_set)],
        },
        "spec": template["spec"],
    }


@dataclass(frozen=True, slots=True)
class Counts:
    """What a status counts; ``next_available_s`` until the next ready pod has been so for minReadySeconds."""

    replicas: int
    labeled: int
    ready: int
    available: int
    next_available_s: float | None


def count(replica_set: KubeObject, pods: Sequence[KubeObject], *, now: datetime) -> Counts:
    """Count the active pods of a set."""
    template_labels = (replica_set["spec"]["template"].get("metadata") or {}).get("labels") or {}
    minimum = timedelta(seconds=replica_set["spec"].get("minReadySeconds") or 0)
    labeled = ready = available = 0
    waits = []
    for pod in pods:
        labeled += template_labels.items() <= labels_of(pod).items()
        condition = get_condition(pod, "Ready")
        if condition is None or condition["status"] != "True":
            continue
        ready += 1
        wait_s = (parse_time(condition["lastTransitionTime"]) + minimum - now).total_seconds() if minimum else 0.0
        if wait_s <= 0:
            available += 1
        else:
            waits.append(wait_s)
    return Counts(len(pods), labeled, ready, available, min(waits, default=None))


def status(replica_set: KubeObject, counts: Counts, *, failed: Failed | None, now: datetime) -> KubeObject:
    """The status that the set shall have. ``failed`` None clears the condition only when the numbers fit.

    A condition that says already that it fails, for the same reason, keeps its message: the next attempt fails on
    another pod's name, and a status that changes by that would bring about the next attempt.
    """
    old = replica_set.get("status") or {}
    conditions = [dict(condition) for condition in old.get("conditions") or ()]
    said = next((each["reason"] for each in conditions if each["type"] == REPLICA_FAILURE), "")
    if failed is not None and failed.reason != said:
        message = failed.message
        set_condition(conditions, REPLICA_FAILURE, status="True", reason=failed.reason, message=message, now=now)
    elif failed is None and counts.replicas == replica_set["spec"].get("replicas", 1):
        conditions = [condition for condition in conditions if condition["type"] != REPLICA_FAILURE]
    new: KubeObject = {
        "replicas": counts.replicas,
        "fullyLabeledReplicas": counts.labeled,
        "readyReplicas": counts.ready,
        "availableReplicas": counts.available,
        "observedGeneration": replica_set["metadata"].get("generation", 0),
        "conditions": conditions,
    }
    always = ("replicas", "observedGeneration")
    return {key: value for key, value in new.items() if value or key in always}
