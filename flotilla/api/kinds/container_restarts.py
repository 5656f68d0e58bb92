"""Validation of what makes a container start again: restart policies of its own, their rules, and resizing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import duplicate, forbidden, invalid, required, too_many, unsupported

_POLICIES = ("Always", "Never", "OnFailure")
_OPERATORS = ("In", "NotIn")
_MOST_RULES = 20
_MOST_EXIT_CODES = 255
_RESIZABLE = ("cpu", "memory")
_RESIZE_POLICIES = ("NotRequired", "RestartContainer")


def _validate_rule(rule: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if rule.get("action") != "Restart":
        errors.append(unsupported(f"{path}.action", rule.get("action"), ("Restart",)))
    codes = rule.get("exitCodes")
    if codes is None:
        return [*errors, required(f"{path}.exitCodes", "must be specified")]
    if codes.get("operator") not in _OPERATORS:
        errors.append(unsupported(f"{path}.exitCodes.operator", codes.get("operator"), _OPERATORS))
    count = len(codes.get("values") or ())
    return (
        [*errors, too_many(f"{path}.exitCodes.values", count, _MOST_EXIT_CODES)] if count > _MOST_EXIT_CODES else errors
    )


def validate_restarts(container: Mapping[str, Any], path: str, *, init: bool) -> list[FieldError]:
    """Faults of ``restartPolicy`` and ``restartPolicyRules`` of a container."""
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or []
    if policy is None:
        why = "must specify restartPolicy when restart rules are used"
        return [required(f"{path}.restartPolicy", why)] if rules else []
    if init and policy == "Always":
        why = "restartPolicyRules are not allowed for init containers with restart policy Always"
        return [forbidden(f"{path}.restartPolicyRules", why)] if rules else []
    errors = [] if policy in _POLICIES else [unsupported(f"{path}.restartPolicy", policy, _POLICIES)]
    if len(rules) > _MOST_RULES:
        errors.append(too_many(f"{path}.restartPolicyRules", len(rules), _MOST_RULES))
    for index, rule in enumerate(rules):
        errors += _validate_rule(rule, f"{path}.restartPolicyRules[{index}]")
    return errors


def validate_resize_policy(container: Mapping[str, Any], spec: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of ``resizePolicy``: what a change of resources does to a running container."""
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, rule in enumerate(container.get("resizePolicy") or ()):
        name, policy = rule.get("resourceName") or "", rule.get("restartPolicy") or ""
        if name in seen:
            errors.append(duplicate(f"{path}[{index}]", name))
        seen.add(name)
        for value, supported in ((name, _RESIZABLE), (policy, _RESIZE_POLICIES)):
            if not value:
                errors.append(required(path))
            elif value not in supported:
                errors.append(unsupported(path, value, supported))
        if spec.get("restartPolicy") == "Never" and policy != "NotRequired":
            errors.append(invalid(path, policy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'"))
    return errors
