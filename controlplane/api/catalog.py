"""What is served, group by group: the registry's resources, their subresources, and the virtual ones beside them.

Discovery and OpenAPI are written from this one description, so that they can't tell different stories.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from controlplane.api.openapi_metrics import PACKAGE as METRICS_PACKAGE
from controlplane.api.request_info import RequestInfo
from flotilla.api.crd.rows import priority
from flotilla.api.registry import Registry, Resource

READ_ONLY = ("get", "list")
METRICS_GROUP = "metrics.k8s.io"
_SUBRESOURCE_VERBS = {
    "approval": ("get", "patch", "update"),
    "attach": ("create", "get"),
    "exec": ("create", "get"),
    "portforward": ("create", "get"),
    "proxy": ("get",),
    "status": ("get", "patch", "update"),
    "scale": ("get", "patch", "update"),
    "finalize": ("update",),
    "log": ("get",),
    "binding": ("create",),
    "ephemeralcontainers": ("get", "patch", "update"),
    "eviction": ("create",),
    "resize": ("get", "patch", "update"),
}
_SUBRESOURCE_KINDS = {
    "scale": ("autoscaling", "v1", "Scale"),
    "binding": ("", "v1", "Binding"),
    "eviction": ("policy", "v1", "Eviction"),
    "attach": ("", "v1", "PodAttachOptions"),
    "exec": ("", "v1", "PodExecOptions"),
    "portforward": ("", "v1", "PodPortForwardOptions"),
    "proxy": ("", "v1", "NodeProxyOptions"),
}
_OF_ONE_OBJECT = frozenset({"get", "update", "patch", "delete"})
_READ = ("GET", "HEAD")
_METHODS = {
    "get": _READ,
    "list": _READ,
    "watch": _READ,
    "create": ("POST",),
    "update": ("PUT",),
    "patch": ("PATCH",),
    "delete": ("DELETE",),
    "deletecollection": ("DELETE",),
}
_PREFERRED_ORDER = (
    "",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
)


@dataclass(frozen=True, slots=True)
class ServedSubresource:
    """A subresource; its kind may be of another group than its resource's."""

    name: str
    kind: str
    group: str
    version: str
    verbs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One resource as discovery shows it, and what its ``definition`` is called in OpenAPI.

    ``row`` is its row in the registry, None for a virtual resource.
    """

    plural: str
    singular: str
    kind: str
    namespaced: bool
    verbs: tuple[str, ...]
    definition: str
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[ServedSubresource, ...] = ()
    row: Resource | None = None


@dataclass(frozen=True, slots=True)
class GroupVersion:
    """One version of a group."""

    group: str
    version: str
    resources: list[Served] = field(default_factory=list)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def path(self) -> str:
        """The path under which it is served, without the leading slash."""
        return f"apis/{self.api_version}" if self.group else f"api/{self.version}"


def served_resource(resource: Resource) -> Served:
    """A registry row as discovery shows it."""
    subresources = []
    for name in resource.subresources:
        group, version, kind = _SUBRESOURCE_KINDS.get(name, (resource.group, resource.version, resource.kind))
        verbs = _SUBRESOURCE_VERBS.get(name, ("get",))
        subresources.append(ServedSubresource(name, kind, group, version, verbs))
    return Served(
        plural=resource.plural,
        singular=resource.singular,
        kind=resource.kind,
        namespaced=resource.namespaced,
        verbs=resource.verbs,
        definition=resource.definition,
        short_names=resource.short_names,
        categories=resource.categories,
        subresources=tuple(subresources),
        row=resource,
    )


def metrics_group() -> GroupVersion:
    """``metrics.k8s.io``: what nodes and pods use now, read from samples and stored nowhere."""
    return GroupVersion(
        METRICS_GROUP,
        "v1beta1",
        [_usage("node", "NodeMetrics", namespaced=False), _usage("pod", "PodMetrics", namespaced=True)],
    )


def _usage(singular: str, kind: str, *, namespaced: bool) -> Served:
    return Served(
        plural=f"{singular}s",
        singular=singular,
        kind=kind,
        namespaced=namespaced,
        verbs=READ_ONLY,
        definition=METRICS_PACKAGE + kind,
    )


def bindings_version() -> GroupVersion:
    """``bindings`` in the core group: a pod's assignment, sent and stored nowhere."""
    return GroupVersion("", "v1", [_sent("Binding", "core", namespaced=True)])


