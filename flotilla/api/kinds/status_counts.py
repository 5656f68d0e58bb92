"""Validation of the numbers in a status: controllers write them, and clients add them up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import invalid, negative
from flotilla.api.kinds.resource import SubresourceValidator
from flotilla.api.objects import KubeObject


def _more_than(status: Mapping[str, Any], field: str, limit: str, *, shown: str) -> list[FieldError]:
    count = status.get(field) or 0
    if count <= (status.get(limit) or 0):
        return []
    return [invalid(f"status.{field}", count, f"cannot be greater than {shown}")]


def _decremented(status: Mapping[str, Any], was: Mapping[str, Any]) -> list[FieldError]:
    new, old = status.get("collisionCount"), was.get("collisionCount")
    if old is None or (new is not None and new >= old):
        return []
    return [invalid("status.collisionCount", new or 0, "cannot be decremented")]


def counts_status(fields: Iterable[str], *, parts: Iterable[str] = (), ready: str = "") -> SubresourceValidator:
    """The rules of a status whose ``fields`` count something, for writes through the subresource of that name.

    ``parts`` are those that count a part of ``replicas``; where ``ready`` names the ready ones as messages do, those
    that are available must be among them. The count of collisions never falls.
    """
    counts, shares = tuple(fields), tuple(parts)

    def validate(subresource: str, obj: KubeObject, old: KubeObject) -> list[FieldError]:
        if subresource != "status":
            return []
        status = obj.get("status") or {}
        errors = [error for field in counts for error in negative(f"status.{field}", status.get(field))]
        for field in shares:
            errors += _more_than(status, field, "replicas", shown="status.replicas")
        if ready:
            errors += _more_than(status, "availableReplicas", "readyReplicas", shown=ready)
        return errors + _decremented(status, old.get("status") or {})

    return validate
