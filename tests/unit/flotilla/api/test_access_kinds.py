"""Roles, bindings and certificate requests: defaults, faults in Kubernetes' words, who may write which part."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from flotilla.api.errors import FieldError
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import (
    CERTIFICATE_SIGNING_REQUESTS,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    ROLE_BINDINGS,
    ROLES,
)

Edited = Callable[[KubeObject, str, Any], KubeObject]
Faults = Callable[..., list[FieldError]]
Written = Callable[..., KubeObject]
_GROUP = "rbac.authorization.k8s.io"


def _request() -> str:
    """A PKCS#10 request as the API carries it."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ann")])
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()


ROLE: KubeObject = {
    "metadata": {"name": "reader", "namespace": "default"},
    "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
}
CLUSTER_ROLE: KubeObject = {
    "metadata": {"name": "system:reader"},
    "rules": [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}],
}
BINDING: KubeObject = {
    "metadata": {"name": "readers", "namespace": "default"},
    "roleRef": {"kind": "Role", "name": "reader"},
    "subjects": [{"kind": "User", "name": "ann"}, {"kind": "ServiceAccount", "name": "cart"}],
}
CLUSTER_BINDING: KubeObject = {
    "metadata": {"name": "readers"},
    "roleRef": {"kind": "ClusterRole", "name": "system:reader"},
    "subjects": [{"kind": "ServiceAccount", "name": "cart", "namespace": "shop"}],
}
REQUEST: KubeObject = {
    "metadata": {"name": "ann"},
    "spec": {
        "request": _request(),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth", "digital signature"],
    },
}
_ACCOUNT = {"kind": "ServiceAccount", "name": "cart"}

