"""The cluster roles and bindings that every cluster has, by Kubernetes' names: what people bind their users to.

``admin``, ``edit`` and ``view`` are put together from roles that carry a label; any other role that carries it is added
to them, which is how definitions of custom resources become visible to ordinary users.
Source: ``k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy``, without the roles of Kubernetes' own
controllers, which have no users of their own here.
"""

from __future__ import annotations

from collections.abc import Sequence

from flotilla.api.kinds.rbac import GROUP
from flotilla.api.objects import KubeObject

_READ = ["get", "list", "watch"]
_WRITE = ["create", "delete", "deletecollection", "patch", "update"]
_AGGREGATE = f"{GROUP}/aggregate-to-"
_ANNOTATIONS = {"rbac.authorization.kubernetes.io/autoupdate": "true"}
_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_REVIEWS = "authorization.k8s.io"
_HEALTH = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
_DISCOVERY = ["/api", "/api/*", "/apis", "/apis/*", *_HEALTH[:3], "/openapi", "/openapi/*", *_HEALTH[3:]]
_POD_STREAMS = ["pods/attach", "pods/exec", "pods/portforward", "pods/proxy"]
_CORE = [
    "configmaps",
    "endpoints",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "replicationcontrollers/scale",
    "serviceaccounts",
    "services",
]
_WORKLOADS = ["deployments", "deployments/scale", "replicasets", "replicasets/scale", "statefulsets"]
_GROUPS: tuple[tuple[str, list[str], list[str]], ...] = (
    (
        "apps",
        ["daemonsets", *_WORKLOADS, "statefulsets/scale"],
        ["controllerrevisions", "daemonsets/status", "deployments/status", "replicasets/status", "statefulsets/status"],
    ),
    ("autoscaling", ["horizontalpodautoscalers"], ["horizontalpodautoscalers/status"]),
    ("batch", ["cronjobs", "jobs"], ["cronjobs/status", "jobs/status"]),
    ("policy", ["poddisruptionbudgets"], ["poddisruptionbudgets/status"]),
    ("networking.k8s.io", ["ingresses", "networkpolicies"], ["ingresses/status"]),
)


def _rule(verbs: Sequence[str], group: str, resources: Sequence[str]) -> KubeObject:
    return {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}


def _paths(paths: Sequence[str]) -> KubeObject:
    return {"nonResourceURLs": list(paths), "verbs": ["get"]}


def _metadata(name: str, **labels: str) -> KubeObject:
    return {"name": name, "labels": {**_LABELS, **labels}, "annotations": dict(_ANNOTATIONS)}


def _role(name: str, rules: Sequence[KubeObject], *, part_of: str = "") -> KubeObject:
    labels = {f"{_AGGREGATE}{part_of}": "true"} if part_of else {}
    return {"metadata": _metadata(name, **labels), "rules": list(rules)}


def _aggregated(name: str, rules: Sequence[KubeObject], *, part_of: str = "") -> KubeObject:
    selector = {"matchLabels": {f"{_AGGREGATE}{name}": "true"}}
    return _role(name, rules, part_of=part_of) | {"aggregationRule": {"clusterRoleSelectors": [selector]}}


def _view_rules() -> list[KubeObject]:
    statuses = ["persistentvolumeclaims/status", "services/status"]
    observed = ["namespaces/status", "pods/log", "pods/status", "replicationcontrollers/status"]
    quotas = ["bindings", "events", "limitranges", "resourcequotas", "resourcequotas/status"]
    rules = [_rule(_READ, "", sorted([*_CORE, *statuses])), _rule(_READ, "", sorted([*quotas, *observed]))]
    rules.append(_rule(_READ, "", ["namespaces"]))
    rules.append(_rule(_READ, "discovery.k8s.io", ["endpointslices"]))
    return rules + [_rule(_READ, group, sorted([*kinds, *more])) for group, kinds, more in _GROUPS]


def _edit_rules() -> list[KubeObject]:
    return [
        _rule(_READ, "", sorted([*_POD_STREAMS, "secrets", "services/proxy"])),
        _rule(["impersonate"], "", ["serviceaccounts"]),
        _rule(_WRITE, "", sorted([*_POD_STREAMS, "pods"])),
        _rule(["create"], "", ["pods/eviction"]),
        _rule(_WRITE, "", sorted([*(kind for kind in _CORE if kind != "pods"), "events", "secrets", "services/proxy"])),
        _rule(["create"], "", ["serviceaccounts/token"]),
        *(_rule(_WRITE, group, sorted(kinds)) for group, kinds, _ in _GROUPS),
        _rule([*_WRITE, *_READ], "coordination.k8s.io", ["leases"]),
    ]


def _admin_rules() -> list[KubeObject]:
    return [
        _rule(["create"], _REVIEWS, ["localsubjectaccessreviews"]),
        _rule([*_WRITE, *_READ], GROUP, ["rolebindings", "roles"]),
    ]


def cluster_roles() -> list[KubeObject]:
    """The roles, parts before what is put together from them."""
    view, edit, admin = _view_rules(), _edit_rules(), _admin_rules()
    everything = [_rule(["*"], "*", ["*"]), {"nonResourceURLs": ["*"], "verbs": ["*"]}]
    self_reviews = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]
    metrics = ["/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/slis", "/readyz", "/readyz/*"]
    return [
        _role("cluster-admin", everything),
        _role("system:discovery", [_paths(_DISCOVERY)]),
        _role("system:public-info-viewer", [_paths(_HEALTH)]),
        _role("system:monitoring", [_paths(metrics)]),
        _role(
            "system:basic-user",
            [
                _rule(["create"], _REVIEWS, self_reviews),
                _rule(["create"], "authentication.k8s.io", ["selfsubjectreviews"]),
            ],
        ),
        _role(
            "system:auth-delegator",
            [
                _rule(["create"], "authentication.k8s.io", ["tokenreviews"]),
                _rule(["create"], _REVIEWS, ["subjectaccessreviews"]),
            ],
        ),
        _role(
            "system:kubelet-api-admin",
            [
                _rule(_READ, "", ["nodes"]),
                _rule(["proxy"], "", ["nodes"]),
                _rule(["*"], "", ["nodes/log", "nodes/metrics", "nodes/proxy", "nodes/stats"]),
            ],
        ),
        _role("system:aggregate-to-view", view, part_of="view"),
        _role("system:aggregate-to-edit", edit, part_of="edit"),
        _role("system:aggregate-to-admin", admin, part_of="admin"),
        _aggregated("view", view, part_of="edit"),
        _aggregated("edit", [*edit, *view], part_of="admin"),
        _aggregated("admin", [*edit, *view, *admin]),
    ]


def _binding(role: str, *groups: str) -> KubeObject:
    return {
        "metadata": _metadata(role),
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": GROUP, "kind": "Group", "name": group} for group in groups],
    }


def cluster_role_bindings() -> list[KubeObject]:
    """Which groups have which of the roles."""
    return [
        _binding("cluster-admin", "system:masters"),
        _binding("system:basic-user", "system:authenticated"),
        _binding("system:discovery", "system:authenticated"),
        _binding("system:monitoring", "system:monitoring"),
        _binding("system:public-info-viewer", "system:authenticated", "system:unauthenticated"),
    ]
