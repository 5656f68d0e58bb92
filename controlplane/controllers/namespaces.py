"""Empties namespaces that are being deleted, and furnishes new ones.

A namespace keeps the finalizer ``kubernetes`` in its spec until nothing is left in it. An active one gets the
ServiceAccount ``default`` and, where the cluster's CA is known, the ConfigMap ``kube-root-ca.crt``.
Source: Kubernetes' ``pkg/controller/namespace``, ``serviceaccount`` and ``certificates/rootcacertpublisher``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence

from controlplane.reconcile.clock import Clock
from controlplane.reconcile.objects import Objects
from controlplane.reconcile.parallel import settle_or_raise
from controlplane.reconcile.result import DONE, Result
from controlplane.store.cache import Cache, CacheEvent, Entry
from flotilla.api.conditions import set_condition
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, is_deleting
from flotilla.api.registry import Resource
from flotilla.api.resources import CONFIG_MAPS, NAMESPACES, PODS, SERVICE_ACCOUNTS

MANAGER = "namespace-controller"
FINALIZER = "kubernetes"
ROOT_CA = "kube-root-ca.crt"
DEFAULT_ACCOUNT = "default"
_DELETES_AT_ONCE = 64


class NamespaceReconciler:
    """Keys are namespaces' names."""

    def __init__(self, cache: Cache, objects: Objects, *, ca_certificate: str, clock: Clock) -> None:
        self._cache = cache
        self._objects = objects
        self._ca_certificate = ca_certificate
        self._clock = clock

    def reset(self) -> None:
        pass

    def keys(self, event: CacheEvent) -> Iterable[str]:
        entry = event.entry
        if entry.resource is NAMESPACES:
            return [entry.name]
        if event.type != "DELETED" or not entry.namespace:
            return ()
        furnished = (SERVICE_ACCOUNTS, DEFAULT_ACCOUNT), (CONFIG_MAPS, ROOT_CA)
        namespace = self._cache.get(NAMESPACES, "", entry.namespace)
        if namespace is None:
            return ()
        if (entry.resource, entry.name) in furnished or is_deleting(namespace.obj):
            return [entry.namespace]
        return ()

    async def reconcile(self, key: str) -> Result:
        entry = self._cache.get(NAMESPACES, "", key)
        if entry is None:
            return DONE
        if is_deleting(entry.obj):
            await self._empty(entry)
        else:
            await self._furnish(key)
        return DONE

    async def _furnish(self, namespace: str) -> None:
        account: KubeObject = {"apiVersion": "v1", "kind": "ServiceAccount"}
        await self._ensure(SERVICE_ACCOUNTS, account, namespace, DEFAULT_ACCOUNT)
        if self._ca_certificate:
            root: KubeObject = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"ca.crt": self._ca_certificate}}
            await self._ensure(CONFIG_MAPS, root, namespace, ROOT_CA)

    async def _ensure(self, resource: Resource, obj: KubeObject, namespace: str, name: str) -> None:
        present = self._cache.get(resource, namespace, name)
        if present is None:
            new = obj | {"metadata": {"name": name, "namespace": namespace}}
            try:
                await self._objects.create(resource, new, manager=MANAGER)
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise
        elif "data" in obj and present.obj.get("data") != obj["data"]:
            await self._objects.mutate(resource, namespace, name, lambda old: old | obj, manager=MANAGER)

    async def _empty(self, entry: Entry) -> None:
        if FINALIZER not in ((entry.obj.get("spec") or {}).get("finalizers") or ()):
            return
        content = self._content(entry.name)
        limit = asyncio.Semaphore(_DELETES_AT_ONCE)
        await settle_or_raise(self._delete(each, limit) for each in content if not is_deleting(each.obj))
        # Writes that were under way when the namespace was marked are seen after this; new ones are refused.
        await self._cache.barrier()
        left = self._content(entry.name)
        if left:
            await self._report(entry, left)
        else:
            await self._finalize(entry)

    def _content(self, namespace: str) -> list[Entry]:
        namespaced = [resource for resource in self._cache.registry.stored() if resource.namespaced]
        # Pods last: nothing that would replace them is there any more then.
        namespaced.sort(key=lambda resource: resource is PODS)
        return [entry for resource in namespaced for entry in self._cache.list(resource, namespace)]

    async def _delete(self, entry: Entry, limit: asyncio.Semaphore) -> None:
        async with limit:
            try:
                await self._objects.delete(entry.resource, entry.namespace, entry.name, manager=MANAGER, uid=entry.uid)
            except ApiError as error:
                if error.reason not in ("NotFound", "Conflict"):
                    raise

    async def _report(self, entry: Entry, left: Sequence[Entry]) -> None:
        """Say in the namespace's conditions what it still waits for; deletions bring the key again."""
        namespace = entry.copy()
        status = namespace.setdefault("status", {})
        conditions = status.setdefault("conditions", [])
        counts = Counter(_qualified(each.resource) for each in left)
        remaining = ", ".join(f"{plural} has {count} resource instances" for plural, count in sorted(counts.items()))
        finalizers = Counter(name for each in left for name in each.obj["metadata"].get("finalizers") or ())
        waiting = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(finalizers.items()))
        now = self._clock()
        changed = set_condition(
            conditions,
            "NamespaceContentRemaining",
            status="True",
            reason="SomeResourcesRemain",
            message=f"Some resources are remaining: {remaining}",
            now=now,
        )
        changed |= set_condition(
            conditions,
            "NamespaceFinalizersRemaining",
            status="True" if waiting else "False",
            reason="SomeFinalizersRemain" if waiting else "ContentHasNoFinalizers",
            message=f"Some content in the namespace has finalizers remaining: {waiting}"
            if waiting
            else "All content-preserving finalizers finished",
            now=now,
        )
        if changed:
            await self._objects.update(NAMESPACES, namespace, manager=MANAGER, subresource="status")

    async def _finalize(self, entry: Entry) -> None:
        uid = entry.uid

        def change(namespace: KubeObject) -> KubeObject | None:
            finalizers = (namespace.get("spec") or {}).get("finalizers") or []
            if namespace["metadata"]["uid"] != uid or FINALIZER not in finalizers:
                return None
            namespace["spec"]["finalizers"] = [each for each in finalizers if each != FINALIZER]
            return namespace

        await self._objects.mutate(NAMESPACES, "", entry.name, change, manager=MANAGER, subresource="finalize")


def _qualified(resource: Resource) -> str:
    return f"{resource.plural}.{resource.group}" if resource.group else f"{resource.plural}."
