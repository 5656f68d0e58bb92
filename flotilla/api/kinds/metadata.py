"""What every object has: the rules of ``metadata``, and the pieces that most kinds' strategies share."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import each_invalid, invalid, required, too_long, too_many
from flotilla.api.names import dns_label_faults, dns_subdomain_faults, label_value_faults, qualified_name_faults
from flotilla.api.objects import KubeObject

LARGEST_ANNOTATIONS_BYTES = 256 * 1024
LARGEST_LABEL_COUNT = 1000
_EXCLUSIVE_FINALIZERS = frozenset({"orphan", "foregroundDeletion"})
_OWNER_FIELDS = ("apiVersion", "kind", "name", "uid")

NameFaults = Callable[[str], list[str]]


def no_defaults(obj: KubeObject) -> None:
    """For kinds that have none."""


def no_warnings(obj: KubeObject) -> list[str]:
    """For kinds whose every accepted field is acted upon."""
    return []


def metadata_fields(obj: Mapping[str, Any]) -> dict[str, str]:
    """The fields that every kind can be selected by."""
    metadata = obj["metadata"]
    return {"metadata.name": metadata.get("name", ""), "metadata.namespace": metadata.get("namespace", "")}


def prepare_plain(obj: KubeObject) -> None:
    """For new objects of kinds without status and generation."""


def prepare_plain_update(obj: KubeObject, old: KubeObject) -> None:
    """For updates of kinds without status and generation."""


def begin_status(**initial: Any) -> Callable[[KubeObject], None]:
    """What gives a new object the status that its kind has before anything was observed, whatever its author wrote.

    Kubernetes' types have a status from the start, with the counts in it that are never left out: clients read them.
    """

    def begin(obj: KubeObject) -> None:
        obj["status"] = copy.deepcopy(initial)

    return begin


def keep_status(obj: KubeObject, old: KubeObject) -> None:
    """An update of the desired state leaves the status as it was."""
    if "status" in old:
        obj["status"] = old["status"]
    else:
        obj.pop("status", None)


def begin_generation(*counts: str) -> Callable[[KubeObject], None]:
    """As :func:`begin_status`, for kinds that count the generations of their desired state."""

    def begin(obj: KubeObject) -> None:
        obj["status"] = dict.fromkeys(counts, 0)
        obj["metadata"]["generation"] = 1

    return begin


def carry_generation(obj: KubeObject, old: KubeObject) -> None:
    """As :func:`keep_status`; the generation rises if the spec differs."""
    keep_status(obj, old)
    changed = obj.get("spec") != old.get("spec")
    obj["metadata"]["generation"] = old["metadata"].get("generation", 1) + changed


def validate_labels(labels: Mapping[str, str], path: str) -> list[FieldError]:
    """Faults of a map of labels: its size, its keys, its values."""
    if len(labels) > LARGEST_LABEL_COUNT:
        return [too_many(path, len(labels), LARGEST_LABEL_COUNT)]
    errors: list[FieldError] = []
    for key, value in labels.items():
        errors += each_invalid(path, key, qualified_name_faults(key))
        errors += each_invalid(path, value, label_value_faults(value))
    return errors


def validate_annotations(annotations: Mapping[str, str], path: str) -> list[FieldError]:
    """Faults of a map of annotations: its keys and its size in bytes."""
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > LARGEST_ANNOTATIONS_BYTES:
        return [too_long(path, LARGEST_ANNOTATIONS_BYTES)]
    return [error for key in annotations for error in each_invalid(path, key, qualified_name_faults(key.lower()))]


def _validate_owners(owners: list[KubeObject], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, owner in enumerate(owners):
        errors += [required(f"{path}[{index}].{field}") for field in _OWNER_FIELDS if not owner.get(field)]
    controllers = [owner.get("name", "") for owner in owners if owner.get("controller")]
    if len(controllers) > 1:
        why = f"Only one reference can have Controller set to true. Found {len(controllers)}: {', '.join(controllers)}"
        errors.append(invalid(path, controllers, why))
    return errors


def _validate_name(metadata: Mapping[str, Any], name_faults: NameFaults) -> list[FieldError]:
    errors: list[FieldError] = []
    prefix = metadata.get("generateName")
    if prefix:
        errors += each_invalid("metadata.generateName", prefix, name_faults(f"{prefix[:50]}x"))
    name = metadata.get("name")
    if not name:
        return [*errors, required("metadata.name", "name or generateName is required")]
    errors += each_invalid("metadata.name", name, name_faults(name))
    namespace = metadata.get("namespace")
    if namespace:
        errors += each_invalid("metadata.namespace", namespace, dns_label_faults(namespace))
    return errors


def validate_metadata(obj: Mapping[str, Any], *, name_faults: NameFaults = dns_subdomain_faults) -> list[FieldError]:
    """Faults of an object's ``metadata``; ``name_faults`` is the kind's rule for names."""
    metadata = obj["metadata"]
    errors = _validate_name(metadata, name_faults)
    if metadata.get("labels"):
        errors += validate_labels(metadata["labels"], "metadata.labels")
    if metadata.get("annotations"):
        errors += validate_annotations(metadata["annotations"], "metadata.annotations")
    if metadata.get("ownerReferences"):
        errors += _validate_owners(metadata["ownerReferences"], "metadata.ownerReferences")
    finalizers = metadata.get("finalizers") or []
    for finalizer in finalizers:
        errors += each_invalid("metadata.finalizers", finalizer, qualified_name_faults(finalizer))
    if set(finalizers) >= _EXCLUSIVE_FINALIZERS:
        why = "finalizer orphan and foregroundDeletion cannot be both set"
        errors.append(invalid("metadata.finalizers", finalizers, why))
    return errors


def validate_metadata_only(obj: KubeObject, old: KubeObject | None) -> list[FieldError]:
    """The whole validation of kinds that hold nothing else."""
    return validate_metadata(obj)