CASES: list[tuple[Resource, KubeObject, str, Any, str, str, str]] = [
    (ROLES, ROLE, "metadata.name", "a/b", "metadata.name", "Invalid", "may not contain '/'"),
    (ROLES, ROLE, "rules.0.verbs", [], "rules[0].verbs", "Required", "verbs must contain at least one value"),
    (ROLES, ROLE, "rules.0.apiGroups", None, "rules[0].apiGroups", "Required", "must supply at least one api group"),
    (ROLES, ROLE, "rules.0.resources", None, "rules[0].resources", "Required", "must supply at least one resource"),
    (
        ROLES,
        ROLE,
        "rules.0",
        {"nonResourceURLs": ["/"], "verbs": ["get"]},
        "rules[0].nonResourceURLs",
        "Invalid",
        "namespaced rules cannot apply to non-resource URLs",
    ),
    (
        CLUSTER_ROLES,
        CLUSTER_ROLE,
        "rules.0.resources",
        ["pods"],
        "rules[0].nonResourceURLs",
        "Invalid",
        "rules cannot apply to both regular resources and non-resource URLs",
    ),
    (
        CLUSTER_ROLES,
        CLUSTER_ROLE,
        "aggregationRule",
        {},
        "aggregationRule.clusterRoleSelectors",
        "Required",
        "at least one clusterRoleSelector required if aggregationRule is non-nil",
    ),
    (ROLE_BINDINGS, BINDING, "roleRef.name", "", "roleRef.name", "Required", "Required value"),
    (ROLE_BINDINGS, BINDING, "roleRef.apiGroup", "x", "roleRef.apiGroup", "NotSupported", f'"{_GROUP}"'),
    (ROLE_BINDINGS, BINDING, "roleRef.kind", "User", "roleRef.kind", "NotSupported", '"Role", "ClusterRole"'),
    (CLUSTER_ROLE_BINDINGS, CLUSTER_BINDING, "roleRef.kind", "Role", "roleRef.kind", "NotSupported", '"ClusterRole"'),
    (ROLE_BINDINGS, BINDING, "subjects.0.name", "", "subjects[0].name", "Required", "Required value"),
    (
        ROLE_BINDINGS,
        BINDING,
        "subjects.0.kind",
        "Robot",
        "subjects[0].kind",
        "NotSupported",
        'supported values: "ServiceAccount", "User", "Group"',
    ),
    (ROLE_BINDINGS, BINDING, "subjects.0.apiGroup", "x", "subjects[0].apiGroup", "NotSupported", f'"{_GROUP}"'),
    (
        ROLE_BINDINGS,
        BINDING,
        "subjects.1.apiGroup",
        "x",
        "subjects[1].apiGroup",
        "NotSupported",
        'supported values: ""',
    ),
    (ROLE_BINDINGS, BINDING, "subjects.1.name", "A", "subjects[1].name", "Invalid", "RFC 1123 subdomain"),
    (
        CLUSTER_ROLE_BINDINGS,
        CLUSTER_BINDING,
        "subjects",
        [_ACCOUNT],
        "subjects[0].namespace",
        "Required",
        "Required value",
    ),
    (
        CERTIFICATE_SIGNING_REQUESTS,
        REQUEST,
        "spec.request",
        "YQ==",
        "spec.request",
        "Invalid",
        "PEM block type must be CERTIFICATE REQUEST",
    ),
    (CERTIFICATE_SIGNING_REQUESTS, REQUEST, "spec.usages", [], "spec.usages", "Required", "Required value"),
    (
        CERTIFICATE_SIGNING_REQUESTS,
        REQUEST,
        "spec.usages",
        ["x"],
        "spec.usages[0]",
        "NotSupported",
        '"any", "cert sign"',
    ),
    (
        CERTIFICATE_SIGNING_REQUESTS,
        REQUEST,
        "spec.usages",
        ["any", "any"],
        "spec.usages[1]",
        "Duplicate",
        "Duplicate value",
    ),
    (CERTIFICATE_SIGNING_REQUESTS, REQUEST, "spec.signerName", "", "spec.signerName", "Required", "Required value"),
    (
        CERTIFICATE_SIGNING_REQUESTS,
        REQUEST,
        "spec.signerName",
        "me",
        "spec.signerName",
        "Invalid",
        "must be a fully qualified domain and path of the form 'example.com/signer-name'",
    ),
    (
        CERTIFICATE_SIGNING_REQUESTS,
        REQUEST,
        "spec.signerName",
        "kubernetes.io/legacy-unknown",
        "spec.signerName",
        "Invalid",
        "the legacy signerName is not allowed via this API version",
    ),
    (
        CERTIFICATE_SIGNING_REQUESTS,
        REQUEST,
        "spec.expirationSeconds",
        599,
        "spec.expirationSeconds",
        "Invalid",
        "may not specify a duration less than 600 seconds (10 minutes)",
    ),
]


@pytest.mark.parametrize(("resource", "obj", "path", "value", "field", "reason", "message"), CASES)
def test_faults(
    edited: Edited,
    faults: Faults,
    resource: Resource,
    obj: KubeObject,
    path: str,
    value: Any,
    field: str,
    reason: str,
    message: str,
) -> None:
    """One wrong value must give one fault, at its path, with its reason."""
    (error,) = faults(resource, edited(obj, path, value))
    assert (error.field, error.reason) == (field, f"FieldValue{reason}")
    assert message in error.message


@pytest.mark.parametrize(
    ("resource", "obj"),
    [
        (ROLES, ROLE),
        (ROLES, {"metadata": {"name": "empty", "namespace": "default"}}),
        (CLUSTER_ROLES, CLUSTER_ROLE),
        (ROLE_BINDINGS, BINDING),
        (CLUSTER_ROLE_BINDINGS, CLUSTER_BINDING),
        (CERTIFICATE_SIGNING_REQUESTS, REQUEST),
    ],
)
def test_what_is_valid(faults: Faults, written: Written, resource: Resource, obj: KubeObject) -> None:
    """What Kubernetes takes must be taken, as new and as an update of itself."""
    assert faults(resource, obj) == []
    assert faults(resource, obj, written(resource, obj)) == []


