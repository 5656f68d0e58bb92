"""Node: its strategy. Unlike other kinds it is created with its status, because its agent knows it best."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import duplicate, each_invalid, forbidden, invalid, required, unsupported
from flotilla.api.kinds.metadata import (
    keep_status,
    metadata_fields,
    no_defaults,
    prepare_plain,
    validate_metadata,
)
from flotilla.api.kinds.pod_placement import TAINT_EFFECTS
from flotilla.api.kinds.resource import Strategy
from flotilla.api.kinds.resource_requirements import validate_quantities
from flotilla.api.names import label_value_faults, qualified_name_faults
from flotilla.api.objects import KubeObject

_UNUSED = ("externalID", "configSource")


def _validate_taints(taints: list[KubeObject]) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(taints):
        path, key, effect = f"spec.taints[{index}]", taint.get("key") or "", taint.get("effect") or ""
        errors += each_invalid(f"{path}.key", key, qualified_name_faults(key))
        errors += each_invalid(f"{path}.value", taint.get("value"), label_value_faults(taint.get("value") or ""))
        if not effect:
            errors.append(required(f"{path}.effect"))
        elif effect not in TAINT_EFFECTS:
            errors.append(unsupported(f"{path}.effect", effect, TAINT_EFFECTS))
        if (key, effect) in seen:
            errors.append(duplicate(path, taint))
        seen.add((key, effect))
    return errors


def _validate_networks(spec: Mapping[str, Any]) -> list[FieldError]:
    errors: list[FieldError] = []
    networks = spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])
    families: list[int] = []
    for index, network in enumerate(networks):
        try:
            families.append(ipaddress.ip_network(network).version)
        except ValueError:
            why = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            errors.append(invalid(f"spec.podCIDRs[{index}]", network, why))
    if spec.get("podCIDR") and spec.get("podCIDRs") and spec["podCIDRs"][0] != spec["podCIDR"]:
        errors.append(invalid("spec.podCIDRs[0]", spec["podCIDRs"][0], "must be equal to `podCIDR`"))
    if len(families) != len(set(families)):
        errors.append(invalid("spec.podCIDRs", networks, "may specify no more than one CIDR for each IP family"))
    return errors


def _validate_addresses(status: Mapping[str, Any]) -> list[FieldError]:
    addresses = status.get("addresses") or []
    return [
        duplicate(f"status.addresses[{index}]", address)
        for index, address in enumerate(addresses)
        if address in addresses[:index]
    ]


def _validate_status(subresource: str, node: KubeObject, old: KubeObject) -> list[FieldError]:
    status = node.get("status") or {}
    errors = _validate_addresses(status)
    for field in ("capacity", "allocatable"):
        errors += validate_quantities(status.get(field) or {}, f"status.{field}")
    return errors


def _warnings(node: KubeObject) -> list[str]:
    fields = [field for field in _UNUSED if (node.get("spec") or {}).get(field)]
    return [f"spec.{field}: this field is deprecated, and is unused" for field in fields]


def _validate_update(node: KubeObject, old: KubeObject) -> list[FieldError]:
    spec, was = node.get("spec") or {}, old.get("spec") or {}
    return [
        forbidden(f"spec.{field}", f'node updates may not change {field} except from "" to valid')
        for field in ("podCIDR", "podCIDRs", "providerID")
        if was.get(field) and spec.get(field) != was[field]
    ]


def _validate(node: KubeObject, old: KubeObject | None) -> list[FieldError]:
    spec = node.get("spec") or {}
    errors = validate_metadata(node) + _validate_taints(spec.get("taints") or []) + _validate_networks(spec)
    errors += _validate_status("", node, node)
    return errors if old is None else errors + _validate_update(node, old)


def _selectable_fields(node: Mapping[str, Any]) -> dict[str, str]:
    cordoned = bool((node.get("spec") or {}).get("unschedulable"))
    return metadata_fields(node) | {"spec.unschedulable": "true" if cordoned else "false"}


STRATEGY = Strategy(
    default=no_defaults,
    validate=_validate,
    prepare_for_create=prepare_plain,
    prepare_for_update=keep_status,
    warnings=_warnings,
    selectable_fields=_selectable_fields,
    status_subresource=True,
    validate_subresource=_validate_status,
)
