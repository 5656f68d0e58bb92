"""``metadata.managedFields`` read and written: which manager has set which fields, by which operation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from controlplane.api.apply.field_set import FieldSet, pack, union, unpack
from flotilla.api.objects import KubeObject, format_time

APPLY = "Apply"
UPDATE = "Update"
BEFORE_FIRST_APPLY = "before-first-apply"
ANCIENT_CHANGES = "ancient-changes"
_MAXIMUM_UPDATERS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Manager:
    """One entry. Updates of one manager by different API versions are told apart, applies are not."""

    name: str
    operation: str
    api_version: str
    subresource: str
    time: str
    fields: FieldSet

    def same_as(self, other: Manager) -> bool:
        """Whether both entries are of the same manager."""
        mine = (self.name, self.operation, self.subresource)
        if mine != (other.name, other.operation, other.subresource):
            return False
        return self.operation == APPLY or self.api_version == other.api_version

    def printed(self) -> str:
        """The manager as conflicts name it."""
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        if self.operation == UPDATE:
            text += f" using {self.api_version}"
            if self.time:
                text += f" at {self.time}"
        return text

    def with_fields(self, fields: FieldSet, now: datetime) -> Manager:
        """The entry with other fields, dated ``now`` if they are other ones indeed."""
        return self if fields == self.fields else replace(self, fields=fields, time=format_time(now))


def read_managers(entries: Sequence[KubeObject] | None) -> list[Manager]:
    """The managers that ``managedFields`` lists. ValueError for entries that are not of its form."""
    return [_read(entry) for entry in entries or ()]


def _read(entry: Any) -> Manager:
    if not isinstance(entry, dict) or entry.get("operation") not in (APPLY, UPDATE):
        raise ValueError("an entry of managedFields must be an object with operation Apply or Update")
    return Manager(
        name=str(entry.get("manager") or ""),
        operation=entry["operation"],
        api_version=str(entry.get("apiVersion") or ""),
        subresource=str(entry.get("subresource") or ""),
        time=str(entry.get("time") or ""),
        fields=unpack(entry.get("fieldsV1") or {}),
    )


def write_managers(managers: Sequence[Manager], now: datetime) -> list[KubeObject]:
    """The entries for ``managedFields``: those with fields, in Kubernetes' order, not too many."""
    kept = _capped([manager for manager in managers if manager.fields], now)
    ordered = sorted(kept, key=lambda m: (m.operation, m.time, m.name, m.api_version, m.subresource))
    return [_entry(manager) for manager in ordered]


def _entry(manager: Manager) -> KubeObject:
    entry: KubeObject = {"manager": manager.name, "operation": manager.operation, "apiVersion": manager.api_version}
    if manager.time:
        entry["time"] = manager.time
    entry |= {"fieldsType": "FieldsV1", "fieldsV1": pack(manager.fields)}
    if manager.subresource:
        entry["subresource"] = manager.subresource
    return entry


def _capped(managers: list[Manager], now: datetime) -> list[Manager]:
    """Fold the oldest updaters into one entry where there are more than ten of them."""
    updaters = sorted((m for m in managers if m.operation == UPDATE and not m.subresource), key=lambda m: m.time)
    surplus = len(updaters) - _MAXIMUM_UPDATERS
    if surplus <= 0:
        return managers
    folded = updaters[: surplus + 1]
    fields: FieldSet = {}
    for manager in folded:
        fields = union(fields, manager.fields)
    ancient = replace(folded[-1], name=ANCIENT_CHANGES, fields=fields, time=folded[-1].time or format_time(now))
    return [manager for manager in managers if manager not in folded] + [ancient]
