"""Mirror pods: pods of the API that stand for pods which a node runs from its own manifests.

They are told by an annotation, which only who creates them can set: nodes don't run what has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import invalid
from flotilla.api.objects import annotations_of

MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
_PATH = f"metadata.annotations[{MIRROR_ANNOTATION}]"


def is_mirror(pod: Mapping[str, Any]) -> bool:
    """Whether a pod of the API only stands for a static one."""
    return MIRROR_ANNOTATION in annotations_of(pod)


def validate_mirror(pod: Mapping[str, Any], old: Mapping[str, Any] | None) -> list[FieldError]:
    """Faults of the annotation: it needs a node, and never changes."""
    value = annotations_of(pod).get(MIRROR_ANNOTATION)
    if old is None:
        if value is not None and not pod["spec"].get("nodeName"):
            return [invalid(_PATH, value, "must set spec.nodeName if mirror pod annotation is set")]
        return []
    was = annotations_of(old).get(MIRROR_ANNOTATION)
    if value == was:
        return []
    if was is None:
        return [invalid(_PATH, value, "may not add mirror pod annotation")]
    return [invalid(_PATH, value, "may not remove or update mirror pod annotation")]
