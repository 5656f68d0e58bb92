"""CSIDriver, CSINode and CSIStorageCapacity: their strategies.

Source: ``k8s.io/kubernetes/pkg/apis/storage/validation``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.columns import spec_of
from flotilla.api.kinds.faults import (
    IMMUTABLE,
    MUST_NOT_BE_NEGATIVE,
    duplicate,
    each_invalid,
    invalid,
    negative,
    required,
    too_long,
    unsupported,
)
from flotilla.api.kinds.label_selectors import validate_label_selector
from flotilla.api.kinds.metadata import (
    metadata_fields,
    no_defaults,
    no_warnings,
    prepare_plain,
    prepare_plain_update,
    validate_metadata,
)
from flotilla.api.kinds.resource import Strategy
from flotilla.api.names import dns_subdomain_faults, qualified_name_faults
from flotilla.api.objects import KubeObject
from flotilla.api.quantities import parse_quantity

_LONGEST_DRIVER = 63
_LONGEST_NODE_ID = 256
_DRIVER_DEFAULTS: Mapping[str, Any] = {
    "attachRequired": True,
    "podInfoOnMount": False,
    "storageCapacity": False,
    "fsGroupPolicy": "ReadWriteOnceWithFSType",
    "requiresRepublish": False,
    "seLinuxMount": False,
}
_GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
_MODES = ("Persistent", "Ephemeral")
_SHORTEST_TOKEN_S = 600
_LONGEST_TOKEN_S = 1 << 32
_SHORTEST_PERIOD_S = 10


def validate_driver_name(name: str, path: str) -> list[FieldError]:
    """Faults of the name of a CSI driver."""
    if not name:
        return [required(path)]
    errors = [too_long(path, _LONGEST_DRIVER)] if len(name) > _LONGEST_DRIVER else []
    return errors + each_invalid(path, name, dns_subdomain_faults(name.lower()))


def _default_driver(driver: KubeObject) -> None:
    spec = driver.setdefault("spec", {})
    for field, value in _DRIVER_DEFAULTS.items():
        if spec.get(field) is None:
            spec[field] = value
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def _validate_token_requests(requests: list[dict[str, Any]], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    audiences: set[str] = set()
    for index, request in enumerate(requests):
        audience, lifetime_s, where = (
            request.get("audience") or "",
            request.get("expirationSeconds"),
            f"{path}[{index}]",
        )
        if audience in audiences:
            errors.append(duplicate(f"{where}.audience", audience))
            continue
        audiences.add(audience)
        if lifetime_s is not None and lifetime_s < _SHORTEST_TOKEN_S:
            why = "may not specify a duration less than 10 minutes"
            errors.append(invalid(f"{where}.expirationSeconds", lifetime_s, why))
        if lifetime_s is not None and lifetime_s > _LONGEST_TOKEN_S:
            why = "may not specify a duration larger than 2^32 seconds"
            errors.append(invalid(f"{where}.expirationSeconds", lifetime_s, why))
    return errors


def _validate_driver(driver: KubeObject, old: KubeObject | None) -> list[FieldError]:
    spec = spec_of(driver)
    errors = validate_metadata(driver)
    policy, period_s = spec.get("fsGroupPolicy"), spec.get("nodeAllocatableUpdatePeriodSeconds")
    if policy not in _GROUP_POLICIES:
        errors.append(unsupported("spec.fsGroupPolicy", policy, _GROUP_POLICIES))
    errors += _validate_token_requests(spec.get("tokenRequests") or [], "spec.tokenRequests")
    for mode in spec.get("volumeLifecycleModes") or ():
        if mode not in _MODES:
            errors.append(unsupported("spec.volumeLifecycleModes", mode, _MODES))
    if period_s is not None and period_s < _SHORTEST_PERIOD_S:
        why = "must be greater than or equal to 10 seconds"
        errors.append(invalid("spec.nodeAllocatableUpdatePeriodSeconds", period_s, why))
    if old is None:
        return errors
    was = spec_of(old)
    if spec.get("attachRequired") != was.get("attachRequired"):
        errors.append(invalid("spec.attachedRequired", spec.get("attachRequired"), IMMUTABLE))
    if spec.get("volumeLifecycleModes") != was.get("volumeLifecycleModes"):
        errors.append(invalid("spec.volumeLifecycleModes", spec.get("volumeLifecycleModes"), IMMUTABLE))
    return errors


def _begin_driver(driver: KubeObject) -> None:
    driver["metadata"]["generation"] = 1


def _carry_driver(driver: KubeObject, old: KubeObject) -> None:
    changed = spec_of(driver) != spec_of(old)
    driver["metadata"]["generation"] = old["metadata"].get("generation", 1) + changed


def _validate_topology_keys(keys: list[str], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for key in keys:
        if not key:
            errors.append(required(path))
        if key in seen:
            errors.append(duplicate(path, key))
        seen.add(key)
        errors += each_invalid(path, key, qualified_name_faults(key))
    return errors


def _validate_node_driver(driver: Mapping[str, Any], path: str) -> list[FieldError]:
    node_id = driver.get("nodeID") or ""
    errors = validate_driver_name(driver.get("name") or "", f"{path}.name")
    if not node_id:
        errors.append(required(f"{path}.nodeID"))
    elif len(node_id) > _LONGEST_NODE_ID:
        errors.append(invalid(f"{path}.nodeID", node_id, f"must be {_LONGEST_NODE_ID} characters or less"))
    errors += negative(f"{path}.allocatable.count", (driver.get("allocatable") or {}).get("count"))
    return errors + _validate_topology_keys(driver.get("topologyKeys") or [], path)


def _fixed(driver: Mapping[str, Any]) -> dict[str, Any]:
    """What may not change in a node's driver; how many volumes fit may."""
    return {field: value for field, value in driver.items() if field != "allocatable"}


