"""The objects this node has been given, and which messages may change them.

Sets and increments may come from several servers, each with its own numbering. What orders them is the store's
revision: a message that reflects an older state than the one applied is refused. A new history id (a restored backup)
is taken in without removing pods until the server has confirmed it; until then the node goes on reporting the old
history, so that no later session mistakes the new one for agreed. Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from flotilla.api.objects import KubeObject, decode

PODS, CONFIG_MAPS, SECRETS = "pods", "configmaps", "secrets"
RUNTIME_CLASSES = "runtimeclasses"
PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES = "persistentvolumeclaims", "persistentvolumes"
SERVICES, ENDPOINT_SLICES, NODES = "services", "endpointslices", "nodes"


class ObjectKey(NamedTuple):
    """An object's place; ``resource`` is the plural."""

    resource: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Held:
    """One object as it came: its JSON and the resourceVersion that orders its states."""

    resource_version: int
    json: bytes


@dataclass(frozen=True, slots=True)
class Moment:
    """The state of the store that something reflects; zero values before anything came."""

    history_id: str = ""
    revision: int = 0


class OutdatedError(Exception):
    """A message reflects an older state than the one applied."""


@dataclass(slots=True)
class Assignments:
    """What the node holds. ``applied`` is agreed with the servers, ``_current`` orders what comes next."""

    applied: Moment = field(default_factory=Moment)
    objects: dict[ObjectKey, Held] = field(default_factory=dict)
    _current: Moment = field(default_factory=Moment)
    _decoded: dict[ObjectKey, KubeObject] = field(default_factory=dict)

    @classmethod
    def restored(cls, applied: Moment, objects: dict[ObjectKey, Held]) -> Assignments:
        """The assignments of a checkpoint."""
        return cls(applied, objects, applied)

    @property
    def settled(self) -> bool:
        """Whether what is held belongs to the history agreed on, so that absence means removal."""
        return self._current.history_id == self.applied.history_id

    def follows(self, moment: Moment) -> bool:
        """Whether a moment belongs to the history that the newest message was of."""
        return moment.history_id == self._current.history_id

    def replace(self, objects: Mapping[ObjectKey, Held], moment: Moment, *, confirmed: bool) -> set[ObjectKey]:
        """Apply a complete set; the keys that changed. Raises OutdatedError.

        Without ``confirmed`` nothing is removed.
        """
        if moment.history_id == self._current.history_id and moment.revision < self._current.revision:
            raise OutdatedError(f"the set is of revision {moment.revision}, applied is {self._current.revision}")
        new_history = moment.history_id != self._current.history_id
        changed = {key for key, held in objects.items() if self._take(key, held, force=new_history)}
        if confirmed:
            changed |= self._drop(self.objects.keys() - objects.keys())
        self._current = moment
        if confirmed or not self.applied.history_id or moment.history_id == self.applied.history_id:
            self.applied = moment
        return changed

    def change(self, changed: Mapping[ObjectKey, Held], removed: Iterable[ObjectKey], moment: Moment) -> set[ObjectKey]:
        """Apply an increment; the keys that changed. Raises OutdatedError when a newer state is applied already."""
        if moment.history_id != self._current.history_id or moment.revision < self._current.revision:
            raise OutdatedError(f"the increment is of revision {moment.revision}, applied is {self._current.revision}")
        touched = {key for key, held in changed.items() if self._take(key, held, force=False)}
        touched |= self._drop(key for key in removed if key in self.objects)
        self._current = moment
        if moment.history_id == self.applied.history_id:
            self.applied = moment
        return touched

    def _take(self, key: ObjectKey, held: Held, *, force: bool) -> bool:
        known = self.objects.get(key)
        if known is not None and (known == held or (known.resource_version > held.resource_version and not force)):
            return False
        self.objects[key] = held
        self._decoded.pop(key, None)
        return True

    def _drop(self, keys: Iterable[ObjectKey]) -> set[ObjectKey]:
        dropped = set(keys)
        for key in dropped:
            del self.objects[key]
            self._decoded.pop(key, None)
        return dropped

    def get(self, resource: str, namespace: str, name: str) -> KubeObject | None:
        """One object, decoded once and shared: read only."""
        key = ObjectKey(resource, namespace, name)
        if key not in self.objects:
            return None
        if key not in self._decoded:
            self._decoded[key] = decode(self.objects[key].json)
        return self._decoded[key]

    def all(self, resource: str) -> list[KubeObject]:
        """All objects of a resource: read only."""
        keys = [key for key in self.objects if key.resource == resource]
        found = [self.get(*key) for key in keys]
        return [obj for obj in found if obj is not None]

    def config_map(self, namespace: str, name: str) -> KubeObject | None:
        return self.get(CONFIG_MAPS, namespace, name)

    def secret(self, namespace: str, name: str) -> KubeObject | None:
        return self.get(SECRETS, namespace, name)

    def claim(self, namespace: str, name: str) -> KubeObject | None:
        return self.get(PERSISTENT_VOLUME_CLAIMS, namespace, name)

    def volume(self, name: str) -> KubeObject | None:
        return self.get(PERSISTENT_VOLUMES, "", name)

    def runtime_class(self, name: str) -> KubeObject | None:
        return self.get(RUNTIME_CLASSES, "", name)
