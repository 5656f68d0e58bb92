"""Everything that can be done to objects, without HTTP: the one way into the store for users and controllers alike.

A write starts from the cached state, defaults, validates and stores it under the condition that the store still has
that state. Nothing is read first: if the state was old, the store refuses and says what the newest one is, and the
write is decided again on that. A refusal or a "nothing to change" that was decided on a cached state is checked against
the store's current revision before it is believed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime

from controlplane.api.admission import refuse_protected
from controlplane.api.apply.merge import Application, apply_config
from controlplane.api.deletion import DeleteOptions, check_preconditions, is_finished, plan_deletion
from controlplane.api.event_leases import EventLeases
from controlplane.api.next_states import Change, NextStates, WriteOptions
from controlplane.api.object_meta import check_uid, place
from controlplane.api.persistence import Current, Persistence, current_of, encode_stored, stamped, store_errors
from controlplane.api.quota_admission import QuotaAdmission, Wanted
from controlplane.api.service_addresses import ServiceAddresses
from controlplane.api.write_rules import created_by_update, updated_at_any_version
from controlplane.quota.ledger import Ledger
from controlplane.store.cache import Cache
from controlplane.store.store import LeaseNotFoundError, RevisionConflictError, Store
from flotilla.api.errors import (
    STALE_OBJECT,
    ApiError,
    FieldError,
    already_exists,
    conflict,
    forbidden,
    invalid,
    method_not_allowed,
    name_not_generated,
    not_found,
)
from flotilla.api.names import generate_name
from flotilla.api.objects import KubeObject, decode, encode, resource_version_of
from flotilla.api.registry import Resource
from flotilla.api.resources import EVENTS, NAMESPACES, RESOURCE_QUOTAS, SERVICES

_NAME_ATTEMPTS = 8
_QUOTA_MANAGER = "kube-apiserver"


@dataclass(frozen=True, slots=True)
class Deleted:
    """The outcome of a delete: the last state if ``removed``, the state that stays for now otherwise."""

    obj: KubeObject
    removed: bool


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Operations:
    """Implements :class:`controlplane.reconcile.objects.Objects`, and what the HTTP verbs need beyond it.

    One instance for users on the plain store; reconcilers get one on a fenced store that shares ``addresses`` and
    ``ledger``.
    """

    def __init__(
        self,
        store: Store,
        cache: Cache,
        *,
        addresses: ServiceAddresses | None = None,
        ledger: Ledger | None = None,
        clock: Callable[[], datetime] = _utc_now,
        make_name: Callable[[str], str] = generate_name,
    ) -> None:
        self.cache = cache
        self.store = store
        self.addresses = addresses or ServiceAddresses(cache)
        self.ledger = ledger or Ledger(cache)
        self._quotas = QuotaAdmission(cache, self.ledger, self._change_quota)
        self._persistence = Persistence(store, cache)
        self._registry = cache.registry
        self._states = NextStates(cache, self.addresses, clock=clock, make_name=make_name)
        self._event_leases = EventLeases(store, count=lambda: cache.count(EVENTS))
        self._clock = clock

    async def get(self, resource: Resource, namespace: str, name: str) -> KubeObject:
        """The newest state; reflects every write acknowledged before the call. Read-only. NotFound."""
        with store_errors():
            await self.cache.barrier()
        entry = self.cache.get(resource, namespace, name)
        if entry is None:
            raise not_found(resource.plural, name, group=resource.group)
        return entry.obj

    async def create(self, resource: Resource, obj: KubeObject, *, manager: str) -> KubeObject:
        """Store a new object. AlreadyExists, Invalid; NotFound or Forbidden for its namespace."""
        private = dict(obj) | {"metadata": dict(obj.get("metadata") or {})}
        namespace = private["metadata"].get("namespace") or ""
        return await self.create_with(resource, namespace, _deep_copy(private), WriteOptions(manager=manager))

    async def create_with(
        self, resource: Resource, namespace: str, obj: KubeObject, options: WriteOptions
    ) -> KubeObject:
        """``create`` of a private ``obj``, which is edited, in ``namespace``."""
        if "create" not in resource.verbs:
            raise method_not_allowed()
        place(resource, obj, namespace)
        if resource.namespaced:
            await self._require_namespace(resource, namespace, obj)
        with store_errors():
            await self._states.foresee(resource, obj)
        generated = not obj["metadata"].get("name")
        for attempt in range(_NAME_ATTEMPTS):
            try:
                return await self._create_once(resource, obj, options)
            except ApiError as error:
                if not generated or error.reason != "AlreadyExists":
                    raise
                if attempt == _NAME_ATTEMPTS - 1:
                    raise name_not_generated(error) from error
                obj["metadata"]["name"] = ""
        raise AssertionError("unreachable")

    async def _create_once(self, resource: Resource, obj: KubeObject, options: WriteOptions) -> KubeObject:
        now = self._clock()
        await self._states.create(resource, obj, now, options)
        if resource is SERVICES:
            self._refuse_known(resource, obj)
            self.addresses.assign(obj)
        wanted = Wanted(resource, obj, None, now)
        quotas = self._quotas.concerned(wanted)
        if options.dry_run:
            encode_stored(obj)
            await self._refuse_existing(resource, obj)
            await self._quotas.check(wanted, quotas)
            return obj
        with self._holding(resource, obj):
            if not quotas:
                return await self._store_new(resource, obj)
            async with self._quotas.charging(wanted, quotas) as charge:
                stored = await self._store_new(resource, obj)
                charge.stored_at = resource_version_of(stored)
                return stored

    async def _store_new(self, resource: Resource, obj: KubeObject) -> KubeObject:
        return await self._leased(resource, lambda lease: self._persistence.create(resource, obj, lease=lease))

    async def _change_quota(self, namespace: str, name: str, change: Change, *, dry_run: bool) -> None:
        options = WriteOptions(manager=_QUOTA_MANAGER, subresource="status", dry_run=dry_run)
        await self.change(RESOURCE_QUOTAS, namespace, name, change, options)

    def _holding(self, resource: Resource, obj: KubeObject) -> AbstractContextManager[None]:
        return self.addresses.held(obj) if resource is SERVICES else nullcontext()

    def _refuse_known(self, resource: Resource, obj: KubeObject) -> None:
        """AlreadyExists rather than "address already allocated" where a Service is created again as it is."""
        metadata = obj["metadata"]
        if self.cache.get(resource, metadata.get("namespace") or "", metadata["name"]):
            raise already_exists(resource.plural, metadata["name"], group=resource.group)

    async def _refuse_existing(self, resource: Resource, obj: KubeObject) -> None:
        metadata = obj["metadata"]
        if await self._persistence.read(resource, metadata.get("namespace") or "", metadata["name"]):
            raise already_exists(resource.plural, metadata["name"], group=resource.group)

    async def _require_namespace(self, resource: Resource, namespace: str, obj: KubeObject) -> None:
        current = await self._persistence.find(NAMESPACES, "", namespace)
        if current is None:
            raise not_found("namespaces", namespace)
        if current.obj["metadata"].get("deletionTimestamp"):
            name = obj["metadata"].get("name") or obj["metadata"].get("generateName") or ""
            raise _namespace_terminating(resource, namespace, name)

    async def update(self, resource: Resource, obj: KubeObject, *, manager: str, subresource: str = "") -> KubeObject:
        """Replace an object at its resourceVersion, or whatever it is now if that is unset. Conflict, NotFound."""
        options = WriteOptions(manager=manager, subresource=subresource)
        stored = await self._replace(resource, obj, options)
        if stored is None:
            raise not_found(resource.plural, obj["metadata"]["name"], group=resource.group)
        return stored

    async def update_with(self, resource: Resource, obj: KubeObject, options: WriteOptions) -> tuple[KubeObject, bool]:
        """``update`` by a user: what is stored then, and whether it was created. The object names its own place.

        Kinds differ in whether they may be updated without a resourceVersion (Invalid where they may not), and whether
        an update makes what is not there (NotFound where it does not).
        """
        metadata = obj["metadata"]
        if not metadata.get("resourceVersion") and not options.subresource and not updated_at_any_version(resource):
            raise _version_required(resource, metadata["name"])
        while True:
            stored = await self._replace(resource, obj, options)
            if stored is not None:
                return stored, False
            if options.subresource or not created_by_update(resource):
                raise not_found(resource.plural, metadata["name"], group=resource.group)
            new = _deep_copy(obj)
            new["metadata"].pop("resourceVersion", None)
            try:
                return await self.create_with(resource, metadata.get("namespace") or "", new, options), True
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise

    async def _replace(self, resource: Resource, obj: KubeObject, options: WriteOptions) -> KubeObject | None:
        metadata = obj["metadata"]
        expected = metadata.get("resourceVersion") or ""

        def replace(current: KubeObject) -> KubeObject:
            if expected and current["metadata"]["resourceVersion"] != expected:
                raise conflict(resource.plural, metadata["name"], STALE_OBJECT, group=resource.group)
            return _deep_copy(obj)

        return await self.change(resource, metadata.get("namespace") or "", metadata["name"], replace, options)

    async def mutate(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Change,
        *,
        manager: str,
        subresource: str = "",
    ) -> KubeObject | None:
        """Read the newest state, let ``change`` edit a private copy, write it; repeats on Conflict."""
        options = WriteOptions(manager=manager, subresource=subresource)
        return await self.change(resource, namespace, name, change, options)

    async def change(
        self, resource: Resource, namespace: str, name: str, change: Change, options: WriteOptions
    ) -> KubeObject | None:
        """``mutate`` with options. The result is read-only where nothing had to be written."""
        current = await self._persistence.find(resource, namespace, name)
        while current is not None:
            try:
                new = await self._states.change(resource, current, change, options)
            except ApiError:
                newer = await self._confirm(resource, namespace, name, current)
                if newer is current:
                    raise
                current = newer
                continue
            if new is None:
                newer = await self._confirm(resource, namespace, name, current)
                if newer is current:
                    return current.obj
                current = newer
                continue
            try:
                return await self._write(resource, new, current, options)
            except RevisionConflictError as error:
                current = current_of(resource, error.current)
        return None

    async def apply(
        self, resource: Resource, namespace: str, name: str, application: Application, options: WriteOptions
    ) -> tuple[KubeObject, bool]:
        """Server-side apply: what is stored then, and whether it was created. Conflict with other managers."""

        wanted = application.config["metadata"]

        def merge(live: KubeObject) -> KubeObject:
            version = live["metadata"]["resourceVersion"]
            if wanted.get("resourceVersion", version) != version:
                raise conflict(resource.plural, name, STALE_OBJECT, group=resource.group)
            check_uid(resource, wanted, live["metadata"])
            return apply_config(resource, live, application, now=self._clock(), registry=self._registry)

        while True:
            stored = await self.change(resource, namespace, name, merge, options)
            if stored is not None:
                return stored, False
            if options.subresource or wanted.get("resourceVersion"):
                raise not_found(resource.plural, name, group=resource.group)
            if wanted.get("uid"):
                where = f"specified uid {wanted['uid']}, and no existing object was found"
                why = f"uid mismatch: the provided object {where}"
                raise conflict(resource.plural, name, why, group=resource.group)
            new = apply_config(resource, None, application, now=self._clock(), registry=self._registry)
            try:
                return await self.create_with(resource, namespace, new, options), True
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise

    async def _confirm(self, resource: Resource, namespace: str, name: str, current: Current) -> Current | None:
        """``current`` itself if the store still has it, what the store has otherwise."""
        if current.fresh:
            return current
        with store_errors():
            await self.cache.barrier()
        newest = self._persistence.cached(resource, namespace, name)
        return current if newest is not None and newest.revision == current.revision else newest

    async def _write(self, resource: Resource, new: KubeObject, current: Current, options: WriteOptions) -> KubeObject:
        wanted = Wanted(resource, new, current.obj, self._clock())
        quotas = self._quotas.concerned(wanted, subresource=options.subresource)
        if options.dry_run:
            encode_stored(new)
            await self._quotas.check(wanted, quotas)
            return stamped(new, current.revision)
        if is_finished(resource, new):
            return await self._persistence.remove(resource, new, expected=current.revision)
        with self._holding(resource, new):
            if not quotas:
                return await self._store_over(resource, new, current)
            async with self._quotas.charging(wanted, quotas) as charge:
                stored = await self._store_over(resource, new, current)
                charge.stored_at = resource_version_of(stored)
                return stored

    async def _store_over(self, resource: Resource, new: KubeObject, current: Current) -> KubeObject:
        expected = current.revision
        return await self._leased(
            resource, lambda lease: self._persistence.replace(resource, new, expected=expected, lease=lease)
        )

    async def _leased(self, resource: Resource, write: Callable[[int], Awaitable[KubeObject]]) -> KubeObject:
        """``write`` under the lease that its kind needs, 0 for none; once more where the store has lost the lease."""
        if resource.hub is not EVENTS:
            return await write(0)
        try:
            with store_errors():
                return await write(await self._event_leases.current())
        except LeaseNotFoundError:
            self._event_leases.forget()
        with store_errors():
            return await write(await self._event_leases.current())

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        manager: str,
        uid: str = "",
        grace_period_s: int | None = None,
        propagation: str = "Background",
    ) -> None:
        """Delete as the API does (grace, finalizers, propagation). NotFound; Conflict if ``uid`` is another's."""
        options = DeleteOptions(grace_period_s=grace_period_s, propagation=propagation, uid=uid)
        await self.delete_with(resource, namespace, name, options)

    async def delete_with(self, resource: Resource, namespace: str, name: str, options: DeleteOptions) -> Deleted:
        """``delete`` with options; what became of the object."""
        refuse_protected(resource, name)
        current = await self._persistence.find(resource, namespace, name)
        while current is not None:
            try:
                check_preconditions(resource, current.obj, options)
            except ApiError:
                newer = await self._confirm(resource, namespace, name, current)
                if newer is current:
                    raise
                current = newer
                continue
            try:
                deleted = await self._delete_current(resource, current, options)
            except RevisionConflictError as error:
                current = current_of(resource, error.current)
                continue
            if deleted is not None:
                return deleted
            newer = await self._confirm(resource, namespace, name, current)
            if newer is current:
                return Deleted(current.obj, removed=False)
            current = newer
        raise not_found(resource.plural, name, group=resource.group)

    async def _delete_current(self, resource: Resource, current: Current, options: DeleteOptions) -> Deleted | None:
        """One attempt on ``current``; None if there is nothing to change about it."""
        plan = plan_deletion(resource, current.copy(), options, now=self._clock())
        if not plan.changed:
            return None
        if options.dry_run:
            return Deleted(plan.obj, removed=plan.remove)
        if plan.remove:
            obj = await self._persistence.remove(resource, plan.obj, expected=current.revision)
            return Deleted(obj, removed=True)
        obj = await self._persistence.replace(resource, plan.obj, expected=current.revision)
        return Deleted(obj, removed=False)


def _version_required(resource: Resource, name: str) -> ApiError:
    """The refusal of an update without a resourceVersion; Kubernetes names the resource where the kind belongs."""
    fault = FieldError("metadata.resourceVersion", "Invalid value: 0x0: must be specified for an update")
    return invalid(resource.plural, name, [fault], group=resource.group)


def _namespace_terminating(resource: Resource, namespace: str, name: str) -> ApiError:
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    qualified = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
    error = forbidden(f'{qualified} "{name}" is forbidden: {why}')
    cause = {"reason": "NamespaceTerminating", "message": f"namespace {namespace} is being terminated"}
    error.details = {"name": name, "kind": resource.plural, "causes": [cause | {"field": "metadata.namespace"}]}
    return error


def _deep_copy(obj: KubeObject) -> KubeObject:
    copy: KubeObject = decode(encode(obj))
    return copy
