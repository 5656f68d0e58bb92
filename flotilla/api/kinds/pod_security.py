"""Validation of security contexts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import duplicate, forbidden, invalid, not_among, out_of_range, required

_LARGEST_ID = 2**31 - 1
_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_GROUP_CHANGE_POLICIES = ("Always", "OnRootMismatch")
_GROUP_POLICIES = ("Merge", "Strict")
_LABEL_CHANGE_POLICIES = ("MountOption", "Recursive")
_LONGEST_SYSCTL = 253
_SYSCTL_PATTERN = "([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL = re.compile(r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?")
_IPC_SYSCTLS = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")


def _validate_ids(context: Mapping[str, Any], fields: tuple[str, ...], path: str) -> list[FieldError]:
    return [error for field in fields for error in out_of_range(f"{path}.{field}", context.get(field), 0, _LARGEST_ID)]


def _validate_profile(profile: Mapping[str, Any], path: str, *, of: str) -> list[FieldError]:
    """Faults of a seccomp or AppArmor profile; ``of`` is what its type is called."""
    kind, file = profile.get("type"), profile.get("localhostProfile") or ""
    where = f"{path}.localhostProfile"
    if not kind:
        return [required(f"{path}.type", f"type is required when {path.rpartition('.')[2]} is set")]
    errors = not_among(f"{path}.type", kind, _PROFILES)
    if kind == "Localhost" and not file:
        errors.append(required(where, f"must be set when {of} type is Localhost"))
    elif kind == "Localhost" and file != file.strip():
        errors.append(invalid(where, file, "must not be padded with whitespace"))
    elif kind == "Localhost" and of == "seccomp" and (file.startswith("/") or ".." in file.split("/")):
        why = "must be a relative path" if file.startswith("/") else "must not contain '..'"
        errors.append(invalid(where, file, why))
    elif kind != "Localhost" and profile.get("localhostProfile") is not None:
        errors.append(invalid(where, file, f"can only be set when {of} type is Localhost"))
    return errors


def _validate_profiles(context: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for field, name in (("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")):
        if context.get(field) is not None:
            errors += _validate_profile(context[field], f"{path}.{field}", of=name)
    return errors


def _validate_sysctls(context: Mapping[str, Any], spec: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, sysctl in enumerate(context.get("sysctls") or ()):
        where, name = f"{path}.sysctls[{index}].name", sysctl.get("name") or ""
        if not name:
            errors.append(required(where))
        elif len(name) > _LONGEST_SYSCTL or not _SYSCTL.fullmatch(name):
            why = f"must have at most {_LONGEST_SYSCTL} characters and match regex ^{_SYSCTL_PATTERN}$"
            errors.append(invalid(where, name, why))
        elif name in seen:
            errors.append(duplicate(where, name))
        seen.add(name)
        dotted = name.replace("/", ".")
        if spec.get("hostNetwork") and dotted.startswith("net."):
            errors.append(invalid(where, name, "may not be specified when 'hostNetwork' is true"))
        if spec.get("hostIPC") and dotted.startswith(_IPC_SYSCTLS):
            errors.append(invalid(where, name, "may not be specified when 'hostIPC' is true"))
    return errors


def validate_container_security(context: Mapping[str, Any], spec: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of the securityContext of a container of the pod ``spec``."""
    errors = _validate_ids(context, ("runAsUser", "runAsGroup"), path)
    errors += not_among(f"{path}.procMount", context.get("procMount"), ("Default", "Unmasked"))
    if context.get("procMount") == "Unmasked" and spec.get("hostUsers") is not False:
        why = "`hostUsers` must be false to use `Unmasked`"
        errors.append(invalid(f"{path}.procMount", "Unmasked", why))
    errors += _validate_profiles(context, path)
    if context.get("allowPrivilegeEscalation") is False:
        why = "cannot set `allowPrivilegeEscalation` to false and `{}` to true"
        if context.get("privileged"):
            errors.append(invalid(path, context, why.format("privileged")))
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            errors.append(invalid(path, context, why.format("capabilities.Add` to `CAP_SYS_ADMIN")))
    return errors


def validate_pod_security(context: Mapping[str, Any], spec: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of the securityContext of the pod ``spec`` at ``path``."""
    errors = _validate_ids(context, ("runAsUser", "runAsGroup", "fsGroup"), path)
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        errors += out_of_range(f"{path}.supplementalGroups[{index}]", group, 0, _LARGEST_ID)
    errors += not_among(f"{path}.fsGroupChangePolicy", context.get("fsGroupChangePolicy"), _GROUP_CHANGE_POLICIES)
    errors += not_among(f"{path}.supplementalGroupsPolicy", context.get("supplementalGroupsPolicy"), _GROUP_POLICIES)
    errors += not_among(f"{path}.seLinuxChangePolicy", context.get("seLinuxChangePolicy"), _LABEL_CHANGE_POLICIES)
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        why = "ShareProcessNamespace and HostPID cannot both be enabled"
        errors.append(invalid(f"{path}.shareProcessNamespace", True, why))
    return errors + _validate_sysctls(context, spec, path) + _validate_profiles(context, path)


def validate_host_users(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of a pod spec at ``path`` that has users of its own and shares something else with the node."""
    if spec.get("hostUsers") is not False:
        return []
    why = "when `hostUsers` is false"
    shared = (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC"))
    errors = [forbidden(f"{path}.{shown}", why) for field, shown in shared if spec.get(field)]
    return errors + [
        forbidden(f"{path}.{kind}[{index}].volumeDevices", why)
        for kind in ("containers", "initContainers")
        for index, container in enumerate(spec.get(kind) or ())
        if container.get("volumeDevices")
    ]
