"""Names of resources (cpu, memory, pods, ...) and their amounts, as quotas, limit ranges and volumes count them.

Source: ``k8s.io/kubernetes/pkg/apis/core/helper`` and the API reference of ResourceQuota.
"""

from __future__ import annotations

from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import MUST_NOT_BE_NEGATIVE, each_invalid, invalid
from flotilla.api.names import qualified_name_faults
from flotilla.api.quantities import parse_quantity

COMPUTE = frozenset({"cpu", "memory", "ephemeral-storage"})
_COUNTED = frozenset(
    {
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    }
)
_QUOTA_COMPUTE = frozenset(
    {f"{part}.{name}" for part in ("requests", "limits") for name in COMPUTE} | COMPUTE | {"requests.storage"}
)
_STANDARD = COMPUTE | _QUOTA_COMPUTE | _COUNTED | {"storage"}
_NATIVE_DOMAIN = "kubernetes.io/"


def is_huge_pages(name: str) -> bool:
    return name.startswith("hugepages-")


def is_overcommittable(name: str) -> bool:
    """Whether more of it may be allowed than there is: what the node shares by time, not what it hands out whole."""
    return is_native(name) and not is_huge_pages(name)


def is_native(name: str) -> bool:
    """Whether it is a resource of Kubernetes itself, not one that a device plugin announces."""
    return "/" not in name or _NATIVE_DOMAIN in name


def is_quota_name(name: str) -> bool:
    """Whether a quota may limit this unqualified name."""
    if name.startswith("count/"):
        return True
    bare = name.removeprefix("requests.")
    return name in _QUOTA_COMPUTE or name in _COUNTED or is_huge_pages(bare)


def is_whole(name: str) -> bool:
    """Whether it is counted in whole numbers."""
    return name in _COUNTED or not is_native(name)


def standard_name_faults(name: str, path: str) -> list[FieldError]:
    """Faults of the name of any resource."""
    errors = each_invalid(path, name, qualified_name_faults(name))
    bare = name.removeprefix("requests.")
    if not errors and "/" not in name and name not in _STANDARD and not is_huge_pages(bare):
        errors.append(invalid(path, name, "must be a standard resource type or fully qualified"))
    return errors


def container_name_faults(name: str, path: str) -> list[FieldError]:
    """Faults of the name of a resource that containers ask for."""
    errors = each_invalid(path, name, qualified_name_faults(name))
    if errors:
        return errors
    if "/" not in name:
        if name in COMPUTE or is_huge_pages(name):
            return []
        why = "must be a standard resource for containers"
        return [*standard_name_faults(name, path), invalid(path, name, why)]
    if not is_native(name) and name.startswith("requests."):
        return [invalid(path, name, "doesn't follow extended resource name standard")]
    return []


def validate_amount(name: str, amount: Any, path: str) -> list[FieldError]:
    """Faults of an amount of that resource."""
    value = parse_quantity(amount)
    errors = [invalid(path, str(amount), MUST_NOT_BE_NEGATIVE)] if value < 0 else []
    if is_whole(name) and value.denominator != 1:
        errors.append(invalid(path, amount, "must be an integer"))
    return errors
