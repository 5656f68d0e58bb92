"""Service: its strategy."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.addresses import endpoint_address_faults
from flotilla.api.kinds.faults import (
    duplicate,
    each_invalid,
    forbidden,
    invalid,
    not_among,
    out_of_range,
    required,
    unsupported,
)
from flotilla.api.kinds.metadata import begin_status, metadata_fields, validate_labels, validate_metadata
from flotilla.api.kinds.pod_handlers import validate_port_reference
from flotilla.api.kinds.pod_warnings import NOT_ACTED_UPON
from flotilla.api.kinds.resource import Strategy
from flotilla.api.kinds.service_defaults import (
    default_service,
    has_cluster_ip,
    has_node_ports,
    prepare_service_update,
)
from flotilla.api.names import dns1035_label_faults, dns_label_faults, dns_subdomain_faults, qualified_name_faults
from flotilla.api.objects import KubeObject

NODE_PORTS = range(30000, 32768)
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_LONGEST_AFFINITY_S = 86400
_FAMILIES = ("IPv4", "IPv6")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
_BALANCED_ONLY = "may only be used when `type` is 'LoadBalancer'"
_IDLE_FIELDS = ("loadBalancerIP", "loadBalancerSourceRanges", "loadBalancerClass", "trafficDistribution")


def _is_headless(spec: Mapping[str, Any]) -> bool:
    return spec.get("clusterIP") == "None"


def _validate_port(port: Mapping[str, Any], spec: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    name, number, node_port = port.get("name"), port.get("port"), port.get("nodePort")
    if name:
        errors += each_invalid(f"{path}.name", name, dns_label_faults(name))
    elif len(spec["ports"]) > 1:
        errors.append(required(f"{path}.name"))
    errors += [required(f"{path}.port")] if number is None else out_of_range(f"{path}.port", number, 1, 65535)
    errors += not_among(f"{path}.protocol", port.get("protocol"), _PROTOCOLS)
    if port.get("targetPort") is not None:
        errors += validate_port_reference(port["targetPort"], f"{path}.targetPort")
    if port.get("appProtocol"):
        errors += each_invalid(f"{path}.appProtocol", port["appProtocol"], qualified_name_faults(port["appProtocol"]))
    if node_port and not has_node_ports(spec):
        errors.append(forbidden(f"{path}.nodePort", f"may not be used when `type` is '{spec.get('type')}'"))
    elif node_port and node_port not in NODE_PORTS:
        why = f"provided port is not in the valid range. The range of valid ports is {NODE_PORTS[0]}-{NODE_PORTS[-1]}"
        errors.append(invalid(f"{path}.nodePort", node_port, why))
    return errors


def _validate_ports(spec: Mapping[str, Any]) -> list[FieldError]:
    errors: list[FieldError] = []
    names: set[str] = set()
    numbers: set[tuple[Any, Any]] = set()
    node_ports: set[tuple[Any, Any]] = set()
    for index, port in enumerate(spec.get("ports") or ()):
        where, name, protocol = f"spec.ports[{index}]", port.get("name"), port.get("protocol")
        errors += _validate_port(port, spec, where)
        if name and name in names:
            errors.append(duplicate(f"{where}.name", name))
        names.add(name or "")
        if (protocol, port.get("port")) in numbers:
            errors.append(duplicate(where, {"port": port.get("port"), "protocol": protocol}))
        numbers.add((protocol, port.get("port")))
        node_port = port.get("nodePort")
        if node_port and (protocol, node_port) in node_ports:
            errors.append(duplicate(f"{where}.nodePort", node_port))
        node_ports.add((protocol, node_port))
    return errors


def _validate_addresses(spec: Mapping[str, Any]) -> list[FieldError]:
    """Faults of the addresses, and whether the type may have them."""
    errors: list[FieldError] = []
    given = spec.get("clusterIPs") or []
    if not has_cluster_ip(spec):
        why = "may not be set for ExternalName services"
        fields = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
        return [forbidden(f"spec.{field}", why) for field in fields if spec.get(field)]
    if given and given[0] != spec.get("clusterIP"):
        errors.append(invalid("spec.clusterIPs[0]", given[0], "first value must match `clusterIP`"))
    if len(given) > 1:
        errors.append(invalid("spec.clusterIPs", given, "this cluster has addresses of one family only"))
    address = spec.get("clusterIP")
    if address and not _is_headless(spec):
        try:
            ipaddress.IPv4Address(address)
        except ValueError:
            errors.append(invalid("spec.clusterIP", address, "must be a valid IPv4 address"))
    elif _is_headless(spec) and spec.get("type") in ("NodePort", "LoadBalancer"):
        errors.append(invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {spec['type']} services"))
    return errors


def _validate_families(spec: Mapping[str, Any]) -> list[FieldError]:
    """Faults of the address families; this cluster has IPv4 only."""
    if not has_cluster_ip(spec):
        return []
    policy, families = spec.get("ipFamilyPolicy"), spec.get("ipFamilies") or []
    errors = not_among("spec.ipFamilyPolicy", policy, _FAMILY_POLICIES)
    for index, family in enumerate(families):
        where = f"spec.ipFamilies[{index}]"
        if family not in _FAMILIES:
            errors.append(unsupported(where, family, _FAMILIES))
        elif family != "IPv4" and not (_is_headless(spec) and not spec.get("selector")):
            errors.append(invalid(where, family, "not configured on this cluster"))
        if family in families[:index]:
            errors.append(duplicate(where, family))
    if policy == "RequireDualStack":
        errors.append(invalid("spec.ipFamilyPolicy", policy, "this cluster is not configured for dual-stack services"))
    return errors


def _validate_affinity(spec: Mapping[str, Any]) -> list[FieldError]:
    affinity, config = spec.get("sessionAffinity"), spec.get("sessionAffinityConfig")
    where = "spec.sessionAffinityConfig"
    if affinity == "None":
        return [forbidden(where, "must not be set when session affinity is None")] if config is not None else []
    if affinity != "ClientIP":
        return [unsupported("spec.sessionAffinity", affinity, ("ClientIP", "None"))]
    client = (config or {}).get("clientIP")
    path = f"{where}.clientIP.timeoutSeconds"
    if client is None or client.get("timeoutSeconds") is None:
        return [required(path if client is not None else f"{where}.clientIP", "when session affinity type is ClientIP")]
    if 0 < client["timeoutSeconds"] <= _LONGEST_AFFINITY_S:
        return []
    return [invalid(path, client["timeoutSeconds"], f"must be greater than 0 and less than {_LONGEST_AFFINITY_S}")]


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def _validate_load_balancer(spec: Mapping[str, Any]) -> list[FieldError]:
    """Faults of the fields that only Services of the type LoadBalancer may have."""
    balanced = spec.get("type") == "LoadBalancer"
    ranges, name = spec.get("loadBalancerSourceRanges") or [], spec.get("loadBalancerClass")
    path = "spec.LoadBalancerSourceRanges"
    errors = [forbidden(path, _BALANCED_ONLY)] if ranges and not balanced else []
    errors += [
        invalid(f"{path}[{index}]", text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")
        for index, text in enumerate(ranges)
        if not _is_network(text.strip())
    ]
    if spec.get("allocateLoadBalancerNodePorts") is not None and not balanced:
        errors.append(forbidden("spec.allocateLoadBalancerNodePorts", _BALANCED_ONLY))
    if name is not None:
        errors += each_invalid("spec.loadBalancerClass", name, qualified_name_faults(name))
        if not balanced:
            errors.append(forbidden("spec.loadBalancerClass", _BALANCED_ONLY))
    port = spec.get("healthCheckNodePort")
    if port and not (balanced and spec.get("externalTrafficPolicy") == "Local"):
        why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        errors.append(invalid("spec.healthCheckNodePort", port, why))
    return errors


def _validate_external_addresses(spec: Mapping[str, Any]) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, text in enumerate(spec.get("externalIPs") or ()):
        where = f"spec.externalIPs[{index}]"
        errors += endpoint_address_faults(text, where)
    return errors


def _validate_policies(spec: Mapping[str, Any]) -> list[FieldError]:
    errors = not_among("spec.internalTrafficPolicy", spec.get("internalTrafficPolicy"), ("Cluster", "Local"))
    external, distribution = spec.get("externalTrafficPolicy"), spec.get("trafficDistribution")
    reached = spec.get("type") in ("NodePort", "LoadBalancer") or spec.get("externalIPs")
    if external and not reached:
        why = "may only be set for externally-accessible services"
        errors.append(invalid("spec.externalTrafficPolicy", external, why))
    elif external and external not in ("Cluster", "Local"):
        errors.append(unsupported("spec.externalTrafficPolicy", external, ("Cluster", "Local")))
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        errors.append(unsupported("spec.trafficDistribution", distribution, _DISTRIBUTIONS))
    return errors + _validate_affinity(spec)


def _validate_external_name(spec: Mapping[str, Any]) -> list[FieldError]:
    name = (spec.get("externalName") or "").removesuffix(".")
    if not name:
        return [required("spec.externalName")]
    return each_invalid("spec.externalName", name, dns_subdomain_faults(name))


def _validate_update(spec: Mapping[str, Any], was: Mapping[str, Any]) -> list[FieldError]:
    both_balanced = spec.get("type") == was.get("type") == "LoadBalancer"
    if both_balanced and spec.get("loadBalancerClass") != was.get("loadBalancerClass"):
        return [invalid("spec.loadBalancerClass", spec.get("loadBalancerClass"), "may not change once set")]
    comparable = has_cluster_ip(spec) and has_cluster_ip(was) and was.get("clusterIP")
    if not comparable or spec.get("clusterIP") == was["clusterIP"]:
        return []
    given = spec.get("clusterIPs") or [spec.get("clusterIP")]
    return [invalid("spec.clusterIPs[0]", given, "may not change once set")]


def _validate(service: KubeObject, old: KubeObject | None) -> list[FieldError]:
    spec = service["spec"]
    errors = validate_metadata(service, name_faults=dns1035_label_faults)
    if spec.get("type") not in _TYPES:
        errors.append(unsupported("spec.type", spec.get("type"), _TYPES))
    if not spec.get("ports") and has_cluster_ip(spec) and not _is_headless(spec):
        errors.append(required("spec.ports"))
    if not has_cluster_ip(spec):
        errors += _validate_external_name(spec)
    errors += validate_labels(spec.get("selector") or {}, "spec.selector")
    errors += _validate_ports(spec) + _validate_addresses(spec) + _validate_families(spec) + _validate_policies(spec)
    errors += _validate_load_balancer(spec) + _validate_external_addresses(spec)
    return errors if old is None else errors + _validate_update(spec, old["spec"])


def _warnings(service: KubeObject) -> list[str]:
    spec = service["spec"]
    warnings = [f"spec.{field}: {NOT_ACTED_UPON}" for field in _IDLE_FIELDS if spec.get(field)]
    if spec.get("type") == "LoadBalancer":
        warnings.append("spec.type: this version of Flotilla has no load balancer; the node ports of the service work")
    return warnings


def _selectable_fields(service: Mapping[str, Any]) -> dict[str, str]:
    spec = service.get("spec") or {}
    return metadata_fields(service) | {"spec.clusterIP": spec.get("clusterIP", ""), "spec.type": spec.get("type", "")}


STRATEGY = Strategy(
    default=default_service,
    validate=_validate,
    prepare_for_create=begin_status(loadBalancer={}),
    prepare_for_update=prepare_service_update,
    warnings=_warnings,
    selectable_fields=_selectable_fields,
    status_subresource=True,
)
