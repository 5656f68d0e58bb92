"""What the server itself decides in ``metadata``: identity and time, and what an update may not touch.

The rules are those of Kubernetes' ``rest.BeforeCreate`` and ``rest.BeforeUpdate``. All functions edit the object that
they are given and take the clock as an argument.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from flotilla.api.errors import FieldError, bad_request, conflict, invalid
from flotilla.api.kinds.metadata import validate_metadata
from flotilla.api.names import generate_name
from flotilla.api.objects import KubeObject, format_time
from flotilla.api.registry import Resource

_SERVER_OWNED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
_EMPTY_WHEN_UNSET = ("labels", "annotations", "ownerReferences", "finalizers", "managedFields")


def metadata_of(obj: KubeObject) -> KubeObject:
    """The object's metadata, made if it is missing. BadRequest if it is no mapping."""
    metadata = obj.get("metadata")
    if metadata is None:
        metadata = obj["metadata"] = {}
    if not isinstance(metadata, dict):
        raise bad_request("metadata must be an object")
    return metadata


def place(resource: Resource, obj: KubeObject, namespace: str, *, name: str = "") -> None:
    """Give the object the place that the request names. BadRequest where the object names another."""
    metadata = metadata_of(obj)
    if resource.namespaced:
        own = metadata.setdefault("namespace", namespace) or namespace
        if own != namespace:
            message = (
                f"the namespace of the provided object does not match the namespace sent on the request ({namespace})"
            )
            raise bad_request(message)
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)
    if not name:
        return
    if not metadata.get("name"):
        metadata["name"] = name
    if metadata["name"] != name:
        message = f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
        raise bad_request(message)


def initialize(
    resource: Resource, obj: KubeObject, now: datetime, *, make_name: Callable[[str], str] = generate_name
) -> None:
    """Make ``obj`` a new object: a fresh identity whatever the client wrote. Invalid without any name.

    ``make_name`` makes one that begins with ``metadata.generateName``.
    """
    metadata = metadata_of(obj)
    if metadata.get("resourceVersion"):
        raise bad_request("resourceVersion should not be set on objects to be created")
    for field in (*_SERVER_OWNED, "resourceVersion", "selfLink"):
        metadata.pop(field, None)
    if not metadata.get("name"):
        metadata["name"] = _generated_name(resource, obj, make_name)
    metadata["uid"] = new_uid()
    metadata["creationTimestamp"] = format_time(now)
    _drop_empty(metadata)


def new_uid() -> str:
    """A random UUID (version 4) as text; half the time that the uuid module takes for one."""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def _generated_name(resource: Resource, obj: KubeObject, make_name: Callable[[str], str]) -> str:
    prefix = obj["metadata"].get("generateName")
    if not prefix:
        error = FieldError("metadata.name", "Required value: name or generateName is required", "FieldValueRequired")
        raise invalid(resource.kind, "", [error], group=resource.group)
    return make_name(prefix)


def carry_over(resource: Resource, obj: KubeObject, old: Mapping[str, Any]) -> None:
    """Keep what an update may not change. Conflict for another uid; Invalid for finalizers added on the way out."""
    metadata, was = metadata_of(obj), old["metadata"]
    check_uid(resource, metadata, was)
    for field in _SERVER_OWNED:
        if was.get(field) is None:
            metadata.pop(field, None)
        else:
            metadata[field] = was[field]
    metadata.pop("selfLink", None)
    if was.get("deletionTimestamp"):
        _refuse_new_finalizers(resource, metadata, was)
    _drop_empty(metadata)


def check_metadata(resource: Resource, obj: KubeObject, old: Mapping[str, Any]) -> None:
    """Check the metadata that came with a write of the status, where it is other than it was. Conflict, Invalid."""
    metadata, was = obj["metadata"], old["metadata"]
    if all(metadata.get(field) == was.get(field) for field in _EMPTY_WHEN_UNSET):
        return
    if was.get("deletionTimestamp"):
        _refuse_new_finalizers(resource, metadata, was)
    faults = validate_metadata(obj, name_faults=_no_faults)
    if faults:
        raise invalid(resource.kind, was["name"], faults, group=resource.group)


def _no_faults(name: str) -> list[str]:
    return []


def check_uid(resource: Resource, metadata: Mapping[str, Any], was: Mapping[str, Any]) -> None:
    """Conflict if the client means another object of that name. A uid that is left out means whichever there is."""
    uid = metadata.get("uid")
    if uid and uid != was.get("uid"):
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {was.get('uid')}"
        raise conflict(resource.plural, was["name"], why, group=resource.group)


def _refuse_new_finalizers(resource: Resource, metadata: KubeObject, was: Mapping[str, Any]) -> None:
    added = [name for name in metadata.get("finalizers") or () if name not in (was.get("finalizers") or ())]
    if added:
        why = f"Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers {added}"
        error = FieldError("metadata.finalizers", why, "FieldValueForbidden")
        raise invalid(resource.kind, was["name"], [error], group=resource.group)


def same_object(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether writing ``new`` over ``old`` would change nothing; versions and the times of managers don't count."""
    if new.keys() != old.keys() or any(new[field] != old[field] for field in new if field != "metadata"):
        return False
    return _same_metadata(new["metadata"], old["metadata"])


def _same_metadata(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    fields = (new.keys() | old.keys()) - {"resourceVersion", "managedFields"}
    if any(new.get(field) != old.get(field) for field in fields):
        return False
    managers, before = new.get("managedFields"), old.get("managedFields")
    return managers == before or _without_time(managers) == _without_time(before)


def _without_time(entries: list[KubeObject] | None) -> list[KubeObject]:
    return [{k: v for k, v in entry.items() if k != "time"} for entry in entries or ()]


def _drop_empty(metadata: KubeObject) -> None:
    for field in _EMPTY_WHEN_UNSET:
        if field in metadata and not metadata[field]:
            del metadata[field]
