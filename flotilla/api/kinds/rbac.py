"""Role, ClusterRole, RoleBinding and ClusterRoleBinding: their strategies.

Source: ``k8s.io/kubernetes/pkg/apis/rbac/validation``. This version stores them and does not decide by them: what a
user may do follows from groups alone, and every write says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import each_invalid, invalid, required, unsupported
from flotilla.api.kinds.label_selectors import validate_label_selector
from flotilla.api.kinds.metadata import (
    metadata_fields,
    no_defaults,
    prepare_plain,
    prepare_plain_update,
    validate_metadata,
)
from flotilla.api.kinds.resource import Strategy, Validator
from flotilla.api.names import dns_subdomain_faults, path_segment_faults
from flotilla.api.objects import KubeObject
from flotilla.api.selectors import label_selector_of

GROUP = "rbac.authorization.k8s.io"
NOT_ENFORCED = (
    "this version of Flotilla stores roles and bindings and does not enforce them: members of system:masters may do "
    "everything, others next to nothing"
)
_SUBJECTS = ("ServiceAccount", "User", "Group")


def _warnings(obj: KubeObject) -> list[str]:
    return [NOT_ENFORCED]


def _validate_rule(rule: Mapping[str, Any], path: str, *, namespaced: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    if not rule.get("verbs"):
        errors.append(required(f"{path}.verbs", "verbs must contain at least one value"))
    urls = rule.get("nonResourceURLs")
    if urls:
        if namespaced:
            why = "namespaced rules cannot apply to non-resource URLs"
            errors.append(invalid(f"{path}.nonResourceURLs", urls, why))
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            why = "rules cannot apply to both regular resources and non-resource URLs"
            errors.append(invalid(f"{path}.nonResourceURLs", urls, why))
        return errors
    if not rule.get("apiGroups"):
        errors.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        errors.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
    return errors


def _validate_aggregation(rule: Mapping[str, Any], path: str) -> list[FieldError]:
    selectors = rule.get("clusterRoleSelectors") or []
    if not selectors:
        return [required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil")]
    errors: list[FieldError] = []
    for index, selector in enumerate(selectors):
        errors += validate_label_selector(selector, f"{path}[{index}]")
        try:
            label_selector_of(selector)
        except ValueError:
            errors.append(invalid(f"{path}[{index}]", selector, "invalid label selector."))
    return errors


def _validate_role(role: KubeObject, old: KubeObject | None, *, namespaced: bool) -> list[FieldError]:
    errors = validate_metadata(role, name_faults=path_segment_faults)
    for index, rule in enumerate(role.get("rules") or ()):
        errors += _validate_rule(rule, f"rules[{index}]", namespaced=namespaced)
    if not namespaced and role.get("aggregationRule") is not None:
        errors += _validate_aggregation(role["aggregationRule"], "aggregationRule.clusterRoleSelectors")
    return errors


def _default_binding(binding: KubeObject) -> None:
    """Users, groups and roles are of this group; service accounts are of the core group, which has no name."""
    reference = binding.get("roleRef")
    if reference is not None and not reference.get("apiGroup"):
        reference["apiGroup"] = GROUP
    for subject in binding.get("subjects") or ():
        if subject.get("kind") in ("User", "Group") and not subject.get("apiGroup"):
            subject["apiGroup"] = GROUP


def _validate_reference(reference: Mapping[str, Any], kinds: tuple[str, ...]) -> list[FieldError]:
    errors: list[FieldError] = []
    group, kind, name = reference.get("apiGroup") or "", reference.get("kind") or "", reference.get("name")
    if group != GROUP:
        errors.append(unsupported("roleRef.apiGroup", group, (GROUP,)))
    if kind not in kinds:
        errors.append(unsupported("roleRef.kind", kind, kinds))
    if not name:
        return [*errors, required("roleRef.name")]
    return errors + each_invalid("roleRef.name", name, path_segment_faults(name))


def _validate_account(subject: Mapping[str, Any], path: str, *, namespaced: bool) -> list[FieldError]:
    name = subject.get("name")
    errors = each_invalid(f"{path}.name", name, dns_subdomain_faults(name)) if name else []
    if subject.get("apiGroup"):
        errors.append(unsupported(f"{path}.apiGroup", subject["apiGroup"], ("",)))
    if not namespaced and not subject.get("namespace"):
        errors.append(required(f"{path}.namespace"))
    return errors


def _validate_subject(subject: Mapping[str, Any], path: str, *, namespaced: bool) -> list[FieldError]:
    kind, group = subject.get("kind") or "", subject.get("apiGroup") or ""
    errors = [] if subject.get("name") else [required(f"{path}.name")]
    if kind == "ServiceAccount":
        return errors + _validate_account(subject, path, namespaced=namespaced)
    if kind not in _SUBJECTS:
        return [*errors, unsupported(f"{path}.kind", kind, _SUBJECTS)]
    return errors if group == GROUP else [*errors, unsupported(f"{path}.apiGroup", group, (GROUP,))]


def _validate_binding(binding: KubeObject, old: KubeObject | None, *, namespaced: bool) -> list[FieldError]:
    kinds = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
    reference = binding.get("roleRef") or {}
    errors = validate_metadata(binding, name_faults=path_segment_faults) + _validate_reference(reference, kinds)
    for index, subject in enumerate(binding.get("subjects") or ()):
        errors += _validate_subject(subject, f"subjects[{index}]", namespaced=namespaced)
    if old is not None and reference != (old.get("roleRef") or {}):
        errors.append(invalid("roleRef", reference, "cannot change roleRef"))
    return errors


def _strategy(validate: Validator, *, binding: bool) -> Strategy:
    return Strategy(
        default=_default_binding if binding else no_defaults,
        validate=validate,
        prepare_for_create=prepare_plain,
        prepare_for_update=prepare_plain_update,
        warnings=_warnings,
        selectable_fields=metadata_fields,
    )


ROLE_STRATEGY = _strategy(partial(_validate_role, namespaced=True), binding=False)
CLUSTER_ROLE_STRATEGY = _strategy(partial(_validate_role, namespaced=False), binding=False)
ROLE_BINDING_STRATEGY = _strategy(partial(_validate_binding, namespaced=True), binding=True)
CLUSTER_ROLE_BINDING_STRATEGY = _strategy(partial(_validate_binding, namespaced=False), binding=True)
