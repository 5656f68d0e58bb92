"""Validation of a pod spec, in a pod as in a template. Expects defaulted objects."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.addresses import ADDRESS_FAULT
from flotilla.api.kinds.faults import (
    duplicate,
    each_invalid,
    forbidden,
    invalid,
    negative,
    not_among,
    out_of_range,
    required,
    too_long,
    unsupported,
)
from flotilla.api.kinds.pod_containers import validate_containers
from flotilla.api.kinds.pod_placement import validate_placement
from flotilla.api.kinds.pod_security import validate_host_users, validate_pod_security
from flotilla.api.kinds.pod_systems import validate_linux, validate_windows
from flotilla.api.kinds.pod_volumes import validate_volumes
from flotilla.api.kinds.resource_requirements import validate_pod_requirements, validate_requirements
from flotilla.api.names import dns_label_faults, dns_subdomain_faults, qualified_name_faults

RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_LARGEST_DEADLINE_S = 2**31 - 1
_MOST_NAMESERVERS = 3
_MOST_SEARCHES = 32
_LONGEST_SEARCHES = 2048
_LONGEST_HOST_NAME = 64
_SYSTEMS = ("linux", "windows")
_PREEMPTION_POLICIES = ("PreemptLowerPriority", "Never")


def is_address(text: str) -> bool:
    """Whether the text is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _validate_searches(searches: list[str], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if len(searches) > _MOST_SEARCHES:
        errors.append(invalid(path, searches, f"must not have more than {_MOST_SEARCHES} search paths"))
    if len(" ".join(searches)) > _LONGEST_SEARCHES:
        why = f"must not have more than {_LONGEST_SEARCHES} characters (including spaces) in the search list"
        errors.append(invalid(path, searches, why))
    for index, search in enumerate(searches):
        if search != ".":
            without_underscores = search.removesuffix(".").replace("_", "a")
            errors += each_invalid(f"{path}[{index}]", search, dns_subdomain_faults(without_underscores))
    return errors


def _validate_dns(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    policy, config, where = spec.get("dnsPolicy"), spec.get("dnsConfig"), f"{path}.dnsConfig"
    errors = not_among(f"{path}.dnsPolicy", policy, _DNS_POLICIES)
    if policy == "None" and config is None:
        return [*errors, required(where, "must provide `dnsConfig` when `dnsPolicy` is None")]
    servers = (config or {}).get("nameservers") or []
    if policy == "None" and not servers:
        why = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        return [*errors, required(f"{where}.nameservers", why)]
    if len(servers) > _MOST_NAMESERVERS:
        why = f"must not have more than {_MOST_NAMESERVERS} nameservers"
        errors.append(invalid(f"{where}.nameservers", servers, why))
    for index, server in enumerate(servers):
        if not is_address(server):
            errors.append(invalid(f"{where}.nameservers[{index}]", server, ADDRESS_FAULT))
    errors += _validate_searches((config or {}).get("searches") or [], f"{where}.searches")
    options = (config or {}).get("options") or ()
    return errors + [
        required(f"{where}.options[{index}]", "must not be empty")
        for index, option in enumerate(options)
        if not option.get("name")
    ]


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
    return errors


def _validate_host_aliases(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        where = f"{path}.hostAliases[{index}]"
        if not is_address(alias.get("ip") or ""):
            errors.append(invalid(f"{where}.ip", alias.get("ip"), ADDRESS_FAULT))
        for number, name in enumerate(alias.get("hostnames") or ()):
            errors += each_invalid(f"{where}.hostnames[{number}]", name, dns_subdomain_faults(name))
    return errors


def _validate_gates(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        condition = gate.get("conditionType") or ""
        where = f"{path}.readinessGates[{index}].conditionType"
        errors += each_invalid(where, condition, qualified_name_faults(condition))
    seen: set[str] = set()
    for index, gate in enumerate(spec.get("schedulingGates") or ()):
        where, name = f"{path}.schedulingGates[{index}]", gate.get("name") or ""
        errors += each_invalid(where, name, qualified_name_faults(name))
        if name in seen:
            errors.append(duplicate(where, name))
        seen.add(name)
    return errors


def _validate_claims(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, claim in enumerate(spec.get("resourceClaims") or ()):
        where, name = f"{path}.resourceClaims[{index}]", claim.get("name") or ""
        if not name:
            errors.append(required(f"{where}.name"))
        elif name in seen:
            errors.append(duplicate(f"{where}.name", name))
        else:
            errors += each_invalid(f"{where}.name", name, dns_label_faults(name))
        seen.add(name)
        given = [field for field in ("resourceClaimName", "resourceClaimTemplateName") if claim.get(field) is not None]
        if len(given) > 1:
            why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            errors.append(invalid(where, claim, why))
        elif not given:
            why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            errors.append(invalid(where, claim, why))
        for field in given:
            errors += each_invalid(f"{where}.{field}", claim[field], dns_subdomain_faults(claim[field]))
    return errors


def _validate_system(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    system = spec.get("os")
    if system is None:
        return []
    name = system.get("name")
    if not name:
        return [required(f"{path}.os.name")]
    if name not in _SYSTEMS:
        return [unsupported(f"{path}.os.name", name, _SYSTEMS)]
    return validate_linux(spec, path) if name == "linux" else validate_windows(spec, path)


def _validate_host_name(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    where, name = f"{path}.hostnameOverride", spec.get("hostnameOverride")
    if name is None:
        return []
    clashes = ("setHostnameAsFQDN", "hostNetwork")
    errors = [forbidden(where, f"may not be specified when {field} is true") for field in clashes if spec.get(field)]
    if len(name) > _LONGEST_HOST_NAME:
        errors.append(too_long(where, _LONGEST_HOST_NAME))
    return errors + each_invalid(where, name, dns_subdomain_faults(name))


def _validate_policies(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    errors = not_among(f"{path}.restartPolicy", spec.get("restartPolicy"), RESTART_POLICIES)
    errors += not_among(f"{path}.preemptionPolicy", spec.get("preemptionPolicy"), _PREEMPTION_POLICIES)
    errors += negative(f"{path}.terminationGracePeriodSeconds", spec.get("terminationGracePeriodSeconds"))
    deadline_s = spec.get("activeDeadlineSeconds")
    return errors + out_of_range(f"{path}.activeDeadlineSeconds", deadline_s, 1, _LARGEST_DEADLINE_S)


def _validate_overhead(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    overhead = spec.get("overhead") or {}
    return validate_requirements({"limits": overhead}, f"{path}.overhead") if overhead else []


def validate_pod_spec(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of a pod spec at ``path``."""
    errors, volumes = validate_volumes(spec, path)
    errors += validate_containers(spec, volumes, path=path) + _validate_policies(spec, path)
    errors += _validate_dns(spec, path) + _validate_names(spec, path) + _validate_host_aliases(spec, path)
    errors += validate_placement(spec, path) + _validate_gates(spec, path) + _validate_claims(spec, path)
    errors += validate_host_users(spec, path) + _validate_host_name(spec, path) + _validate_system(spec, path)
    errors += validate_pod_security(spec.get("securityContext") or {}, spec, f"{path}.securityContext")
    if spec.get("resources"):
        errors += validate_pod_requirements(spec, path)
    return errors + _validate_overhead(spec, path)
