"""The ReplicaSets of a Deployment: which one is current, what they are called, what their annotations keep.

Source: Kubernetes' ``deployment/util/deployment_util.go``; kubectl's ``rollout`` commands read the annotations.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from controlplane.controllers.deployment.rolling import Limits, Size
from flotilla.api.objects import KubeObject, annotations_of, is_deleting, name_of, owner_reference, uid_of
from flotilla.api.workloads import POD_TEMPLATE_HASH, pod_template_hash

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
_LEFT_OUT_WHEN_ZERO = frozenset(
    ["hostIPC", "hostNetwork", "hostPID", "hostPort", "initialDelaySeconds", "readOnly", "stdin", "stdinOnce", "tty"]
)
_MAPS = frozenset({"annotations", "labels", "matchLabels", "nodeSelector", "volumeAttributes"})
_NOT_COPIED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "deprecated.deployment.rollback.to",
        REVISION,
        REVISION_HISTORY,
        DESIRED_REPLICAS,
        MAX_REPLICAS,
    }
)


@dataclass(frozen=True, slots=True)
class SetView:
    """What planning needs of a ReplicaSet; ``desired`` and ``most`` are the Deployment's when it was last sized."""

    name: str
    uid: str
    created: str
    replicas: int
    status_replicas: int
    ready: int
    available: int
    observed: bool
    deleting: bool
    revision: int
    desired: int | None
    most: int
    obj: KubeObject

    @property
    def present(self) -> int:
        """The pods that exist or may soon: a set that was asked to shrink has more until its status says otherwise."""
        return max(self.replicas, self.status_replicas)

    @property
    def size(self) -> Size:
        return Size(self.name, self.replicas, self.available)


def view(replica_set: KubeObject) -> SetView:
    """The view of a ReplicaSet."""
    status = replica_set.get("status") or {}
    metadata = replica_set["metadata"]
    annotations = annotations_of(replica_set)
    desired = _number(annotations.get(DESIRED_REPLICAS))
    return SetView(
        name=name_of(replica_set),
        uid=uid_of(replica_set),
        created=metadata.get("creationTimestamp") or "",
        replicas=replica_set["spec"].get("replicas", 1),
        status_replicas=status.get("replicas") or 0,
        ready=status.get("readyReplicas") or 0,
        available=status.get("availableReplicas") or 0,
        observed=(metadata.get("generation") or 0) <= (status.get("observedGeneration") or 0),
        deleting=is_deleting(replica_set),
        revision=_number(annotations.get(REVISION)) or 0,
        desired=desired,
        most=_number(annotations.get(MAX_REPLICAS)) or 0,
        obj=replica_set,
    )


def _number(text: str | None) -> int | None:
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def split_new(deployment: KubeObject, sets: Iterable[SetView]) -> tuple[SetView | None, tuple[SetView, ...]]:
    """The set with the Deployment's present template (the oldest of several), and the others, oldest first."""
    template = _meaning(deployment["spec"]["template"])
    ordered = sorted(sets, key=lambda each: (each.created, each.name))
    new = next((each for each in ordered if _meaning(each.obj["spec"]["template"]) == template), None)
    return new, tuple(each for each in ordered if each is not new)


def _meaning(template: KubeObject) -> Any:
    """What a template says, to compare: without its hash, and without what Kubernetes' clients leave out when empty.

    A client with types of its own (``kubectl rollout undo`` is one) sends back less than it has read, and no pod is to
    be replaced for that.
    """
    metadata = template.get("metadata") or {}
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != POD_TEMPLATE_HASH}
    return _filled({**template, "metadata": {**metadata, "labels": labels}})


def _filled(value: Any, key: str = "") -> Any:
    """``value`` without empty fields, None if nothing is left of it."""
    if key in _MAPS:
        return value or None
    if isinstance(value, dict):
        parts = ((name, _filled(part, name)) for name, part in value.items())
        return {name: part for name, part in parts if part is not None} or None
    if isinstance(value, list):
        return [_filled(part) for part in value] or None
    return None if value == "" or (not value and key in _LEFT_OUT_WHEN_ZERO) else value


def same_template(deployment: KubeObject, replica_set: KubeObject) -> bool:
    """Whether the set was made from the Deployment's present template."""
    return bool(_meaning(deployment["spec"]["template"]) == _meaning(replica_set["spec"]["template"]))


def next_revision(olds: Sequence[SetView]) -> int:
    """The revision of the present template: one more than the greatest of all others."""
    return max((old.revision for old in olds), default=0) + 1


def new_set(deployment: KubeObject, *, replicas: int, revision: int, limits: Limits) -> KubeObject:
    """The ReplicaSet of the Deployment's present template; its name follows from the template."""
    spec = deployment["spec"]
    hash_ = pod_template_hash(spec["template"], (deployment.get("status") or {}).get("collisionCount") or 0)
    template = copy.deepcopy(spec["template"])
    metadata = template.setdefault("metadata", {})
    metadata["labels"] = {**(metadata.get("labels") or {}), POD_TEMPLATE_HASH: hash_}
    selector = copy.deepcopy(spec["selector"])
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), POD_TEMPLATE_HASH: hash_}
    set_spec: dict[str, Any] = {"replicas": replicas, "selector": selector, "template": template}
    if spec.get("minReadySeconds"):
        set_spec["minReadySeconds"] = spec["minReadySeconds"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{name_of(deployment)}-{hash_}",
            "namespace": deployment["metadata"]["namespace"],
            "labels": dict(metadata["labels"]),
            "annotations": _copied(deployment) | {REVISION: str(revision)} | sized(limits),
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": set_spec,
    }


def _copied(deployment: KubeObject) -> dict[str, str]:
    return {key: value for key, value in annotations_of(deployment).items() if key not in _NOT_COPIED}


def sized(limits: Limits) -> dict[str, str]:
    """Annotations that keep for what Deployment size a set was last sized."""
    return {DESIRED_REPLICAS: str(limits.desired), MAX_REPLICAS: str(limits.most)}


def current_annotations(deployment: KubeObject, new: SetView, revision: int) -> dict[str, str]:
    """Annotations that the set of the present template shall have (a rollback makes an old set the newest)."""
    annotations = annotations_of(new.obj) | _copied(deployment)
    if revision > new.revision:
        annotations[REVISION] = str(revision)
        if new.revision:
            past = [each for each in annotations.get(REVISION_HISTORY, "").split(",") if each]
            annotations[REVISION_HISTORY] = ",".join([*past, str(new.revision)])
    return annotations


def disposable(olds: Sequence[SetView], *, keep: int) -> tuple[SetView, ...]:
    """Old sets beyond the ``keep`` newest revisions that have no pods and never will."""
    alive = [old for old in olds if not old.deleting]
    surplus = len(alive) - keep
    if surplus <= 0:
        return ()
    oldest = sorted(alive, key=lambda old: (old.revision, old.created))[:surplus]
    return tuple(old for old in oldest if old.replicas == 0 and old.status_replicas == 0 and old.observed)