def review_groups() -> tuple[GroupVersion, ...]:
    """The questions about who a client is and what it or another may do; they are answered and stored nowhere."""
    can_i = ("SelfSubjectAccessReview", "SelfSubjectRulesReview", "SubjectAccessReview")
    authorization = [_sent("LocalSubjectAccessReview", "authorization", namespaced=True)]
    authorization += [_sent(kind, "authorization") for kind in can_i]
    authentication = [_sent(kind, "authentication") for kind in ("SelfSubjectReview", "TokenReview")]
    return (
        GroupVersion("authentication.k8s.io", "v1", authentication),
        GroupVersion("authorization.k8s.io", "v1", authorization),
    )


def _sent(kind: str, package: str, *, namespaced: bool = False) -> Served:
    """A kind that is sent to be answered or carried out."""
    singular = kind.lower()
    return Served(
        plural=f"{singular}s",
        singular=singular,
        kind=kind,
        namespaced=namespaced,
        verbs=("create",),
        definition=f"io.k8s.api.{package}.v1.{kind}",
    )


class Catalog:
    """All group versions, in the order of discovery: core first, within a group the preferred version first."""

    def __init__(self, registry: Registry, extra: Sequence[GroupVersion] = ()) -> None:
        found: dict[tuple[str, str], GroupVersion] = {}
        for resource in registry.all():
            key = (resource.group, resource.version)
            served = found.setdefault(key, GroupVersion(resource.group, resource.version))
            served.resources.append(served_resource(resource))
        for version in extra:
            shown = found.setdefault((version.group, version.version), GroupVersion(version.group, version.version))
            shown.resources.extend(version.resources)
            shown.resources.sort(key=lambda served: served.plural)
        self.versions = tuple(sorted(found.values(), key=_order))
        self._names = frozenset(
            (version.group, served.plural, name)
            for version in self.versions
            for served in version.resources
            for name in ("", *(sub.name for sub in served.subresources))
        )

    def serves(self, info: RequestInfo) -> bool:
        """Whether there is such a resource or subresource, in whatever version."""
        return (info.group, info.plural, info.subresource) in self._names

    def methods(self, info: RequestInfo) -> list[str]:
        """The HTTP methods that the path of a request is served with; all but resources are read only."""
        served = self._find(info)
        if served is None:
            return [] if info.is_resource else ["GET", "HEAD"]
        if info.subresource:
            verbs = {verb for sub in served.subresources if sub.name == info.subresource for verb in sub.verbs}
        else:
            verbs = {verb for verb in served.verbs if (verb in _OF_ONE_OBJECT) == bool(info.name)}
            if served.namespaced and not info.namespace:
                verbs &= {"list", "watch"}
        return sorted({method for verb in verbs for method in _METHODS[verb]})

    def _find(self, info: RequestInfo) -> Served | None:
        for version in self.versions:
            if (version.group, version.version) == (info.group, info.version):
                return next((served for served in version.resources if served.plural == info.plural), None)
        return None

    def groups(self) -> dict[str, list[GroupVersion]]:
        """Versions by group, the core group left out."""
        groups: dict[str, list[GroupVersion]] = {}
        for version in self.versions:
            if version.group:
                groups.setdefault(version.group, []).append(version)
        return groups

    def core(self) -> list[GroupVersion]:
        return [version for version in self.versions if not version.group]


def _order(version: GroupVersion) -> tuple[int, str, tuple[object, ...]]:
    """Groups in Kubernetes' order; versions of the release as the registry has them, of users' kinds by their names."""
    group = version.group
    order = _PREFERRED_ORDER.index(group) if group in _PREFERRED_ORDER else len(_PREFERRED_ORDER)
    custom = any(served.row is not None and served.row.shape is not None for served in version.resources)
    return order, group, priority(version.version) if custom else ()
