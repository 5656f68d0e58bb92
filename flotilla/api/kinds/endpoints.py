"""Endpoints and EndpointSlice: their strategies. Both say where a Service's ports are reached."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import (
    IMMUTABLE,
    duplicate,
    each_invalid,
    invalid,
    not_among,
    out_of_range,
    required,
    too_many,
    unsupported,
)
from flotilla.api.kinds.metadata import (
    metadata_fields,
    no_warnings,
    prepare_plain,
    prepare_plain_update,
    validate_metadata,
)
from flotilla.api.kinds.pod_defaults import fill
from flotilla.api.kinds.pod_spec import is_address
from flotilla.api.kinds.resource import Strategy
from flotilla.api.names import dns_label_faults, dns_subdomain_faults
from flotilla.api.objects import KubeObject

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
_MOST_ENDPOINTS = 1000
_MOST_ADDRESSES = 100
_MOST_PORTS = 100


def _default_endpoints(endpoints: KubeObject) -> None:
    for subset in endpoints.get("subsets") or ():
        for port in subset.get("ports") or ():
            fill(port, "protocol", "TCP")


def _default_slice(slice_: KubeObject) -> None:
    for port in slice_.get("ports") or ():
        port.setdefault("name", "")
        fill(port, "protocol", "TCP")


def _validate_port(port: Mapping[str, Any], path: str) -> list[FieldError]:
    name = port.get("name")
    errors = each_invalid(f"{path}.name", name, dns_label_faults(name)) if name else []
    errors += out_of_range(f"{path}.port", port.get("port"), 1, 65535)
    return errors + not_among(f"{path}.protocol", port.get("protocol"), _PROTOCOLS)


def _validate_subset(subset: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    ports = subset.get("ports") or []
    if not subset.get("addresses") and not subset.get("notReadyAddresses"):
        errors.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
    for field in ("addresses", "notReadyAddresses"):
        for index, address in enumerate(subset.get(field) or ()):
            if not is_address(address.get("ip") or ""):
                errors.append(invalid(f"{path}.{field}[{index}].ip", address.get("ip"), "must be a valid IP address"))
    for index, port in enumerate(ports):
        errors += _validate_port(port, f"{path}.ports[{index}]")
        if len(ports) > 1 and not port.get("name"):
            errors.append(required(f"{path}.ports[{index}].name"))
    return errors


def _validate_endpoints(endpoints: KubeObject, old: KubeObject | None) -> list[FieldError]:
    errors = validate_metadata(endpoints)
    for index, subset in enumerate(endpoints.get("subsets") or ()):
        errors += _validate_subset(subset, f"subsets[{index}]")
    return errors


def _is_of_type(address: str, address_type: str) -> bool:
    if address_type == "FQDN":
        return not dns_subdomain_faults(address)
    try:
        return ipaddress.ip_address(address).version == int(address_type[-1])
    except ValueError:
        return False


def _validate_slice_endpoints(slice_: KubeObject, address_type: str) -> list[FieldError]:
    endpoints = slice_.get("endpoints") or []
    if len(endpoints) > _MOST_ENDPOINTS:
        return [too_many("endpoints", len(endpoints), _MOST_ENDPOINTS)]
    errors: list[FieldError] = []
    for index, endpoint in enumerate(endpoints):
        path, addresses = f"endpoints[{index}].addresses", endpoint.get("addresses") or []
        if not addresses:
            errors.append(required(path, "must contain at least 1 address"))
        if len(addresses) > _MOST_ADDRESSES:
            errors.append(too_many(path, len(addresses), _MOST_ADDRESSES))
        for number, address in enumerate(addresses):
            if not _is_of_type(address, address_type):
                errors.append(invalid(f"{path}[{number}]", address, f"must be a valid {address_type} address"))
    return errors


def _validate_slice(slice_: KubeObject, old: KubeObject | None) -> list[FieldError]:
    errors = validate_metadata(slice_)
    address_type, ports = slice_.get("addressType"), slice_.get("ports") or []
    if not address_type:
        errors.append(required("addressType"))
    elif address_type not in _ADDRESS_TYPES:
        errors.append(unsupported("addressType", address_type, _ADDRESS_TYPES))
    else:
        errors += _validate_slice_endpoints(slice_, address_type)
    if len(ports) > _MOST_PORTS:
        errors.append(too_many("ports", len(ports), _MOST_PORTS))
    names: set[str] = set()
    for index, port in enumerate(ports[:_MOST_PORTS]):
        errors += _validate_port(port, f"ports[{index}]")
        if port.get("name", "") in names:
            errors.append(duplicate(f"ports[{index}].name", port.get("name", "")))
        names.add(port.get("name", ""))
    if old is not None and address_type != old.get("addressType"):
        errors.append(invalid("addressType", address_type, IMMUTABLE))
    return errors


def _begin_slice(slice_: KubeObject) -> None:
    slice_["metadata"]["generation"] = 1


def _carry_slice(slice_: KubeObject, old: KubeObject) -> None:
    changed = any(slice_.get(field) != old.get(field) for field in ("endpoints", "ports"))
    slice_["metadata"]["generation"] = old["metadata"].get("generation", 1) + changed


ENDPOINTS_STRATEGY = Strategy(
    default=_default_endpoints,
    validate=_validate_endpoints,
    prepare_for_create=prepare_plain,
    prepare_for_update=prepare_plain_update,
    warnings=no_warnings,
    selectable_fields=metadata_fields,
)
SLICE_STRATEGY = Strategy(
    default=_default_slice,
    validate=_validate_slice,
    prepare_for_create=_begin_slice,
    prepare_for_update=_carry_slice,
    warnings=no_warnings,
    selectable_fields=metadata_fields,
)
