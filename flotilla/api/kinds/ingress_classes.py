"""IngressClass: its strategy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.columns import spec_of
from flotilla.api.kinds.faults import IMMUTABLE, each_invalid, forbidden, invalid, required, too_long, unsupported
from flotilla.api.kinds.metadata import metadata_fields, no_warnings, validate_metadata
from flotilla.api.kinds.references import validate_typed_reference
from flotilla.api.kinds.resource import Strategy
from flotilla.api.names import dns_label_faults, dns_subdomain_faults
from flotilla.api.objects import KubeObject

DEFAULT_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"
_LONGEST_CONTROLLER = 250
_SCOPES = ("Cluster", "Namespace")
_PATH = re.compile(r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+")


def _default(ingress_class: KubeObject) -> None:
    parameters = spec_of(ingress_class).get("parameters")
    if parameters is not None and parameters.get("scope") is None:
        parameters["scope"] = "Cluster"


def _validate_controller(controller: str, path: str) -> list[FieldError]:
    if not controller:
        return [required(path)]
    errors = [too_long(path, _LONGEST_CONTROLLER)] if len(controller) > _LONGEST_CONTROLLER else []
    host, _, rest = controller.partition("/")
    if not host or not rest:
        return [*errors, invalid(path, controller, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    errors += each_invalid(path, host, dns_subdomain_faults(host))
    if not _PATH.fullmatch(rest):
        errors.append(invalid(path, rest, f"Invalid path (regex used for validation is '{_PATH.pattern}')"))
    return errors


def _validate_parameters(parameters: Mapping[str, Any], path: str) -> list[FieldError]:
    errors = validate_typed_reference(parameters, path)
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    if scope not in _SCOPES:
        errors.append(unsupported(f"{path}.scope", scope, _SCOPES))
    elif scope == "Cluster":
        if namespace is not None:
            errors.append(forbidden(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'"))
    elif namespace is None:
        errors.append(required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'"))
    else:
        errors += each_invalid(f"{path}.namespace", namespace, dns_label_faults(namespace))
    return errors


def _validate(ingress_class: KubeObject, old: KubeObject | None) -> list[FieldError]:
    spec = spec_of(ingress_class)
    controller = spec.get("controller") or ""
    errors: list[FieldError] = []
    if old is not None and controller != (spec_of(old).get("controller") or ""):
        errors.append(invalid("spec.controller", controller, IMMUTABLE))
    errors += validate_metadata(ingress_class) + _validate_controller(controller, "spec.controller")
    if spec.get("parameters") is not None:
        errors += _validate_parameters(spec["parameters"], "spec.parameters")
    return errors


def _prepare_for_create(ingress_class: KubeObject) -> None:
    ingress_class["metadata"]["generation"] = 1


def _prepare_for_update(ingress_class: KubeObject, old: KubeObject) -> None:
    changed = ingress_class.get("spec") != old.get("spec")
    ingress_class["metadata"]["generation"] = old["metadata"].get("generation", 1) + changed


STRATEGY = Strategy(
    default=_default,
    validate=_validate,
    prepare_for_create=_prepare_for_create,
    prepare_for_update=_prepare_for_update,
    warnings=no_warnings,
    selectable_fields=metadata_fields,
)
