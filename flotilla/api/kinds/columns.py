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


def count_of(*fields: str) -> Callable[[KubeObject, datetime], int]:
    """A cell that counts the entries of some maps or lists together."""
    return lambda obj, now: sum(len(obj.get(field) or ()) for field in fields)


def status_number(name: str, field: str, description: str) -> Column:
    """A column that shows a number of the status, 0 if it is absent."""
    return column(name, lambda obj, now: status_of(obj).get(field, 0), description=description, type_="integer")


def template_columns(holder_of: Callable[[KubeObject], Mapping[str, Any]], *, wide: bool = True) -> tuple[Column, ...]:
    """The columns about the containers of ``holder_of(obj)["template"]``."""

    def joined(field: str) -> Callable[[KubeObject, datetime], str]:
        def cell(obj: KubeObject, now: datetime) -> str:
            containers = spec_of(holder_of(obj).get("template") or {}).get("containers") or ()
            return ",".join(container.get(field, "") for container in containers)

        return cell

    return (
        column("Containers", joined("name"), description="Names of each container in the template.", wide=wide),
        column("Images", joined("image"), description="Images referenced by each container.", wide=wide),
    )


TEMPLATE_DETAILS = template_columns(spec_of)
WORKLOAD_DETAILS = (
    *TEMPLATE_DETAILS,
    column(
        "Selector",
        lambda obj, now: selector_text(spec_of(obj).get("selector")),
        description="Label selector for the pods of this workload.",
        wide=True,
    ),
)
