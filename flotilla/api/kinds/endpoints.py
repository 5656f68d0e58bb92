"""Endpoints and EndpointSlice: their strategies. Both say where a Service's ports are reached."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.addresses import endpoint_address_faults
from flotilla.api.kinds.faults import (
    IMMUTABLE,
    duplicate,
    each_invalid,
    forbidden,
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
    validate_labels,
    validate_metadata,
)
from flotilla.api.kinds.pod_defaults import fill
from flotilla.api.kinds.resource import Strategy
from flotilla.api.names import dns_label_faults, dns_subdomain_faults, label_value_faults, qualified_name_faults
from flotilla.api.objects import KubeObject

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
_MOST_ENDPOINTS = 1000
_MOST_ADDRESSES = 100
_MOST_PORTS = 20000
_MOST_HINTS = 8
_MOST_TOPOLOGY = 16
_NO_HOST_NAME = "may not be set: use nodeName"


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
    errors += not_among(f"{path}.protocol", port.get("protocol"), _PROTOCOLS)
    protocol = port.get("appProtocol")
    return errors + (each_invalid(f"{path}.appProtocol", protocol, qualified_name_faults(protocol)) if protocol else [])


def _validate_address(address: Mapping[str, Any], path: str) -> list[FieldError]:
    errors = endpoint_address_faults(address.get("ip") or "", f"{path}.ip")
    for field, faults in (("hostname", dns_label_faults), ("nodeName", dns_subdomain_faults)):
        if address.get(field):
            errors += each_invalid(f"{path}.{field}", address[field], faults(address[field]))
    return errors


def _validate_subset(subset: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    ports = subset.get("ports") or []
    if not subset.get("addresses") and not subset.get("notReadyAddresses"):
        errors.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
    for field in ("addresses", "notReadyAddresses"):
        for index, address in enumerate(subset.get(field) or ()):
            errors += _validate_address(address, f"{path}.{field}[{index}]")
    for index, port in enumerate(ports):
        errors += _validate_port(port, f"{path}.ports[{index}]")
        if len(ports) > 1 and not port.get("name"):
            errors.append(required(f"{path}.ports[{index}].name"))
        if not port.get("protocol"):
            errors.append(required(f"{path}.ports[{index}].protocol"))
    return errors


def _validate_endpoints(endpoints: KubeObject, old: KubeObject | None) -> list[FieldError]:
    errors = validate_metadata(endpoints)
    for index, subset in enumerate(endpoints.get("subsets") or ()):
        errors += _validate_subset(subset, f"subsets[{index}]")
    return errors


def _slice_address_faults(address: str, address_type: str, path: str) -> list[FieldError]:
    if address_type == "FQDN":
        return each_invalid(path, address, dns_subdomain_faults(address.removesuffix(".")))
    try:
        fits = ipaddress.ip_address(address).version == int(address_type[-1])
    except ValueError:
        fits = False
    if not fits:
        return [invalid(path, address, f"must be a valid {address_type} address")]
    return endpoint_address_faults(address, path)


def _validate_hints(hints: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for field in ("forZones", "forNodes"):
        entries = hints.get(field) or []
        if len(entries) > _MOST_HINTS:
            errors.append(too_many(f"{path}.{field}", len(entries), _MOST_HINTS))
        names = [entry.get("name") or "" for entry in entries[:_MOST_HINTS]]
        for index, name in enumerate(names):
            where = f"{path}.{field}[{index}].name"
            faults = label_value_faults(name) if field == "forZones" else dns_subdomain_faults(name)
            if not name:
                errors.append(required(where))
            elif name in names[:index]:
                errors.append(duplicate(where, name))
            else:
                errors += each_invalid(where, name, faults)
    return errors


def _validate_slice_endpoint(endpoint: Mapping[str, Any], address_type: str, path: str) -> list[FieldError]:
    addresses = endpoint.get("addresses") or []
    errors = [] if addresses else [required(f"{path}.addresses", "must contain at least 1 address")]
    if len(addresses) > _MOST_ADDRESSES:
        errors.append(too_many(f"{path}.addresses", len(addresses), _MOST_ADDRESSES))
    for index, address in enumerate(addresses):
        errors += _slice_address_faults(address, address_type, f"{path}.addresses[{index}]")
    for field, faults in (("hostname", dns_label_faults), ("nodeName", dns_subdomain_faults)):
        if endpoint.get(field):
            errors += each_invalid(f"{path}.{field}", endpoint[field], faults(endpoint[field]))
    topology = endpoint.get("deprecatedTopology") or {}
    if len(topology) > _MOST_TOPOLOGY:
        errors.append(too_many(f"{path}.deprecatedTopology", len(topology), _MOST_TOPOLOGY))
    if "kubernetes.io/hostname" in topology:
        errors.append(forbidden(f"{path}.deprecatedTopology[kubernetes.io/hostname]", _NO_HOST_NAME))
    errors += validate_labels(topology, f"{path}.deprecatedTopology")
    return errors + _validate_hints(endpoint.get("hints") or {}, f"{path}.hints")


def _validate_slice_endpoints(slice_: KubeObject, address_type: str) -> list[FieldError]:
    endpoints = slice_.get("endpoints") or []
    if len(endpoints) > _MOST_ENDPOINTS:
        return [too_many("endpoints", len(endpoints), _MOST_ENDPOINTS)]
    return [
        error
        for index, endpoint in enumerate(endpoints)
        for error in _validate_slice_endpoint(endpoint, address_type, f"endpoints[{index}]")
    ]


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
