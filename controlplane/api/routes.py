"""From a request to the function that answers it.

Resources are rows of the registry: the routes are the product of what a row says (verbs, subresources) and the handlers
of the verbs, so that a new kind needs no route.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from controlplane.api import bindings, evictions, health, reviews, scrape_targets, state_metrics
from controlplane.api.authn import Authenticator
from controlplane.api.authz import Authorizer
from controlplane.api.call import Call
from controlplane.api.catalog import METRICS_GROUP, bindings_version, metrics_group, review_groups
from controlplane.api.custom_metrics import EXTERNAL_VERSION, GROUPS, VERSIONS, CustomMetrics, DescribedSource
from controlplane.api.health import Health
from controlplane.api.lists import Lister
from controlplane.api.logs import Logs, LogSource
from controlplane.api.node_proxy import serve_page
from controlplane.api.operations import Operations
from controlplane.api.persistence import store_errors
from controlplane.api.publication import Publication
from controlplane.api.reads import Reads
from controlplane.api.request_info import RequestInfo
from controlplane.api.responses import json_response, object_response
from controlplane.api.scale import Scales
from controlplane.api.streams.handlers import Streams
from controlplane.api.streams.source import StreamSource
from controlplane.api.usage import MetricsSource, Usage, path_not_found
from controlplane.api.version import version_info
from controlplane.api.watch import Watches
from controlplane.api.writes import Writes
from controlplane.store.cache import Cache
from flotilla.api.errors import method_not_allowed, unavailable
from flotilla.api.objects import KubeObject, encode
from flotilla.api.registry import Registry, Resource

OBJECTS_A_SEAT = 200
EXPLAINED = "/autoscaling/why"
_PARTS = ("approval", "ephemeralcontainers", "finalize", "resize", "status")
_METRICS_CONTENT = "text/plain; version=0.0.4; charset=utf-8"
_LISTED_PATHS = ("/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version")


Explain = Callable[[str, str], KubeObject]
"""How the autoscaler of a namespace and a name would decide now. ApiError."""


def no_autoscaler(namespace: str, name: str) -> KubeObject:
    """ServiceUnavailable: autoscalers are evaluated elsewhere."""
    raise unavailable("this server does not evaluate autoscalers: ask the one that leads")


class Routes:
    """Every handler of the server."""

    def __init__(
        self,
        operations: Operations,
        cache: Cache,
        *,
        registry: Registry,
        authenticator: Authenticator,
        authorizer: Authorizer,
        logs: LogSource,
        streams: StreamSource,
        metrics: MetricsSource,
        described: DescribedSource,
        explain: Explain,
        collectors: CollectorRegistry,
        server_address: str = "",
        shutting_down: Callable[[], bool] = lambda: False,
    ) -> None:
        lister = Lister(operations.store, cache)
        self._operations = operations
        self._registry = registry
        self._cache = cache
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._collectors = collectors
        self._reads = Reads(cache, lister)
        self._writes = Writes(operations, lister)
        self._scales = Scales(operations, cache, lister)
        self._usage = Usage(metrics, cache)
        self._explain = explain
        self._custom_metrics = CustomMetrics(described, cache, registry)
        self._publication = Publication(
            registry,
            (bindings_version(), metrics_group(), *review_groups(), *VERSIONS, EXTERNAL_VERSION),
            server_address=server_address,
        )
        self._health = Health(
            {
                "etcd": lambda: "" if cache.connected else "the store can't be reached",
                "informer-sync": lambda: "" if cache.synced else "the cache has not read the store yet",
                "shutdown": lambda: "process is shutting down" if shutting_down() else "",
            }
        )
        self.watches = Watches(cache, lister)
        self.logs = Logs(logs, cache, lister)
        self.streams = Streams(streams, cache, lister, authorizer=authorizer)
        self._nodes = streams

    def serves(self, info: RequestInfo) -> bool:
        """Whether there is such a resource or subresource in this version."""
        catalog = self._publication.catalog
        return catalog.serves(info) and any(
            (one.group, one.version) == (info.group, info.version) for one in catalog.versions
        )

    def allowed(self, info: RequestInfo) -> str:
        """The methods that a path may be asked with, as the ``Allow`` header of a refusal lists them."""
        return ", ".join(self._publication.catalog.methods(info))

    def width(self, call: Call, *, most: int) -> int:
        """How many seats a request takes: lists and the beginning of watches by the number of objects there are."""
        info = call.info
        if info.verb not in ("list", "watch") or info.name:
            return 1
        resource = self._registry.find(info.group, info.version, info.plural)
        objects = self._cache.count(resource) if resource is not None else 0
        if objects <= OBJECTS_A_SEAT:
            return 1
        if "limit" in call.query:
            objects = min(objects, call.number("limit") or objects)
        return max(1, min(most, objects // OBJECTS_A_SEAT))

    async def answer(self, call: Call) -> web.StreamResponse:
        """Answer an authorized request. Raises ApiError."""
        info = call.info
        if not info.is_resource:
            return await self._answer_path(call)
        if info.group == METRICS_GROUP and info.version == "v1beta1":
            return await self._usage.answer(call)
        if info.group in GROUPS:
            return await self._custom_metrics.answer(call)
        if info.group in reviews.GROUPS and info.version == "v1" and reviews.serves(info):
            return await reviews.answer_review(call, self._authorizer, self._authenticator)
        if (info.group, info.version, info.plural) == ("", "v1", "bindings"):
            return await self._answer_binding(call)
        resource = self._registry.find(info.group, info.version, info.plural) or await self._just_defined(info)
        if resource is None or (info.namespace and not resource.namespaced):
            raise path_not_found()
        if resource.deprecation:
            call.warnings.append(resource.deprecation)
        if info.subresource:
            return await self._answer_subresource(call, resource)
        return await self._answer_object(call, resource)

    async def _just_defined(self, info: RequestInfo) -> Resource | None:
        """The resource, if it was defined before the request came and this server's cache has yet to see that."""
        with store_errors():
            await self._cache.barrier()
        return self._registry.find(info.group, info.version, info.plural)

    async def _answer_path(self, call: Call) -> web.StreamResponse:
        path = call.info.path.rstrip("/") or "/"
        if call.info.verb != "get":
            raise method_not_allowed() if path in _LISTED_PATHS else path_not_found()
        if path == "/":
            return object_response({"paths": list(_LISTED_PATHS)})
        if path == "/version":
            return object_response(version_info())
        if path == "/metrics":
            text = await asyncio.to_thread(generate_latest, self._collectors)
            return web.Response(body=text, headers={"Content-Type": _METRICS_CONTENT})
        if path == state_metrics.PATH:
            body = await state_metrics.state_metrics(self._cache)
            return web.Response(body=body, headers={"Content-Type": _METRICS_CONTENT})
        if health.is_health_path(path):
            return self._health.answer(call)
        if path.startswith(f"{EXPLAINED}/"):
            namespace, _, name = path.removeprefix(f"{EXPLAINED}/").partition("/")
            return object_response(self._explain(namespace, name))
        if path.startswith(f"{scrape_targets.PATH}/"):
            groups = scrape_targets.scrape_targets(self._cache, path.removeprefix(f"{scrape_targets.PATH}/"))
            if groups is None:
                raise path_not_found()
            return json_response(encode(groups))
        if path.startswith("/openapi/"):
            return await self._publication.documents.answer(call.request)
        document = self._custom_metrics.discovery(path) or self._publication.discovery.answer(call.request)
        if document is None:
            raise path_not_found()
        return document

    async def _answer_binding(self, call: Call) -> web.StreamResponse:
        if call.info.name or call.info.subresource:
            raise path_not_found()
        if call.info.verb != "create" or not call.info.namespace:
            raise method_not_allowed()
        return await bindings.bind(call, self._operations)

    async def _answer_object(self, call: Call, resource: Resource) -> web.StreamResponse:
        verb, info = call.info.verb, call.info
        if verb not in resource.verbs:
            raise method_not_allowed()
        if resource.namespaced and not info.namespace and verb not in ("list", "watch"):
            raise method_not_allowed() if not info.name else path_not_found()
        if verb == "create" and info.name:
            raise method_not_allowed()
        if verb in ("update", "patch") and not info.name:
            raise method_not_allowed()
        match verb:
            case "get":
                return await self._reads.get(call, resource)
            case "list":
                return await self._reads.list(call, resource)
            case "watch":
                return await self.watches.serve(call, resource)
            case "create":
                return await self._writes.create(call, resource)
            case "update":
                return await self._writes.update(call, resource)
            case "patch":
                return await self._writes.patch(call, resource)
            case "delete":
                return await self._writes.delete(call, resource)
        return await self._writes.delete_collection(call, resource)

    async def _answer_subresource(self, call: Call, resource: Resource) -> web.StreamResponse:
        info = call.info
        if info.subresource not in resource.subresources or (resource.namespaced and not info.namespace):
            raise path_not_found()
        match info.subresource, info.verb:
            case "log", "get":
                return await self.logs.serve(call)
            case (("attach" | "exec" | "portforward"), ("create" | "get")):
                return await self.streams.serve(call)
            case "proxy", _:
                return await serve_page(call, self._cache, self._nodes)
            case "binding", "create":
                return await bindings.bind(call, self._operations)
            case "eviction", "create":
                return await evictions.evict(call, self._operations)
            case "scale", "get":
                return await self._scales.get(call, resource)
            case "scale", "update":
                return await self._scales.update(call, resource)
            case "scale", "patch":
                return await self._scales.patch(call, resource)
        if info.subresource not in _PARTS or (info.subresource == "finalize" and info.verb != "update"):
            raise method_not_allowed()
        match info.verb:
            case "get":
                return await self._reads.get(call, resource)
            case "update":
                return await self._writes.update(call, resource, info.subresource)
            case "patch":
                return await self._writes.patch(call, resource, info.subresource)
        raise method_not_allowed()
