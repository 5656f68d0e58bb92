"""Validation of security contexts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import invalid, not_among, out_of_range, required

_LARGEST_ID = 2**31 - 1
_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_GROUP_CHANGE_POLICIES = ("Always", "OnRootMismatch")


def _validate_ids(context: Mapping[str, Any], fields: tuple[str, ...], path: str) -> list[FieldError]:
    return [error for field in fields for error in out_of_range(f"{path}.{field}", context.get(field), 0, _LARGEST_ID)]


def _validate_profile(profile: Mapping[str, Any], path: str) -> list[FieldError]:
    kind, file = profile.get("type"), profile.get("localhostProfile")
    if not kind:
        return [required(f"{path}.type", "type is required when seccompProfile is set")]
    errors = not_among(f"{path}.type", kind, _PROFILES)
    if kind == "Localhost" and not file:
        errors.append(required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost"))
    elif kind != "Localhost" and file is not None:
        errors.append(invalid(f"{path}.localhostProfile", file, "can only be set when seccomp type is Localhost"))
    return errors


def validate_container_security(context: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of a container's securityContext."""
    errors = _validate_ids(context, ("runAsUser", "runAsGroup"), path)
    errors += not_among(f"{path}.procMount", context.get("procMount"), ("Default", "Unmasked"))
    if context.get("seccompProfile"):
        errors += _validate_profile(context["seccompProfile"], f"{path}.seccompProfile")
    if context.get("allowPrivilegeEscalation") is False:
        why = "cannot set `allowPrivilegeEscalation` to false and `{}` to true"
        if context.get("privileged"):
            errors.append(invalid(path, context, why.format("privileged")))
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            errors.append(invalid(path, context, why.format("capabilities.Add` to `CAP_SYS_ADMIN")))
    return errors


def validate_pod_security(context: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of a pod's securityContext."""
    errors = _validate_ids(context, ("runAsUser", "runAsGroup", "fsGroup"), path)
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        errors += out_of_range(f"{path}.supplementalGroups[{index}]", group, 0, _LARGEST_ID)
    errors += not_among(f"{path}.fsGroupChangePolicy", context.get("fsGroupChangePolicy"), _GROUP_CHANGE_POLICIES)
    if context.get("seccompProfile"):
        errors += _validate_profile(context["seccompProfile"], f"{path}.seccompProfile")
    return errors
