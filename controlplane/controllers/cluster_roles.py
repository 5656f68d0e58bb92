"""Puts together the cluster roles that are made of others: ``admin``, ``edit``, ``view``, and those that users define.

Such a role lists in ``aggregationRule`` which labels its parts carry; its own rules are those of its parts, in the
order of their names, each once. Source: Kubernetes' ``pkg/controller/clusterroleaggregation``.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.reconcile.objects import Objects
from controlplane.reconcile.result import DONE, Result
from controlplane.store.cache import Cache, CacheEvent, Entry
from flotilla.api.objects import KubeObject
from flotilla.api.resources import CLUSTER_ROLES
from flotilla.api.selectors import label_selector_of

MANAGER = "clusterrole-aggregation-controller"
RESOURCES = (CLUSTER_ROLES,)


class ClusterRoleAggregator:
    """Keys are the names of cluster roles that are put together."""

    def __init__(self, cache: Cache, objects: Objects) -> None:
        self._cache = cache
        self._objects = objects

    def reset(self) -> None:
        """Nothing is kept."""

    def keys(self, event: CacheEvent) -> Iterable[str]:
        return [entry.name for entry in self._cache.list(CLUSTER_ROLES) if entry.obj.get("aggregationRule")]

    async def reconcile(self, key: str) -> Result:
        entry = self._cache.get(CLUSTER_ROLES, "", key)
        if entry is None or not entry.obj.get("aggregationRule"):
            return DONE
        rules = aggregated_rules(entry, self._cache.list(CLUSTER_ROLES))
        if rules == (entry.obj.get("rules") or []):
            return DONE

        def change(role: KubeObject) -> KubeObject | None:
            return role | {"rules": rules} if role.get("aggregationRule") else None

        await self._objects.mutate(CLUSTER_ROLES, "", key, change, manager=MANAGER)
        return DONE


def aggregated_rules(role: Entry, roles: Iterable[Entry]) -> list[KubeObject]:
    """The rules of all other roles that the role's selectors match."""
    selectors = [label_selector_of(each) for each in role.obj["aggregationRule"].get("clusterRoleSelectors") or ()]
    rules: list[KubeObject] = []
    for part in sorted(roles, key=lambda entry: entry.name):
        if part.name != role.name and any(selector.matches(part.labels) for selector in selectors):
            rules += [rule for rule in part.obj.get("rules") or () if rule not in rules]
    return rules
