"""``rbac.authorization.k8s.io``: roles, and whom they are given to."""

from __future__ import annotations

from functools import partial

from flotilla.api.kinds import rbac, rbac_columns
from flotilla.api.kinds.resource import Resource, guarded

_rbac = partial(Resource, group=rbac.GROUP, version="v1")

CLUSTER_ROLE_BINDINGS = _rbac(
    plural="clusterrolebindings",
    singular="clusterrolebinding",
    kind="ClusterRoleBinding",
    namespaced=False,
    definition="io.k8s.api.rbac.v1.ClusterRoleBinding",
    columns=rbac_columns.CLUSTER_ROLE_BINDING_COLUMNS,
    strategy=guarded(rbac.CLUSTER_ROLE_BINDING_STRATEGY),
)
CLUSTER_ROLES = _rbac(
    plural="clusterroles",
    singular="clusterrole",
    kind="ClusterRole",
    namespaced=False,
    definition="io.k8s.api.rbac.v1.ClusterRole",
    columns=rbac_columns.ROLE_COLUMNS,
    strategy=guarded(rbac.CLUSTER_ROLE_STRATEGY),
)
ROLE_BINDINGS = _rbac(
    plural="rolebindings",
    singular="rolebinding",
    kind="RoleBinding",
    namespaced=True,
    definition="io.k8s.api.rbac.v1.RoleBinding",
    columns=rbac_columns.ROLE_BINDING_COLUMNS,
    strategy=guarded(rbac.ROLE_BINDING_STRATEGY),
)
ROLES = _rbac(
    plural="roles",
    singular="role",
    kind="Role",
    namespaced=True,
    definition="io.k8s.api.rbac.v1.Role",
    columns=rbac_columns.ROLE_COLUMNS,
    strategy=guarded(rbac.ROLE_STRATEGY),
)

ROWS = (CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES)
