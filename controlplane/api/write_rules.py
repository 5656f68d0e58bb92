"""In which ways kinds differ in how they are written, beside their strategies: one place to compare them.

The answers are those of Kubernetes' registries (``AllowCreateOnUpdate``, ``AllowUnconditionalUpdate``,
``ReturnDeletedObject``, ``DefaultGarbageCollectionPolicy``); clients have come to rely on each of them.
"""

from __future__ import annotations

from flotilla.api.registry import Resource

_RBAC = ("roles", "rolebindings", "clusterroles", "clusterrolebindings")
_CREATED_BY_UPDATE = frozenset(
    {
        "coordination.k8s.io/leases",
        "endpoints",
        "events",
        "limitranges",
        "services",
        *(f"rbac.authorization.k8s.io/{plural}" for plural in _RBAC),
    }
)
_ONLY_AT_A_VERSION = frozenset(
    {
        "apiextensions.k8s.io/customresourcedefinitions",
        "coordination.k8s.io/leases",
        "node.k8s.io/runtimeclasses",
        "policy/poddisruptionbudgets",
        "storage.k8s.io/csidrivers",
        "storage.k8s.io/csinodes",
        "storage.k8s.io/csistoragecapacities",
        "storage.k8s.io/volumeattachments",
    }
)
_SHOWN_WHEN_DELETED = frozenset(
    {
        "persistentvolumeclaims",
        "persistentvolumes",
        "pods",
        "podtemplates",
        "resourcequotas",
        "serviceaccounts",
        "services",
        "storage.k8s.io/csidrivers",
        "storage.k8s.io/csinodes",
        "storage.k8s.io/storageclasses",
        "storage.k8s.io/volumeattachments",
        "storage.k8s.io/volumeattributesclasses",
    }
)
_ORPHANING = frozenset({"batch/jobs", "replicationcontrollers"})


def created_by_update(resource: Resource) -> bool:
    """Whether an update of an object that does not exist makes it."""
    return resource.storage in _CREATED_BY_UPDATE


def updated_at_any_version(resource: Resource) -> bool:
    """Whether an update without a resourceVersion replaces whatever there is."""
    return resource.shape is None and resource.storage not in _ONLY_AT_A_VERSION


def shown_when_deleted(resource: Resource) -> bool:
    """Whether a delete that removes the object answers with its last state rather than with a Status."""
    return resource.storage in _SHOWN_WHEN_DELETED


def orphans_by_default(resource: Resource) -> bool:
    """Whether dependents stay if a delete does not say what shall become of them."""
    return resource.storage in _ORPHANING
