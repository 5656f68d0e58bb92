"""Table columns that many kinds share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from flotilla.api.durations import time_since
from flotilla.api.kinds.resource import Column
from flotilla.api.objects import KubeObject
from flotilla.api.selectors import label_selector_of

NONE = "<none>"
UNSET = "<unset>"
_NAME_DESCRIPTION = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a "
    "client to request the generation of an appropriate name automatically."
)
_AGE_DESCRIPTION = "CreationTimestamp is the time when the object was created, in UTC."


def column(
    name: str,
    value: Callable[[KubeObject, datetime], Any],
    *,
    description: str = "",
    type_: str = "string",
    wide: bool = False,
    format_: str = "",
) -> Column:
    """A column with the usual settings; ``wide`` ones are shown with ``-o wide`` only."""
    return Column(name, type_, description, 1 if wide else 0, format_, value)


NAME = column("Name", lambda obj, now: obj["metadata"]["name"], description=_NAME_DESCRIPTION, format_="name")
AGE = column(
    "Age", lambda obj, now: time_since(obj["metadata"].get("creationTimestamp"), now), description=_AGE_DESCRIPTION
)


def spec_of(obj: Mapping[str, Any]) -> dict[str, Any]:
    return obj.get("spec") or {}


def status_of(obj: Mapping[str, Any]) -> dict[str, Any]:
    return obj.get("status") or {}


def selector_text(selector: Mapping[str, Any] | None) -> str:
    """A label selector as tables show it."""
    try:
        return str(label_selector_of(selector)) or NONE
    except ValueError:
        return "<error>"


def map_text(labels: Mapping[str, str] | None) -> str:
    """A map of labels as tables show it."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def _template_containers(obj: Mapping[str, Any]) -> list[dict[str, Any]]:
    template = spec_of(obj).get("template") or {}
    return spec_of(template).get("containers") or []


def _joined(field: str) -> Callable[[KubeObject, datetime], str]:
    return lambda obj, now: ",".join(container.get(field, "") for container in _template_containers(obj))


WORKLOAD_DETAILS = (
    column("Containers", _joined("name"), description="Names of each container in the template.", wide=True),
    column("Images", _joined("image"), description="Images referenced by each container in the template.", wide=True),
    column(
        "Selector",
        lambda obj, now: selector_text(spec_of(obj).get("selector")),
        description="Label selector for the pods of this workload.",
        wide=True,
    ),
)
