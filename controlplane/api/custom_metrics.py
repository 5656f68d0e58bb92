"""``custom.metrics.k8s.io`` and ``external.metrics.k8s.io``: what applications say of themselves, stored nowhere.

Paths name a metric where others name a subresource: ``namespaces/NS/pods/*/METRIC`` (``*``: all that ``labelSelector``
admits), ``namespaces/NS/services/NAME/METRIC``, and ``namespaces/NS/METRIC`` of the external group. So discovery lists
the metrics that there are now, and is written anew each time.
Source: ``k8s.io/metrics/pkg/apis/custom_metrics`` and ``external_metrics``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from aiohttp import web

from controlplane.api.call import Call
from controlplane.api.catalog import GroupVersion
from controlplane.api.responses import json_response, object_response
from controlplane.api.usage import path_not_found
from controlplane.store.cache import Cache, Entry
from flotilla.api.errors import ApiError, bad_request, method_not_allowed, not_found
from flotilla.api.objects import KubeObject, encode
from flotilla.api.registry import Registry, Resource
from flotilla.api.selectors import LabelSelector, parse_label_selector

CUSTOM_GROUP = "custom.metrics.k8s.io"
EXTERNAL_GROUP = "external.metrics.k8s.io"
GROUPS = frozenset({CUSTOM_GROUP, EXTERNAL_GROUP})
VERSIONS = (GroupVersion(CUSTOM_GROUP, "v1beta2"), GroupVersion(CUSTOM_GROUP, "v1beta1"))
EXTERNAL_VERSION = GroupVersion(EXTERNAL_GROUP, "v1beta1")


class DescribedSource(Protocol):
    """Where values come from, as ``custom.metrics.k8s.io/v1beta2`` shows them."""

    def offered(self) -> dict[str, set[str]]:
        """The names of the metrics that pods offer, by namespace."""

    async def of_pods(
        self, namespace: str, metric: str, *, name: str, pods: LabelSelector, series: LabelSelector
    ) -> list[KubeObject]:
        """The metric of one pod (``name``), or of all that ``pods`` admits."""

    async def of_object(
        self, resource: Resource, entry: Entry, metric: str, *, series: LabelSelector
    ) -> KubeObject | None:
        """The sum over the pods behind an object."""

    async def external(self, namespace: str, metric: str, *, series: LabelSelector) -> KubeObject | None:
        """The sum over all pods of a namespace, or the answer to a query."""


class NothingOffered:
    """A server without nodes: no pod says anything."""

    def offered(self) -> dict[str, set[str]]:
        return {}

    async def of_pods(
        self, namespace: str, metric: str, *, name: str, pods: LabelSelector, series: LabelSelector
    ) -> list[KubeObject]:
        return []

    async def of_object(
        self, resource: Resource, entry: Entry, metric: str, *, series: LabelSelector
    ) -> KubeObject | None:
        return None

    async def external(self, namespace: str, metric: str, *, series: LabelSelector) -> KubeObject | None:
        return None


NOTHING_OFFERED = NothingOffered()


class CustomMetrics:
    """Handlers of both groups."""

    def __init__(self, source: DescribedSource, cache: Cache, registry: Registry) -> None:
        self._source = source
        self._cache = cache
        self._registry = registry

    def discovery(self, path: str) -> web.Response | None:
        """The list of metrics at a group version's path; None for another path."""
        for version in (*VERSIONS, EXTERNAL_VERSION):
            if path.rstrip("/") == f"/{version.path}":
                offered = sorted(set[str]().union(*self._source.offered().values()))
                external = version.group == EXTERNAL_GROUP
                kind = "ExternalMetricValueList" if external else "MetricValueList"
                resources = [_resource(name if external else f"pods/{name}", kind) for name in offered]
                head = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version.api_version}
                return object_response({**head, "resources": resources})
        return None

    async def answer(self, call: Call) -> web.Response:
        """Values of a metric. NotFound if no pod offers it."""
        info = call.info
        if info.verb not in ("get", "list"):
            raise method_not_allowed()
        if not info.namespace:
            raise path_not_found()
        if info.group == EXTERNAL_GROUP:
            return await self._external(call)
        if not info.name or not info.subresource or "/" in info.subresource:
            raise path_not_found()
        found = await self._custom(call)
        if not found:
            raise _no_such_metric(info.subresource, f"{info.plural} {info.name!r} in namespace {info.namespace}")
        if info.version == "v1beta1":
            found = [_first_version(value) for value in found]
        return _listed("MetricValueList", f"{CUSTOM_GROUP}/{info.version}", found)

    async def _custom(self, call: Call) -> list[KubeObject]:
        info, series = call.info, _selector(call, "metricLabelSelector")
        if info.plural == "pods":
            name = "" if info.name == "*" else info.name
            pods = _selector(call, "labelSelector")
            return await self._source.of_pods(info.namespace, info.subresource, name=name, pods=pods, series=series)
        resource = self._resource(info.plural)
        if info.name == "*":
            chosen = _selector(call, "labelSelector")
            entries = [entry for entry in self._cache.list(resource, info.namespace) if chosen.matches(entry.labels)]
        else:
            entry = self._cache.get(resource, info.namespace, info.name)
            if entry is None:
                raise not_found(resource.plural, info.name, group=resource.group)
            entries = [entry]
        # All at once: each may wait for the metric to be read from its pods.
        values = await asyncio.gather(
            *(self._source.of_object(resource, entry, info.subresource, series=series) for entry in entries)
        )
        return [value for value in values if value is not None]

    def _resource(self, name: str) -> Resource:
        """By its plural name, with its group behind a dot where it has one."""
        plural, _, group = name.partition(".")
        for resource in self._registry.all():
            if resource.plural == plural and resource.namespaced and group in ("", resource.group):
                return resource.hub
        raise path_not_found()

    async def _external(self, call: Call) -> web.Response:
        info = call.info
        if info.name:
            raise path_not_found()
        value = await self._source.external(info.namespace, info.plural, series=_selector(call, "labelSelector"))
        if value is None:
            raise _no_such_metric(info.plural, f"namespace {info.namespace}")
        shown = {"metricName": info.plural, "metricLabels": {}}
        item = shown | {key: value[key] for key in ("timestamp", "value")}
        return _listed("ExternalMetricValueList", f"{EXTERNAL_GROUP}/{info.version}", [item])


def _selector(call: Call, parameter: str) -> LabelSelector:
    try:
        return parse_label_selector(call.query.get(parameter, ""))
    except ValueError as error:
        raise bad_request(f"{parameter}: {error}") from error


def _first_version(value: KubeObject) -> KubeObject:
    shown = {key: value[key] for key in ("describedObject", "timestamp", "value")} | {"selector": None}
    return shown | {"metricName": value["metric"]["name"]} | _window(value)


def _window(value: KubeObject) -> KubeObject:
    return {"window": value["windowSeconds"]} if "windowSeconds" in value else {}


def _listed(kind: str, api_version: str, items: Sequence[KubeObject]) -> web.Response:
    return json_response(encode({"kind": kind, "apiVersion": api_version, "metadata": {}, "items": list(items)}))


def _resource(name: str, kind: str) -> KubeObject:
    return {"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": ["get"]}


def _no_such_metric(metric: str, where: str) -> ApiError:
    message = f"the server could not find the metric {metric} for {where}: no pod offers it on a page that is scraped"
    return ApiError(404, "NotFound", message)
