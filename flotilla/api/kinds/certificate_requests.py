"""CertificateSigningRequest: its strategy and its columns.

A request says in ``spec`` what is wanted and who wants it; nobody can change that afterwards. ``approval`` is where
somebody decides, ``status`` where the signer puts the certificate, and neither may write what is the other's.
Source: ``k8s.io/kubernetes/pkg/apis/certificates/validation``.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flotilla.api.durations import human_duration
from flotilla.api.errors import FieldError
from flotilla.api.kinds.columns import AGE, NAME, NONE, column, spec_of, status_of
from flotilla.api.kinds.faults import (
    duplicate,
    each_invalid,
    forbidden,
    invalid,
    required,
    too_long,
    unsupported,
)
from flotilla.api.kinds.metadata import begin_status, metadata_fields, no_defaults, validate_metadata
from flotilla.api.kinds.resource import Strategy
from flotilla.api.names import dns_subdomain_faults, path_segment_faults
from flotilla.api.objects import KubeObject

CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
APPROVED, DENIED, FAILED = "Approved", "Denied", "Failed"
_LEGACY_SIGNER = "kubernetes.io/legacy-unknown"
_UNSERVED_SIGNERS = ("kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving")
_SHORTEST_LIFETIME_S = 600
_LONGEST_SIGNER = 571
_USAGES = (
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
)
_STATUSES = ("False", "True", "Unknown")


def _request_fault(request: str) -> str:
    """What is wrong with a base64 text that has to be a PEM request signed by its own key, ``""`` if nothing is."""
    # Loaded here: the command line imports this module and has no use for cryptography's library.
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    pem = base64.b64decode(request)
    if b"-----BEGIN CERTIFICATE REQUEST-----" not in pem:
        return "PEM block type must be CERTIFICATE REQUEST"
    try:
        signed = x509.load_pem_x509_csr(pem).is_signature_valid
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        return f"x509: {error}"
    return "" if signed else "x509: the request is not signed by its own key"


def _certificate_fault(certificate: str) -> str:
    """What is wrong with a base64 text that has to be a chain of PEM certificates, ``""`` if nothing is."""
    from cryptography import x509

    pem = base64.b64decode(certificate)
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        return "must contain at least one CERTIFICATE PEM block"
    try:
        x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        return f"x509: {error}"
    return ""


def _validate_signer(name: str, path: str) -> list[FieldError]:
    if not name:
        return [required(path)]
    if name == _LEGACY_SIGNER:
        return [invalid(path, name, "the legacy signerName is not allowed via this API version")]
    if name.count("/") != 1:
        why = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [invalid(path, name, why)]
    domain, _, rest = name.partition("/")
    errors = each_invalid(path, domain, dns_subdomain_faults(domain))
    if "." not in domain and not errors:
        errors.append(invalid(path, domain, "should be a domain with at least two segments separated by dots"))
    for label in rest.split("."):
        faults = dns_subdomain_faults(label)
        if faults:
            errors += each_invalid(path, rest, [f'validating label "{label}": {fault}' for fault in faults])
            break
    return [*errors, too_long(path, _LONGEST_SIGNER)] if len(name) > _LONGEST_SIGNER else errors


def _validate_usages(usages: list[str], path: str) -> list[FieldError]:
    if not usages:
        return [required(path)]
    errors: list[FieldError] = []
    for index, usage in enumerate(usages):
        if usage not in _USAGES:
            errors.append(unsupported(f"{path}[{index}]", usage, _USAGES))
        if usage in usages[:index]:
            errors.append(duplicate(f"{path}[{index}]", usage))
    return errors


def _validate(request: KubeObject, old: KubeObject | None) -> list[FieldError]:
    spec = spec_of(request)
    errors = validate_metadata(request, name_faults=path_segment_faults)
    if old is not None:
        return errors
    body = spec.get("request") or ""
    fault = _request_fault(body)
    if fault:
        errors.append(invalid("spec.request", body, fault))
    errors += _validate_usages(spec.get("usages") or [], "spec.usages")
    errors += _validate_signer(spec.get("signerName") or "", "spec.signerName")
    lifetime_s = spec.get("expirationSeconds")
    if lifetime_s is not None and lifetime_s < _SHORTEST_LIFETIME_S:
        why = "may not specify a duration less than 600 seconds (10 minutes)"
        errors.append(invalid("spec.expirationSeconds", lifetime_s, why))
    return errors


def conditions_of(request: Mapping[str, Any], type_: str) -> list[KubeObject]:
    """The conditions of a type; a valid request has at most one."""
    return [each for each in status_of(request).get("conditions") or () if each.get("type") == type_]


def _validate_conditions(request: KubeObject, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, condition in enumerate(status_of(request).get("conditions") or ()):
        where, type_, status = f"{path}[{index}]", condition.get("type") or "", condition.get("status") or ""
        allowed = ("True",) if type_ in (APPROVED, DENIED, FAILED) else _STATUSES
        if not type_:
            errors.append(required(f"{where}.type"))
        if not status:
            errors.append(required(f"{where}.status"))
        elif status not in allowed:
            errors.append(unsupported(f"{where}.status", status, allowed))
        if type_ in (APPROVED, DENIED) and seen & ({APPROVED, DENIED} - {type_}):
            errors.append(invalid(path, type_, "Approved and Denied conditions are mutually exclusive"))
        if type_ in seen:
            errors.append(duplicate(f"{where}.type", type_))
        seen.add(type_)
    return errors


def _validate_decisions(request: KubeObject, old: KubeObject, path: str, *, deciding: bool) -> list[FieldError]:
    """Decisions stay, and are made through ``approval`` alone."""
    errors: list[FieldError] = []
    for type_ in (APPROVED, DENIED, FAILED):
        new, was = conditions_of(request, type_), conditions_of(old, type_)
        if len(new) < len(was):
            errors.append(forbidden(path, f'updates may not remove a condition of type "{type_}"'))
        elif not deciding and type_ != FAILED and len(new) > len(was):
            errors.append(forbidden(path, f'updates may not add a condition of type "{type_}"'))
        elif not deciding and type_ != FAILED and new != was:
            errors.append(forbidden(path, f'updates may not modify a condition of type "{type_}"'))
    return errors


def _validate_subresource(subresource: str, request: KubeObject, old: KubeObject) -> list[FieldError]:
    """Faults of a write through ``status`` or ``approval``."""
    path, deciding = "status.conditions", subresource == "approval"
    errors = _validate_conditions(request, path)
    errors += _validate_decisions(request, old, path, deciding=deciding)
    new, was = status_of(request).get("certificate") or "", status_of(old).get("certificate") or ""
    if new == was:
        return errors
    if deciding:
        return [*errors, forbidden("status.certificate", "updates may not set certificate content")]
    if was:
        return [*errors, forbidden("status.certificate", "updates may not modify existing certificate content")]
    fault = _certificate_fault(new)
    return [*errors, invalid("status.certificate", "<certificate data>", fault)] if fault else errors


def _prepare_for_update(request: KubeObject, old: KubeObject) -> None:
    """Only metadata can be changed by a plain update; everything else is silently kept, as in Kubernetes."""
    request["spec"] = old.get("spec") or {}
    if "status" in old:
        request["status"] = old["status"]
    else:
        request.pop("status", None)


def _warnings(request: KubeObject) -> list[str]:
    if spec_of(request).get("signerName") in _UNSERVED_SIGNERS:
        return ["spec.signerName: this version of Flotilla has no such signer; nodes join with a token instead"]
    return []


def _selectable_fields(request: Mapping[str, Any]) -> dict[str, str]:
    return metadata_fields(request) | {"spec.signerName": spec_of(request).get("signerName") or ""}


def _state(request: KubeObject, now: datetime) -> str:
    types = {condition.get("type") for condition in status_of(request).get("conditions") or ()}
    state = DENIED if DENIED in types else APPROVED if APPROVED in types else "Pending"
    if FAILED in types:
        state += f",{FAILED}"
    return f"{state},Issued" if status_of(request).get("certificate") else state


def _lifetime(request: KubeObject, now: datetime) -> str:
    lifetime_s = spec_of(request).get("expirationSeconds")
    return NONE if lifetime_s is None else human_duration(lifetime_s)


STRATEGY = Strategy(
    default=no_defaults,
    validate=_validate,
    prepare_for_create=begin_status(),
    prepare_for_update=_prepare_for_update,
    warnings=_warnings,
    selectable_fields=_selectable_fields,
    status_subresource=True,
    validate_subresource=_validate_subresource,
)
COLUMNS = (
    NAME,
    AGE,
    column(
        "SignerName",
        lambda obj, now: spec_of(obj).get("signerName") or NONE,
        description="The signer that the request is for.",
    ),
    column(
        "Requestor", lambda obj, now: spec_of(obj).get("username") or "", description="The user who made the request."
    ),
    column("RequestedDuration", _lifetime, description="How long the certificate is to be valid."),
    column("Condition", _state, description="What has become of the request."),
)