def test_groups_are_filled_in(written: Written) -> None:
    """Roles, users and groups are of the group of roles, accounts are core."""
    stored = written(ROLE_BINDINGS, BINDING)
    assert stored["roleRef"]["apiGroup"] == _GROUP
    assert [subject.get("apiGroup") for subject in stored["subjects"]] == [_GROUP, None]


def test_a_binding_stays_with_its_role(edited: Edited, faults: Faults, written: Written) -> None:
    """Who may change a binding's subjects may not thereby hand out another role."""
    (error,) = faults(ROLE_BINDINGS, edited(BINDING, "roleRef.name", "writer"), written(ROLE_BINDINGS, BINDING))
    assert (error.field, error.message.rpartition(": ")[2]) == ("roleRef", "cannot change roleRef")


@pytest.mark.parametrize(
    ("resource", "obj"),
    [
        (ROLES, ROLE),
        (CLUSTER_ROLES, CLUSTER_ROLE),
        (ROLE_BINDINGS, BINDING),
        (CLUSTER_ROLE_BINDINGS, CLUSTER_BINDING),
    ],
)
def test_roles_without_effect_are_told(resource: Resource, obj: KubeObject) -> None:
    """Nobody may think that a role protects or allows anything yet."""
    assert "does not enforce them" in resource.strategy.warnings(obj)[0]


def test_a_request_can_not_be_rewritten(edited: Edited, written: Written) -> None:
    """After somebody has looked at a request, what it asks for and by whom must stay; so must the decision."""
    old = written(CERTIFICATE_SIGNING_REQUESTS, REQUEST) | {"status": {"conditions": [{"type": "Approved"}]}}
    changed = edited(edited(REQUEST, "spec.usages", ["any"]), "status", {"certificate": "eA=="})
    stored = written(CERTIFICATE_SIGNING_REQUESTS, changed, old)
    assert (stored["spec"], stored["status"]) == (old["spec"], old["status"])


_APPROVED = {"type": "Approved", "status": "True"}
_DENIED = {"type": "Denied", "status": "True"}
_OTHER = {"type": "Seen", "status": "Unknown"}
WRITES: list[tuple[str, KubeObject, KubeObject, str]] = [
    ("approval", {"conditions": [_APPROVED]}, {}, ""),
    ("approval", {"conditions": [_APPROVED, _DENIED]}, {}, "Approved and Denied conditions are mutually exclusive"),
    ("approval", {"conditions": [_APPROVED | {"status": "False"}]}, {}, 'supported values: "True"'),
    ("approval", {"conditions": [_OTHER, _OTHER]}, {}, "Duplicate value"),
    ("approval", {}, {"conditions": [_APPROVED]}, 'updates may not remove a condition of type "Approved"'),
    ("approval", {"certificate": "eA=="}, {}, "updates may not set certificate content"),
    ("status", {"conditions": [_OTHER]}, {}, ""),
    ("status", {"conditions": [_APPROVED]}, {}, 'updates may not add a condition of type "Approved"'),
    (
        "status",
        {"conditions": [_APPROVED | {"reason": "New"}]},
        {"conditions": [_APPROVED]},
        'updates may not modify a condition of type "Approved"',
    ),
    ("status", {"certificate": "eA=="}, {}, "must contain at least one CERTIFICATE PEM block"),
    ("status", {"certificate": "eA=="}, {"certificate": "eQ=="}, "updates may not modify existing certificate content"),
]


@pytest.mark.parametrize(("subresource", "status", "was", "message"), WRITES)
def test_who_decides_and_who_signs(subresource: str, status: KubeObject, was: KubeObject, message: str) -> None:
    """Decisions come through approval alone, certificates through status alone, and neither is taken back."""
    validate = CERTIFICATE_SIGNING_REQUESTS.strategy.validate_subresource
    assert validate is not None
    errors = validate(subresource, REQUEST | {"status": status}, REQUEST | {"status": was})
    assert len(errors) == (1 if message else 0)
    assert not message or message in errors[0].message
