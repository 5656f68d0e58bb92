"""Ingress: its strategy. Flotilla stores it for ingress controllers, as Kubernetes does, which acts on none itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.columns import spec_of, status_of
from flotilla.api.kinds.faults import each_invalid, invalid
from flotilla.api.kinds.ingress_backends import NOT_AN_ADDRESS, host_faults, validate_backend, validate_rules
from flotilla.api.kinds.metadata import (
    carry_generation,
    metadata_fields,
    no_defaults,
    no_warnings,
    validate_metadata,
)
from flotilla.api.kinds.pod_spec import is_address
from flotilla.api.kinds.resource import Strategy
from flotilla.api.names import dns_subdomain_faults
from flotilla.api.objects import KubeObject, annotations_of

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
NO_ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


def _validate_tls(entries: list[dict[str, Any]], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, entry in enumerate(entries):
        for number, host in enumerate(entry.get("hosts") or ()):
            errors += each_invalid(f"{path}[{index}].hosts[{number}]", host, host_faults(host))
        secret = entry.get("secretName")
        if secret:
            errors += each_invalid(f"{path}[{index}].secretName", secret, dns_subdomain_faults(secret))
    return errors


def _validate_spec(spec: Mapping[str, Any]) -> list[FieldError]:
    rules, backend, class_name = spec.get("rules") or [], spec.get("defaultBackend"), spec.get("ingressClassName")
    errors: list[FieldError] = []
    if not rules and backend is None:
        errors.append(invalid("spec", rules, "either `defaultBackend` or `rules` must be specified"))
    if backend is not None:
        errors += validate_backend(backend, "spec.defaultBackend")
    errors += validate_rules(rules, "spec.rules") + _validate_tls(spec.get("tls") or [], "spec.tls")
    if class_name is not None:
        errors += each_invalid("spec.ingressClassName", class_name, dns_subdomain_faults(class_name))
    return errors


def _validate(ingress: KubeObject, old: KubeObject | None) -> list[FieldError]:
    spec = spec_of(ingress)
    errors = validate_metadata(ingress) + _validate_spec(spec)
    named, class_name = annotations_of(ingress).get(CLASS_ANNOTATION), spec.get("ingressClassName")
    if old is None and named is not None and class_name is not None and named != class_name:
        why = "must match `ingressClassName` when both are specified"
        errors.append(invalid(f"annotations.{CLASS_ANNOTATION}", named, why))
    return errors


def _validate_status(subresource: str, ingress: KubeObject, old: KubeObject) -> list[FieldError]:
    """Faults of the addresses that an ingress controller publishes."""
    errors: list[FieldError] = []
    for index, point in enumerate((status_of(ingress).get("loadBalancer") or {}).get("ingress") or ()):
        path, address, host = f"status.loadBalancer.ingress[{index}]", point.get("ip"), point.get("hostname")
        if address and not is_address(address):
            errors.append(invalid(f"{path}.ip", address, NO_ADDRESS))
        if host:
            errors += each_invalid(f"{path}.hostname", host, dns_subdomain_faults(host))
            if is_address(host):
                errors.append(invalid(f"{path}.hostname", host, NOT_AN_ADDRESS))
    return errors


def _prepare_for_create(ingress: KubeObject) -> None:
    ingress["metadata"]["generation"] = 1
    ingress["status"] = {"loadBalancer": {}}


STRATEGY = Strategy(
    default=no_defaults,
    validate=_validate,
    prepare_for_create=_prepare_for_create,
    prepare_for_update=carry_generation,
    warnings=no_warnings,
    selectable_fields=metadata_fields,
    status_subresource=True,
    validate_subresource=_validate_status,
)
