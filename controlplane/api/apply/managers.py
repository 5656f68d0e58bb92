"""``metadata.managedFields`` read and written: which manager has set which fields, by which operation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from controlplane.api.apply.field_set import FieldSet, checked, union
from flotilla.api.objects import KubeObject, format_time, parse_time

APPLY = "Apply"
UPDATE = "Update"
BEFORE_FIRST_APPLY = "before-first-apply"
ANCIENT_CHANGES = "ancient-changes"
_MAXIMUM_UPDATERS = 10
_LONGEST_NAME = 128


class Manager(NamedTuple):
    """One entry. Updates of one manager by different API versions are told apart, applies are not.

    A tuple, because every write makes one for each manager of the object.
    """

    name: str
    operation: str
    api_version: str
    subresource: str
    time: str
    fields: FieldSet

    def same_as(self, other: Manager) -> bool:
        """Whether both entries are of the same manager."""
        return (
            self.name == other.name
            and self.operation == other.operation
            and self.subresource == other.subresource
            and (self.operation == APPLY or self.api_version == other.api_version)
        )

    def printed(self) -> str:
        """The manager as conflicts name it."""
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return f"{text} using {self.api_version}" if self.operation == UPDATE else text

    def owning(self, fields: FieldSet) -> Manager:
        """The entry with other fields; its time stays, because it is not its doing."""
        return self if fields is self.fields else self._replace(fields=fields)


def read_managers(entries: Sequence[KubeObject] | None) -> list[Manager]:
    """The managers that stored ``managedFields`` list."""
    return [_manager(entry) for entry in entries or ()]


def _manager(entry: KubeObject) -> Manager:
    return Manager(
        name=entry.get("manager") or "",
        operation=entry["operation"],
        api_version=entry.get("apiVersion") or "",
        subresource=entry.get("subresource") or "",
        time=entry.get("time") or "",
        fields=entry.get("fieldsV1") or {},
    )


def read_sent_managers(entries: Any) -> list[Manager]:
    """The managers that a client's ``managedFields`` list. ValueError for entries that are not of its form."""
    if not isinstance(entries, list):
        raise ValueError("managedFields must be a list")
    return [_checked_manager(entry) for entry in entries]


def _checked_manager(entry: Any) -> Manager:
    if not isinstance(entry, dict) or entry.get("operation") not in (APPLY, UPDATE):
        raise ValueError("an entry of managedFields must be an object with operation Apply or Update")
    if entry.get("fieldsType") != "FieldsV1" or not entry.get("apiVersion"):
        raise ValueError("an entry of managedFields must have an apiVersion and fieldsType FieldsV1")
    texts = [entry.get(name) or "" for name in ("manager", "apiVersion", "subresource", "time")]
    if not all(isinstance(text, str) for text in texts) or len(texts[0]) > _LONGEST_NAME:
        raise ValueError("an entry of managedFields has a malformed manager, subresource or time")
    if texts[3]:
        parse_time(texts[3])
    checked(entry.get("fieldsV1") or {})
    return _manager(entry)


def write_managers(managers: Sequence[Manager]) -> list[KubeObject]:
    """The entries for ``managedFields``: those with fields, in Kubernetes' order."""
    kept = [manager for manager in managers if manager.fields]
    if len(kept) > 1:
        kept.sort(key=lambda m: (m.operation, m.time, m.name, m.api_version, m.subresource))
    return [_entry(manager) for manager in kept]


def _entry(manager: Manager) -> KubeObject:
    entry: KubeObject = {"manager": manager.name, "operation": manager.operation, "apiVersion": manager.api_version}
    if manager.time:
        entry["time"] = manager.time
    entry["fieldsType"] = "FieldsV1"
    entry["fieldsV1"] = manager.fields
    if manager.subresource:
        entry["subresource"] = manager.subresource
    return entry


def cap_updaters(managers: list[Manager], now: datetime) -> list[Manager]:
    """Fold the oldest updaters of a version into one entry for as long as there are more than ten in all."""
    if len(managers) <= _MAXIMUM_UPDATERS:
        return managers
    updaters = sorted((m for m in managers if m.operation == UPDATE and m.fields), key=lambda m: (m.time, m.name))
    surplus = len(updaters) - _MAXIMUM_UPDATERS
    folded: dict[str, list[Manager]] = {}
    for manager in updaters:
        if surplus <= 0:
            break
        group = folded.setdefault(manager.api_version, [])
        group.append(manager)
        surplus -= len(group) > 1
    ancient = [_ancient(group, now) for group in folded.values() if len(group) > 1]
    if not ancient:
        return managers
    gone = {id(manager) for group in folded.values() if len(group) > 1 for manager in group}
    return [manager for manager in managers if id(manager) not in gone] + ancient


def _ancient(group: Sequence[Manager], now: datetime) -> Manager:
    fields: FieldSet = {}
    for manager in group:
        fields = union(fields, manager.fields)
    time = group[-1].time or format_time(now)
    return group[-1]._replace(name=ANCIENT_CHANGES, subresource="", fields=fields, time=time)
