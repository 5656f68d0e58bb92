"""What every object has: the rules of ``metadata`` and the pieces that most kinds' strategies share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.objects import KubeObject


def no_defaults(obj: KubeObject) -> None:
    """For kinds that have none."""


def no_warnings(obj: KubeObject) -> list[str]:
    """For kinds whose every accepted field is acted upon."""
    return []


def metadata_fields(obj: Mapping[str, Any]) -> dict[str, str]:
    """The fields that every kind can be selected by."""
    metadata = obj["metadata"]
    return {"metadata.name": metadata.get("name", ""), "metadata.namespace": metadata.get("namespace", "")}


def begin_generation(obj: KubeObject) -> None:
    """A new object's desired state is its first, and its status is not the user's to write."""
    obj.pop("status", None)
    obj["metadata"]["generation"] = 1


def carry_generation(obj: KubeObject, old: KubeObject) -> None:
    """Keep the old status; raise the generation if anything but metadata and status differs."""
    if "status" in old:
        obj["status"] = old["status"]
    else:
        obj.pop("status", None)
    ignored = ("metadata", "status")
    desired = {key: value for key, value in obj.items() if key not in ignored}
    changed = desired != {key: value for key, value in old.items() if key not in ignored}
    obj["metadata"]["generation"] = old["metadata"].get("generation", 1) + changed


def as_given(obj: KubeObject) -> None:
    """For kinds without status or generation."""


def as_given_on_update(obj: KubeObject, old: KubeObject) -> None:
    """For kinds without status or generation."""


def no_faults(obj: KubeObject, old: KubeObject | None) -> list[FieldError]:
    return []


Validator = Callable[[KubeObject, KubeObject | None], list[FieldError]]
