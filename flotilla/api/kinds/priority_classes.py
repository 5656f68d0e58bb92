"""PriorityClass: its strategy, its columns, and the classes that every cluster has.

Source: ``k8s.io/kubernetes/pkg/apis/scheduling``. Names that begin with ``system-`` are those of the two built-in
classes, which nobody can change into something else.
"""

from __future__ import annotations

from datetime import datetime

from flotilla.api.errors import FieldError
from flotilla.api.kinds.columns import AGE, NAME, column
from flotilla.api.kinds.faults import IMMUTABLE, forbidden, invalid, unsupported
from flotilla.api.kinds.metadata import metadata_fields, validate_metadata
from flotilla.api.kinds.resource import Strategy
from flotilla.api.objects import KubeObject

SYSTEM_CLASSES: tuple[tuple[str, int, str], ...] = (
    (
        "system-node-critical",
        2000001000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2000000000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
)
HIGHEST_USER_PRIORITY = 1_000_000_000
DEFAULT_POLICY = "PreemptLowerPriority"
_POLICIES = ("PreemptLowerPriority", "Never")
_PREFIX = "system-"


def system_class(name: str, priority: int, description: str) -> KubeObject:
    """One of :data:`SYSTEM_CLASSES` as an object."""
    return {"metadata": {"name": name}, "value": priority, "description": description}


def _default(priority_class: KubeObject) -> None:
    if priority_class.get("preemptionPolicy") is None:
        priority_class["preemptionPolicy"] = DEFAULT_POLICY
    priority_class.setdefault("value", 0)


def _name_fault(name: str, value: int, *, is_default: bool) -> str:
    """Why a name that begins as those of the system can't be had, ``""`` if it can."""
    for known, priority, _ in SYSTEM_CLASSES:
        if name != known:
            continue
        if value != priority:
            return f"value of {name} PriorityClass must be {priority}"
        return f"globalDefault of {name} PriorityClass must be false" if is_default else ""
    return f"{name} is not a known system priority class"


def _validate_value(priority_class: KubeObject) -> list[FieldError]:
    name, value = priority_class["metadata"].get("name") or "", priority_class.get("value", 0)
    if name.startswith(_PREFIX):
        fault = _name_fault(name, value, is_default=bool(priority_class.get("globalDefault")))
        why = f"priority class names with '{_PREFIX}' prefix are reserved for system use only. error: {fault}"
        return [forbidden("metadata.name", why)] if fault else []
    if value > HIGHEST_USER_PRIORITY:
        return [forbidden("value", f"maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}")]
    return []


def _validate(priority_class: KubeObject, old: KubeObject | None) -> list[FieldError]:
    policy = priority_class.get("preemptionPolicy")
    errors = validate_metadata(priority_class)
    if old is not None:
        if priority_class.get("value", 0) != old.get("value", 0):
            errors.append(forbidden("value", "may not be changed in an update."))
        if policy != old.get("preemptionPolicy"):
            errors.append(invalid("preemptionPolicy", policy, IMMUTABLE))
        return errors
    errors += _validate_value(priority_class)
    return errors if policy in _POLICIES else [*errors, unsupported("preemptionPolicy", policy, _POLICIES)]


def _warnings(priority_class: KubeObject) -> list[str]:
    if priority_class.get("preemptionPolicy") == "Never":
        return []
    return ["preemptionPolicy: this version of Flotilla places such pods first, but takes no running pod away for them"]


def _prepare_for_create(priority_class: KubeObject) -> None:
    priority_class["metadata"]["generation"] = 1


def _prepare_for_update(priority_class: KubeObject, old: KubeObject) -> None:
    """Nothing of what can change counts as a generation, as in Kubernetes."""


def _is_default(priority_class: KubeObject, now: datetime) -> bool:
    return bool(priority_class.get("globalDefault"))


STRATEGY = Strategy(
    default=_default,
    validate=_validate,
    prepare_for_create=_prepare_for_create,
    prepare_for_update=_prepare_for_update,
    warnings=_warnings,
    selectable_fields=metadata_fields,
)
COLUMNS = (
    NAME,
    column(
        "Value",
        lambda obj, now: obj.get("value", 0),
        type_="integer",
        description="The integer value of this priority class, which is what pods get as their priority.",
    ),
    column(
        "Global-Default",
        _is_default,
        type_="boolean",
        description="Whether pods that name no class get this one's priority.",
    ),
    AGE,
    column(
        "PreemptionPolicy",
        lambda obj, now: obj.get("preemptionPolicy") or "",
        description="Whether pods of this class may preempt others of lower priority.",
    ),
)
