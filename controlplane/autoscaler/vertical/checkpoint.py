"""A workload's recommendation and history as a ConfigMap beside it, so that another leader goes on where one ended.

``recommendation`` is for people, in the words of a VerticalPodAutoscaler's status; ``history`` is what it was made of.
The workload owns the ConfigMap, which goes with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from controlplane.autoscaler.vertical.history import History
from controlplane.autoscaler.vertical.recommendation import RESOURCES, Range
from controlplane.autoscaler.vertical.sizing import shown
from flotilla.api.objects import KubeObject, labels_of, name_of, namespace_of, owner_reference, uid_of

LABEL = "flotilla.dev/vertical-checkpoint"
LONGEST_NAME = 253
_FIELDS = (("target", "target"), ("lowerBound", "lower"), ("upperBound", "upper"), ("uncappedTarget", "uncapped"))


def checkpoint_name(workload: KubeObject) -> str:
    """The ConfigMap of a workload; too long a name if the workload's is nearly so."""
    return f"{name_of(workload)}.{workload['kind'].lower()}.vertical"


def new_checkpoint(workload: KubeObject) -> KubeObject:
    """The ConfigMap without data."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": checkpoint_name(workload),
            "namespace": namespace_of(workload),
            "labels": {LABEL: "true"},
            "ownerReferences": [{**owner_reference(workload), "controller": False, "blockOwnerDeletion": False}],
        },
        "data": {},
    }


def checkpoint_data(ranges: Mapping[str, Mapping[str, Range]], histories: Mapping[str, History]) -> dict[str, str]:
    """The data of a checkpoint."""
    told = {"containerRecommendations": [{"containerName": name, **_told(ranges[name])} for name in sorted(ranges)]}
    saved = {name: history.save() for name, history in sorted(histories.items()) if history.measured_s}
    return {"recommendation": json.dumps(told, indent=2), "history": json.dumps(saved, separators=(",", ":"))}


def is_checkpoint_of(config_map: KubeObject, workload: KubeObject) -> bool:
    """Whether the ConfigMap was written for this workload, and not by somebody for something else."""
    owners = [each.get("uid") for each in config_map["metadata"].get("ownerReferences") or ()]
    return LABEL in labels_of(config_map) and uid_of(workload) in owners


def histories_in(config_map: KubeObject) -> dict[str, History]:
    """The histories in a checkpoint; none if somebody has made something else of it."""
    try:
        saved = json.loads((config_map.get("data") or {}).get("history") or "{}")
        return {name: History.loaded(history) for name, history in saved.items()}
    except (AttributeError, TypeError, ValueError):
        return {}


def _told(ranges: Mapping[str, Range]) -> dict[str, dict[str, str]]:
    return {
        name: {
            resource: shown(resource, getattr(ranges[resource], field)) for resource in RESOURCES if resource in ranges
        }
        for name, field in _FIELDS
    }
