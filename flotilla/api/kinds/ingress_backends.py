"""Where an Ingress sends requests: validation of its rules, paths and backends.

Source: ``k8s.io/kubernetes/pkg/apis/networking/validation``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import bad_port, each_invalid, invalid, required, unsupported
from flotilla.api.kinds.pod_spec import is_address
from flotilla.api.kinds.references import validate_typed_reference
from flotilla.api.names import (
    dns1035_label_faults,
    dns_subdomain_faults,
    port_name_faults,
    wildcard_subdomain_faults,
)

_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_BAD_SUFFIXES = ("/..", "/.")
NOT_AN_ADDRESS = "must be a DNS name, not an IP address"


def host_faults(host: str) -> list[str]:
    """Faults of a host name, whose first label may be ``*``."""
    return wildcard_subdomain_faults(host) if "*" in host else dns_subdomain_faults(host)


def _validate_service(service: Mapping[str, Any], path: str) -> list[FieldError]:
    name, port = service.get("name"), service.get("port") or {}
    if name:
        errors = each_invalid(f"{path}.service.name", name, dns1035_label_faults(name))
    else:
        errors = [required(f"{path}.service.name")]
    port_name, number = port.get("name"), port.get("number")
    if port_name and number:
        errors.append(invalid(path, "", "cannot set both port name & port number"))
    elif port_name:
        errors += each_invalid(f"{path}.service.port.name", port_name, port_name_faults(port_name))
    elif number:
        errors += bad_port(f"{path}.service.port.number", number)
    else:
        errors.append(required(path, "port name or number is required"))
    return errors


def validate_backend(backend: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of a backend, which is either a service or another resource."""
    resource, service = backend.get("resource"), backend.get("service")
    if resource is not None and service is not None:
        return [invalid(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        return validate_typed_reference(resource, f"{path}.resource")
    if service is not None:
        return _validate_service(service, path)
    return [invalid(path, "", "resource or service backend is required")]


def _validate_literal(text: str, path: str) -> list[FieldError]:
    errors = [] if text.startswith("/") else [invalid(path, text, "must be an absolute path")]
    errors += [invalid(path, text, f"must not contain '{bad}'") for bad in _BAD_SEQUENCES if bad in text]
    return errors + [invalid(path, text, f"cannot end with '{bad}'") for bad in _BAD_SUFFIXES if text.endswith(bad)]


def _validate_path(entry: Mapping[str, Any], path: str) -> list[FieldError]:
    kind, text = entry.get("pathType"), entry.get("path") or ""
    if kind is None:
        return [required(f"{path}.pathType", "pathType must be specified")]
    errors: list[FieldError] = []
    if kind in ("Exact", "Prefix"):
        errors += _validate_literal(text, f"{path}.path")
    elif kind == "ImplementationSpecific":
        if text and not text.startswith("/"):
            errors.append(invalid(f"{path}.path", text, "must be an absolute path"))
    else:
        errors.append(unsupported(f"{path}.pathType", kind, _PATH_TYPES))
    return errors + validate_backend(entry.get("backend") or {}, f"{path}.backend")


def validate_rules(rules: list[dict[str, Any]], path: str) -> list[FieldError]:
    """Faults of the rules of an Ingress: hosts, and the paths under them."""
    errors: list[FieldError] = []
    for index, rule in enumerate(rules):
        where, host = f"{path}[{index}]", rule.get("host")
        if host:
            if is_address(host):
                errors.append(invalid(f"{where}.host", host, NOT_AN_ADDRESS))
            errors += each_invalid(f"{where}.host", host, host_faults(host))
        http = rule.get("http")
        if http is None:
            continue
        if not http.get("paths"):
            errors.append(required(f"{where}.http.paths"))
        for number, entry in enumerate(http.get("paths") or ()):
            errors += _validate_path(entry, f"{where}.http.paths[{number}]")
    return errors