def _validate_node(node: KubeObject, old: KubeObject | None) -> list[FieldError]:
    drivers = spec_of(node).get("drivers") or []
    errors = validate_metadata(node)
    names: set[str] = set()
    for index, driver in enumerate(drivers):
        errors += _validate_node_driver(driver, f"spec.drivers[{index}]")
        if driver.get("name") in names:
            errors.append(duplicate(f"spec.drivers[{index}].name", driver.get("name")))
        names.add(driver.get("name") or "")
    known = {driver.get("name"): _fixed(driver) for driver in spec_of(old or {}).get("drivers") or ()}
    for driver in drivers:
        if driver.get("name") in known and _fixed(driver) != known[driver.get("name")]:
            errors.append(invalid("spec.drivers", _fixed(driver), IMMUTABLE))
    return errors


def _default_node(node: KubeObject) -> None:
    node.setdefault("spec", {}).setdefault("drivers", [])


def _validate_capacity(capacity: KubeObject, old: KubeObject | None) -> list[FieldError]:
    class_name, topology = capacity.get("storageClassName") or "", capacity.get("nodeTopology")
    errors = validate_metadata(capacity)
    if old is not None:
        if topology != old.get("nodeTopology"):
            errors.append(invalid("nodeTopology", topology, IMMUTABLE))
        if class_name != (old.get("storageClassName") or ""):
            errors.append(invalid("storageClassName", class_name, IMMUTABLE))
        return errors
    errors += validate_label_selector(topology or {}, "nodeTopology")
    errors += each_invalid("storageClassName", class_name, dns_subdomain_faults(class_name))
    amount = capacity.get("capacity")
    if amount is not None and parse_quantity(amount) < 0:
        errors.append(invalid("capacity", str(amount), MUST_NOT_BE_NEGATIVE))
    return errors


DRIVER_STRATEGY = Strategy(
    default=_default_driver,
    validate=_validate_driver,
    prepare_for_create=_begin_driver,
    prepare_for_update=_carry_driver,
    warnings=no_warnings,
    selectable_fields=metadata_fields,
)
NODE_STRATEGY = Strategy(
    default=_default_node,
    validate=_validate_node,
    prepare_for_create=prepare_plain,
    prepare_for_update=prepare_plain_update,
    warnings=no_warnings,
    selectable_fields=metadata_fields,
)
CAPACITY_STRATEGY = Strategy(
    default=no_defaults,
    validate=_validate_capacity,
    prepare_for_create=prepare_plain,
    prepare_for_update=prepare_plain_update,
    warnings=no_warnings,
    selectable_fields=metadata_fields,
)
