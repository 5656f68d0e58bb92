"""Validation of a pod spec, in a pod as in a template. Expects defaulted objects."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import (
    each_invalid,
    invalid,
    negative,
    not_among,
    out_of_range,
    required,
    too_many,
)
from flotilla.api.kinds.pod_containers import validate_containers
from flotilla.api.kinds.pod_placement import validate_placement
from flotilla.api.kinds.pod_security import validate_pod_security
from flotilla.api.kinds.pod_volumes import validate_volumes
from flotilla.api.kinds.resource_requirements import validate_quantities, validate_requirements
from flotilla.api.names import dns_label_faults, dns_subdomain_faults

RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_LARGEST_DEADLINE_S = 2**31 - 1
_MOST_NAMESERVERS = 3


def is_address(text: str) -> bool:
    """Whether the text is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _validate_dns(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    policy, config = spec.get("dnsPolicy"), spec.get("dnsConfig") or {}
    servers = config.get("nameservers") or []
    errors = not_among(f"{path}.dnsPolicy", policy, _DNS_POLICIES)
    if policy == "None" and not servers:
        why = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        errors.append(required(f"{path}.dnsConfig.nameservers", why))
    if len(servers) > _MOST_NAMESERVERS:
        errors.append(too_many(f"{path}.dnsConfig.nameservers", len(servers), _MOST_NAMESERVERS))
    for index, server in enumerate(servers):
        if not is_address(server):
            errors.append(invalid(f"{path}.dnsConfig.nameservers[{index}]", server, "must be a valid IP address"))
    return errors


def _validate_names(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    rules = (
        ("serviceAccountName", dns_subdomain_faults),
        ("nodeName", dns_subdomain_faults),
        ("priorityClassName", dns_subdomain_faults),
        ("runtimeClassName", dns_subdomain_faults),
        ("hostname", dns_label_faults),
        ("subdomain", dns_label_faults),
    )
    for field, faults in rules:
        if spec.get(field):
            errors += each_invalid(f"{path}.{field}", spec[field], faults(spec[field]))
    for index, reference in enumerate(spec.get("imagePullSecrets") or ()):
        if not reference.get("name"):
            errors.append(required(f"{path}.imagePullSecrets[{index}].name"))
    return errors


def _validate_host_aliases(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        where = f"{path}.hostAliases[{index}]"
        if not is_address(alias.get("ip") or ""):
            errors.append(invalid(f"{where}.ip", alias.get("ip"), "must be a valid IP address"))
        for name in alias.get("hostnames") or ():
            errors += each_invalid(f"{where}.hostnames", name, dns_subdomain_faults(name))
    return errors


def validate_pod_spec(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of a pod spec at ``path``."""
    errors, volumes = validate_volumes(spec, path)
    errors += validate_containers(spec, volumes, path=path)
    errors += not_among(f"{path}.restartPolicy", spec.get("restartPolicy"), RESTART_POLICIES)
    errors += negative(f"{path}.terminationGracePeriodSeconds", spec.get("terminationGracePeriodSeconds"))
    errors += out_of_range(f"{path}.activeDeadlineSeconds", spec.get("activeDeadlineSeconds"), 1, _LARGEST_DEADLINE_S)
    errors += _validate_dns(spec, path) + _validate_names(spec, path) + _validate_host_aliases(spec, path)
    errors += validate_placement(spec, path)
    if spec.get("securityContext"):
        errors += validate_pod_security(spec["securityContext"], f"{path}.securityContext")
    if spec.get("resources"):
        errors += validate_requirements(spec["resources"], f"{path}.resources")
    return errors + validate_quantities(spec.get("overhead") or {}, f"{path}.overhead")
