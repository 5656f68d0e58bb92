"""Roles and their bindings: their table columns."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flotilla.api.kinds.columns import AGE, NAME, column
from flotilla.api.kinds.resource import Column
from flotilla.api.objects import KubeObject


def _role(binding: KubeObject, now: datetime) -> str:
    reference = binding.get("roleRef") or {}
    return f"{reference.get('kind', '')}/{reference.get('name', '')}"


def _account(subject: Mapping[str, Any]) -> str:
    return f"{subject.get('namespace') or ''}/{subject.get('name', '')}"


def _subjects(name: str, kind: str, where: str) -> Column:
    def value(binding: KubeObject, now: datetime) -> str:
        found = [subject for subject in binding.get("subjects") or () if subject.get("kind") == kind]
        return ", ".join(
            _account(subject) if kind == "ServiceAccount" else subject.get("name", "") for subject in found
        )

    return column(name, value, description=f"{name} in the {where}", wide=True)


def _binding_columns(where: str) -> tuple[Column, ...]:
    return (
        NAME,
        column("Role", _role, description="The role whose permissions are given."),
        AGE,
        _subjects("Users", "User", where),
        _subjects("Groups", "Group", where),
        _subjects("ServiceAccounts", "ServiceAccount", where),
    )


ROLE_COLUMNS = (
    NAME,
    column(
        "Created At",
        lambda obj, now: obj["metadata"].get("creationTimestamp") or "<unknown>",
        description="When the role was created, in UTC.",
        type_="date",
    ),
)
ROLE_BINDING_COLUMNS = _binding_columns("roleBinding")
CLUSTER_ROLE_BINDING_COLUMNS = _binding_columns("clusterRoleBinding")
