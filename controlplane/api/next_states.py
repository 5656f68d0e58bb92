"""What a write makes of an object: whole, valid, and with its owners; the rules of its kind, its classes and limits.

Large objects of users are worked on beside the event loop. What looks at other objects (classes, limits, addresses)
stays on it, and in the order of Kubernetes' admission: what the server adds by itself is owned by nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar

from controlplane.api.apply.ownership import track_write
from controlplane.api.aside import MUCH_BYTES, aside
from controlplane.api.authn import User
from controlplane.api.classes import Classes
from controlplane.api.limits import Limits
from controlplane.api.object_meta import carry_over, check_metadata, check_uid, initialize, same_object
from controlplane.api.persistence import Current
from controlplane.api.service_addresses import ServiceAddresses
from controlplane.api.subresources import DEFAULTED, UNRECORDED, merge_subresource
from controlplane.store.cache import Cache
from flotilla.api.errors import FieldError, invalid
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import PERSISTENT_VOLUME_CLAIMS, PRIORITY_CLASSES, SERVICES

Change = Callable[[KubeObject], KubeObject | None]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """How a write is to be done, and in whose name. What is ``applied`` says itself who owns which fields.

    ``size_bytes`` is that of the body that asks for it, 0 for what the server writes by itself.
    """

    manager: str
    user: User | None = None
    subresource: str = ""
    dry_run: bool = False
    applied: bool = False
    size_bytes: int = 0


class NextStates:
    """Decides on what the cache shows."""

    def __init__(
        self,
        cache: Cache,
        addresses: ServiceAddresses,
        *,
        clock: Callable[[], datetime],
        make_name: Callable[[str], str],
    ) -> None:
        self._addresses = addresses
        self._registry = cache.registry
        self._classes = Classes(cache)
        self._limits = Limits(cache)
        self._clock = clock
        self._make_name = make_name

    async def foresee(self, resource: Resource, obj: KubeObject) -> None:
        """Wait until the cache shows what a new object refers to. StoreError."""
        await self._classes.know(resource, obj)

    async def create(self, resource: Resource, obj: KubeObject, now: datetime, options: WriteOptions) -> None:
        """Make a valid object of a client's, in place. Invalid, Forbidden."""
        much = options.size_bytes > MUCH_BYTES
        await _compute(partial(self._begin, resource, obj, now, options), much=much)
        self._classes.complete(resource, obj, options.user)
        self._limits.complete(resource, obj)
        await _compute(lambda: _raise_faults(resource, obj, resource.strategy.validate(obj, None)), much=much)
        self._limits.check(resource, obj)

    def _begin(self, resource: Resource, obj: KubeObject, now: datetime, options: WriteOptions) -> None:
        initialize(resource, obj, now, make_name=self._make_name)
        obj["apiVersion"], obj["kind"] = resource.api_version, resource.kind
        resource.strategy.prepare_for_create(obj)
        resource.strategy.default(obj)
        if not options.applied:
            track_write(resource, obj, None, manager=options.manager, now=now, registry=self._registry)

    async def change(
        self, resource: Resource, current: Current, change: Change, options: WriteOptions
    ) -> KubeObject | None:
        """The state to store after ``current``, complete and valid; None if that is what there is. ApiError.

        To be stored without waiting for anything first, if it is a Service: others may be given the same address.
        """
        much = options.user is not None and options.size_bytes + len(current.data) > MUCH_BYTES
        work = partial(self._changed, resource, current, change, options)
        new = await _compute(work, much=much and resource is not PRIORITY_CLASSES)
        if new is None:
            return None
        growing = resource is PERSISTENT_VOLUME_CLAIMS and not options.subresource
        if options.subresource == "resize" or (growing and not new["metadata"].get("deletionTimestamp")):
            self._limits.check(resource, new)
        if resource is SERVICES and not options.subresource:
            self._addresses.assign(new)
        return None if same_object(new, current.obj) else new

    def _changed(
        self, resource: Resource, current: Current, change: Change, options: WriteOptions
    ) -> KubeObject | None:
        old = current.obj
        new = change(current.copy())
        if new is None:
            return None
        if options.subresource:
            new = _part_changed(resource, new, old, options)
        else:
            self._prepare_update(resource, new, old)
        if not options.applied and options.subresource not in UNRECORDED:
            track_write(
                resource,
                new,
                old,
                manager=options.manager,
                now=self._clock(),
                subresource=options.subresource,
                registry=self._registry,
            )
        return new

    def _prepare_update(self, resource: Resource, new: KubeObject, old: KubeObject) -> None:
        carry_over(resource, new, old)
        new["apiVersion"], new["kind"] = resource.api_version, resource.kind
        resource.strategy.default(new)
        self._classes.complete_update(resource, new, old)
        resource.strategy.prepare_for_update(new, old)
        _raise_faults(resource, new, resource.strategy.validate(new, old))


async def _compute(work: Callable[[], _T], *, much: bool) -> _T:
    return await aside(work) if much else work()


def _part_changed(resource: Resource, new: KubeObject, old: KubeObject, options: WriteOptions) -> KubeObject:
    strategy = resource.strategy
    managers = new["metadata"].get("managedFields")
    check_uid(resource, new["metadata"], old["metadata"])
    if options.subresource in DEFAULTED:
        strategy.default(new)
    new = merge_subresource(resource, options.subresource, new, old)
    check_metadata(resource, new, old)
    if options.applied and managers:
        new["metadata"]["managedFields"] = managers
    if resource.shape is not None:
        strategy.default(new)
        _raise_faults(resource, new, strategy.validate(new, old))
    if strategy.validate_subresource is not None:
        _raise_faults(resource, new, strategy.validate_subresource(options.subresource, new, old))
    return new


def _raise_faults(resource: Resource, obj: KubeObject, faults: Sequence[FieldError]) -> None:
    if faults:
        raise invalid(resource.kind, obj["metadata"].get("name") or "", faults, group=resource.group)
