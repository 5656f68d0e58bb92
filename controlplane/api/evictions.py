"""``pods/<name>/eviction``: a delete that a PodDisruptionBudget may refuse.

The budget is what its status says, kept by :mod:`controlplane.controllers.disruption`: an eviction takes one of the
disruptions that are allowed and notes the pod in ``disruptedPods``, in one write that fails if anybody else wrote
meanwhile, so that two evictions never take the same one. Source: Kubernetes' ``pkg/registry/core/pod/storage``.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from controlplane.api.call import Call, check_dry_run
from controlplane.api.deletion import DeleteOptions, check_preconditions, parse_delete_options
from controlplane.api.next_states import WriteOptions
from controlplane.api.operations import Operations
from controlplane.api.request_kinds import EVICTION, EVICTION_V1BETA1, read_request
from controlplane.api.responses import created_status
from flotilla.api.conditions import set_condition
from flotilla.api.disruptions import allow_disruptions, covers
from flotilla.api.errors import ApiError, bad_request, forbidden
from flotilla.api.objects import KubeObject, format_time, is_deleting
from flotilla.api.resources import POD_DISRUPTION_BUDGETS, PODS
from flotilla.api.workloads import pod_is_ready

MANAGER = "flotilla-eviction"
MOST_DISRUPTED_PODS = 2000
_RETRY_AFTER_S = 10
_FINISHED = ("Succeeded", "Failed")
_TWO_BUDGETS = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
_VIOLATION = "Cannot evict pod as it would violate the pod's disruption budget."


async def evict(call: Call, operations: Operations) -> web.Response:
    """Carry out a policy Eviction. TooManyRequests while the pod's budget does not allow it."""
    eviction = await read_request(call, (EVICTION, EVICTION_V1BETA1))
    name = (eviction.get("metadata") or {}).get("name")
    if name != call.info.name:
        raise bad_request("name in URL does not match name in Eviction object")
    options = _delete_options(call, eviction.get("deleteOptions") or {})
    await Evictor(operations).evict(call.info.namespace, call.info.name, options)
    return created_status(call.warnings)


def _delete_options(call: Call, body: KubeObject) -> DeleteOptions:
    given = body.get("dryRun") or []
    check_dry_run(given, kind="DeleteOptions")
    asked = call.query.getall("dryRun", [])
    if given and asked and given != asked:
        raise bad_request(f"Non-matching dry-run options in request and content: {asked} and {given}")
    return replace(parse_delete_options(body), dry_run=bool(given) or call.dry_run)


