"""Holds writes to the ResourceQuotas of their namespace, as Kubernetes' admission plug-in ResourceQuota does.

What an object will use is written into the status of every quota that counts it before the object itself is stored: a
compare-and-set write, so that no two writes are allowed the same rest. If the object is not stored after all, the
quota's controller counts again and gives it back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from controlplane.quota.amounts import Amounts, amounts_of, listed, shown
from controlplane.quota.ledger import Charge, Ledger
from controlplane.quota.scopes import in_scopes
from controlplane.quota.usage import is_counted, missing, tracked, usage_of
from controlplane.store.cache import Cache
from flotilla.api.errors import ApiError, forbidden
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_QUOTAS, SERVICES

_UPDATED = (PERSISTENT_VOLUME_CLAIMS, SERVICES)
"""Kinds whose updates may change what they use."""

_NOT_STORED = frozenset({"ServiceUnavailable", "Timeout", "InternalError"})


class ChangeQuota(Protocol):
    """Changes the status of a quota, of which it may be None that is left; with ``dry_run`` only decides."""

    async def __call__(
        self, namespace: str, name: str, change: Callable[[KubeObject], KubeObject | None], *, dry_run: bool
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """A write that quotas are to be asked about; ``old`` is None for a new object."""

    resource: Resource
    new: KubeObject
    old: Mapping[str, Any] | None
    now: datetime

    def beyond(self, quota: Mapping[str, Any]) -> dict[str, int]:
        """What the write adds to the used amounts of one quota. Forbidden if the object does not say what it must."""
        names = tracked(self.resource, ((quota.get("status") or {}).get("hard") or {}).keys())
        spec = quota.get("spec") or {}
        if not names or not in_scopes(spec, self.resource, self.new):
            return {}
        unsaid = missing(self.new, names) if self.resource is PODS else ""
        if unsaid:
            raise self.refusal(f"failed quota: {quota['metadata']['name']}: {unsaid}")
        usage = usage_of(self.resource, self.new, now=self.now)
        before: Amounts = {}
        if self.old is not None and in_scopes(spec, self.resource, self.old):
            before = usage_of(self.resource, self.old, now=self.now)
        added = {name: usage.get(name, 0) - before.get(name, 0) for name in names}
        return {name: amount for name, amount in added.items() if amount > 0}

    def refusal(self, why: str) -> ApiError:
        """Forbidden, worded as the plug-in does."""
        resource, name = self.resource, self.new["metadata"].get("name") or ""
        qualified = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
        error = forbidden(f'{qualified} "{name}" is forbidden: {why}')
        group = {"group": resource.group} if resource.group else {}
        error.details = {"name": name, **group, "kind": resource.plural}
        return error


def charged(quota: KubeObject, wanted: Wanted) -> dict[str, int]:
    """Add to the quota's status, in place, what a write uses, and return that. Forbidden where it would exceed it."""
    added = wanted.beyond(quota)
    if not added:
        return {}
    name, status = quota["metadata"]["name"], quota["status"]
    used = amounts_of(status.get("used"))
    unknown = sorted(added.keys() - used.keys())
    if unknown:
        raise wanted.refusal(f"status unknown for quota: {name}, resources: {','.join(unknown)}")
    hard = amounts_of(status["hard"])
    exceeded = [each for each, amount in added.items() if used[each] + amount > hard[each]]
    if exceeded:
        requested, had, limits = (listed({each: of[each] for each in exceeded}) for of in (added, used, hard))
        why = f"exceeded quota: {name}, requested: {requested}, used: {had}, limited: {limits}"
        raise wanted.refusal(why)
    status["used"] = status["used"] | {each: shown(each, used[each] + amount) for each, amount in added.items()}
    return added


class QuotaAdmission:
    """Asks the quotas that the cache shows. ``ledger`` is shared by all who write for this server."""

    def __init__(self, cache: Cache, ledger: Ledger, change: ChangeQuota) -> None:
        self._cache = cache
        self._ledger = ledger
        self._change = change

    def concerned(self, wanted: Wanted, *, subresource: str = "") -> Sequence[str]:
        """The quotas that a write has to be charged to. Forbidden as :func:`charged`, for what can be told so early."""
        resource = wanted.resource
        if not is_counted(resource) or not self._cache.count(RESOURCE_QUOTAS):
            return ()
        if subresource and (resource is not PODS or subresource != "resize"):
            return ()
        if wanted.old is not None and not subresource and resource not in _UPDATED:
            return ()
        namespace = wanted.new["metadata"].get("namespace") or ""
        return [entry.name for entry in self._cache.list(RESOURCE_QUOTAS, namespace) if wanted.beyond(entry.obj)]

    async def check(self, wanted: Wanted, quotas: Sequence[str]) -> None:
        """Forbidden where one of the quotas would be exceeded; nothing is charged."""
        for name in quotas:
            await self._change(
                wanted.new["metadata"]["namespace"], name, lambda quota: _decided(quota, wanted, None), dry_run=True
            )

    @asynccontextmanager
    async def charging(self, wanted: Wanted, quotas: Sequence[str]) -> AsyncIterator[Charge]:
        """Charge the quotas, then let the object be stored, whose revision is to be entered into the charge.

        Forbidden where a quota would be exceeded.
        """
        metadata = wanted.new["metadata"]
        namespace, new = metadata["namespace"], wanted.old is None
        charge = Charge(wanted.resource, namespace, metadata["name"], metadata.get("uid") or "", new)
        self._ledger.open(charge)
        try:
            async with self._ledger.lock(namespace):
                for name in quotas:
                    await self._change(namespace, name, lambda quota: _decided(quota, wanted, charge), dry_run=False)
            charge.charged = True
            yield charge
        except ApiError as error:
            self._ledger.failed(charge, for_sure=error.reason not in _NOT_STORED)
            raise
        except Exception:
            self._ledger.failed(charge, for_sure=True)
            raise
        except BaseException:
            self._ledger.failed(charge, for_sure=False)
            raise


def _decided(quota: KubeObject, wanted: Wanted, charge: Charge | None) -> KubeObject | None:
    added = charged(quota, wanted)
    if charge is not None:
        charge.amounts[quota["metadata"]["name"]] = added
    return quota if added else None
