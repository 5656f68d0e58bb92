"""NetworkPolicy: its strategy. This version stores policies and does not filter traffic by them, and says so."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.columns import spec_of
from flotilla.api.kinds.faults import each_invalid, forbidden, invalid, out_of_range, required, unsupported
from flotilla.api.kinds.label_selectors import validate_label_selector
from flotilla.api.kinds.metadata import metadata_fields, validate_metadata
from flotilla.api.kinds.resource import Strategy
from flotilla.api.names import port_name_faults
from flotilla.api.objects import KubeObject

NO_NETWORK = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
NOT_ENFORCED = "spec: accepted, but this version of Flotilla does not filter traffic by network policies"
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_TYPES = ("Ingress", "Egress")
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _default(policy: KubeObject) -> None:
    """A policy without types is one for what comes in, and for what goes out if it has rules for that."""
    spec = policy.setdefault("spec", {})
    spec.setdefault("podSelector", {})
    for direction in ("ingress", "egress"):
        for rule in spec.get(direction) or ():
            for port in rule.get("ports") or ():
                if port.get("protocol") is None:
                    port["protocol"] = "TCP"
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def _validate_port(port: Mapping[str, Any], path: str) -> list[FieldError]:
    protocol, value, end = port.get("protocol"), port.get("port"), port.get("endPort")
    errors: list[FieldError] = []
    if protocol is not None and protocol not in _PROTOCOLS:
        errors.append(unsupported(f"{path}.protocol", protocol, _PROTOCOLS))
    if value is None:
        if end is not None:
            errors.append(invalid(f"{path}.endPort", end, "may not be specified when `port` is not specified"))
    elif isinstance(value, int):
        errors += out_of_range(f"{path}.port", value, 1, 65535)
        if end is not None and end < value:
            errors.append(invalid(f"{path}.endPort", end, "must be greater than or equal to `port`"))
        errors += out_of_range(f"{path}.endPort", end, 1, 65535)
    else:
        if end is not None:
            errors.append(invalid(f"{path}.endPort", end, "may not be specified when `port` is non-numeric"))
        errors += each_invalid(f"{path}.port", value, port_name_faults(value))
    return errors


def parse_network(text: str) -> _Network | None:
    """The network of a CIDR, whose address may have bits beyond the prefix; None for what is none."""
    try:
        return ipaddress.ip_network(text, strict=False) if "/" in text else None
    except ValueError:
        return None


def _is_strict_part(inner: _Network, outer: _Network) -> bool:
    if inner.version != outer.version or inner.prefixlen <= outer.prefixlen:
        return False
    return inner.network_address in outer


def _validate_block(block: Mapping[str, Any], path: str) -> list[FieldError]:
    text = block.get("cidr")
    if not text:
        return [required(f"{path}.cidr")]
    network = parse_network(text)
    if network is None:
        return [invalid(f"{path}.cidr", text, NO_NETWORK)]
    errors: list[FieldError] = []
    for index, each in enumerate(block.get("except") or ()):
        excepted, where = parse_network(each), f"{path}.except[{index}]"
        if excepted is None:
            errors.append(invalid(where, each, NO_NETWORK))
        elif not _is_strict_part(excepted, network):
            errors.append(invalid(where, each, "must be a strict subset of `cidr`"))
    return errors


def _validate_peer(peer: Mapping[str, Any], path: str) -> list[FieldError]:
    selectors = [field for field in ("podSelector", "namespaceSelector") if peer.get(field) is not None]
    block = peer.get("ipBlock")
    errors = [error for field in selectors for error in validate_label_selector(peer[field], f"{path}.{field}")]
    if block is not None:
        errors += _validate_block(block, f"{path}.ipBlock")
        if selectors:
            errors.append(forbidden(path, "may not specify both ipBlock and another peer"))
    elif not selectors:
        errors.append(required(path, "must specify a peer"))
    return errors


def _validate_rules(rules: list[dict[str, Any]], peers: str, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, rule in enumerate(rules):
        where = f"{path}[{index}]"
        for number, port in enumerate(rule.get("ports") or ()):
            errors += _validate_port(port, f"{where}.ports[{number}]")
        for number, peer in enumerate(rule.get(peers) or ()):
            errors += _validate_peer(peer, f"{where}.{peers}[{number}]")
    return errors


def _validate(policy: KubeObject, old: KubeObject | None) -> list[FieldError]:
    spec = spec_of(policy)
    errors = validate_metadata(policy) + validate_label_selector(spec.get("podSelector") or {}, "spec.podSelector")
    errors += _validate_rules(spec.get("ingress") or [], "from", "spec.ingress")
    errors += _validate_rules(spec.get("egress") or [], "to", "spec.egress")
    types = spec.get("policyTypes") or []
    if len(types) > len(_TYPES):
        return [*errors, invalid("spec.policyTypes", types, "may not specify more than two policyTypes")]
    for index, kind in enumerate(types):
        if kind not in _TYPES:
            errors.append(unsupported(f"spec.policyTypes[{index}]", kind, _TYPES))
    return errors


def _prepare_for_create(policy: KubeObject) -> None:
    policy["metadata"]["generation"] = 1


def _prepare_for_update(policy: KubeObject, old: KubeObject) -> None:
    changed = policy.get("spec") != old.get("spec")
    policy["metadata"]["generation"] = old["metadata"].get("generation", 1) + changed


STRATEGY = Strategy(
    default=_default,
    validate=_validate,
    prepare_for_create=_prepare_for_create,
    prepare_for_update=_prepare_for_update,
    warnings=lambda policy: [NOT_ENFORCED],
    selectable_fields=metadata_fields,
)