class Evictor:
    """Evicts pods of one server."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def evict(self, namespace: str, name: str, options: DeleteOptions) -> None:
        """Delete the pod if its budget allows it. NotFound, Conflict, Forbidden, TooManyRequests."""
        while True:
            pod = await self._operations.get(PODS, namespace, name)
            status = pod.get("status") or {}
            if status.get("phase") in _FINISHED or is_deleting(pod):
                return await self._delete(pod, options)
            if status.get("phase") == "Pending":
                if await self._delete_as_it_is(pod, options):
                    return None
                continue
            return await self._evict_running(pod, options)

    async def _delete_as_it_is(self, pod: KubeObject, options: DeleteOptions) -> bool:
        """Delete a pod that is disturbed by nothing; False if it has changed, and may have become one that is."""
        try:
            await self._delete(pod, _at_version_of(pod, options))
        except ApiError as error:
            if error.reason != "Conflict" or options.resource_version:
                raise
            return False
        return True

    async def _evict_running(self, pod: KubeObject, options: DeleteOptions) -> None:
        budgets = self._budgets_of(pod)
        if len(budgets) > 1:
            raise ApiError(500, "InternalError", _TWO_BUDGETS)
        if not budgets:
            return await self._delete(pod, options)
        budget = budgets[0]
        if not pod_is_ready(pod) and _spares_unready(budget):
            try:
                return await self._delete(pod, _at_version_of(pod, options))
            except ApiError as error:
                if error.reason != "Conflict" or options.resource_version:
                    raise
                raise _too_many(_being_processed(budget), retry_after_s=_RETRY_AFTER_S) from error
        await self._take_disruption(budget, pod, dry_run=options.dry_run)
        return await self._delete(pod, options)

    def _budgets_of(self, pod: KubeObject) -> list[KubeObject]:
        labels = pod["metadata"].get("labels") or {}
        entries = self._operations.cache.list(POD_DISRUPTION_BUDGETS, pod["metadata"]["namespace"])
        return [entry.obj for entry in entries if covers(entry.obj, labels)]

    async def _take_disruption(self, budget: KubeObject, pod: KubeObject, *, dry_run: bool) -> None:
        metadata = budget["metadata"]

        def take(current: KubeObject) -> KubeObject:
            return _with_disruption(current, pod["metadata"]["name"], datetime.now(UTC))

        options = WriteOptions(manager=MANAGER, subresource="status", dry_run=dry_run)
        await self._operations.change(POD_DISRUPTION_BUDGETS, metadata["namespace"], metadata["name"], take, options)

    async def _delete(self, pod: KubeObject, options: DeleteOptions) -> None:
        """Say in the pod's conditions why it goes, and delete it."""
        metadata = pod["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        if not options.dry_run and not is_deleting(pod):
            options = await self._say_why(namespace, name, options)
        await self._operations.delete_with(PODS, namespace, name, options)

    async def _say_why(self, namespace: str, name: str, options: DeleteOptions) -> DeleteOptions:
        """The options with the version that the pod has then, if they ask for one."""

        def mark(pod: KubeObject) -> KubeObject:
            check_preconditions(PODS, pod, options)
            conditions = pod.setdefault("status", {}).setdefault("conditions", [])
            reason, message = "EvictionByEvictionAPI", "Eviction API: evicting"
            now = datetime.now(UTC)
            set_condition(conditions, "DisruptionTarget", status="True", reason=reason, message=message, now=now)
            return pod

        stored = await self._operations.mutate(PODS, namespace, name, mark, manager=MANAGER, subresource="status")
        if stored is None or not options.resource_version:
            return options
        return replace(options, resource_version=stored["metadata"]["resourceVersion"])


def _at_version_of(pod: KubeObject, options: DeleteOptions) -> DeleteOptions:
    version = options.resource_version or pod["metadata"]["resourceVersion"]
    return replace(options, resource_version=version)


def _spares_unready(budget: KubeObject) -> bool:
    """Whether the budget does not count a pod that is not ready, so that evicting it costs no disruption."""
    if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status") or {}
    desired: int = status.get("desiredHealthy", 0)
    return desired > 0 and status.get("currentHealthy", 0) >= desired


def _with_disruption(budget: KubeObject, pod_name: str, now: datetime) -> KubeObject:
    """The budget with one disruption less. TooManyRequests if there is none, Forbidden if its status can't be."""
    status: dict[str, Any] = budget.get("status") or {}
    name = budget["metadata"]["name"]
    disrupted = status.get("disruptedPods") or {}
    allowed = status.get("disruptionsAllowed", 0)
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise _too_many(_being_processed(budget), retry_after_s=_RETRY_AFTER_S)
    if allowed < 0:
        raise _refused(name, "pdb disruptions allowed is negative")
    if len(disrupted) > MOST_DISRUPTED_PODS:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise _refused(name, why)
    if allowed == 0:
        desired, current = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
        raise _too_many(f"The disruption budget {name} needs {desired} healthy pods and has {current} currently")
    budget["status"] = status | {"disruptedPods": disrupted | {pod_name: format_time(now)}}
    allow_disruptions(budget, allowed - 1, now=now)
    return budget


def _being_processed(budget: KubeObject) -> str:
    return f"The disruption budget {budget['metadata']['name']} is still being processed by the server."


def _too_many(message: str, *, retry_after_s: int = 0) -> ApiError:
    """429 with the cause that drains look for. Without a time to wait, clients decide themselves when to try again."""
    details: KubeObject = {"causes": [{"reason": "DisruptionBudget", "message": message}]}
    if retry_after_s:
        details["retryAfterSeconds"] = retry_after_s
    return ApiError(429, "TooManyRequests", _VIOLATION, details=details)


def _refused(name: str, why: str) -> ApiError:
    return forbidden(f'poddisruptionbudgets.policy "{name}" is forbidden: {why}')
