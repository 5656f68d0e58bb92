"""``metrics.k8s.io``: what nodes and pods use now, for ``kubectl top``. Read from samples, stored nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from aiohttp import web

from controlplane.api.call import Call
from controlplane.api.responses import json_response
from controlplane.api.tables import assemble_table, check_include, partial_metadata, table_row
from controlplane.store.cache import Cache
from flotilla.api.errors import ApiError, bad_request, method_not_allowed, not_found
from flotilla.api.kinds.metadata import metadata_fields
from flotilla.api.kinds.resource import Column
from flotilla.api.objects import KubeObject, encode
from flotilla.api.quantities import bytes_of, cpu_millis
from flotilla.api.resources import NODES
from flotilla.api.selectors import LabelSelector, parse_field_selector, parse_label_selector

_GROUP = "metrics.k8s.io"
_API_VERSION = f"{_GROUP}/v1beta1"
_KINDS = {"nodes": "NodeMetrics", "pods": "PodMetrics"}
_FIELDS = frozenset({"metadata.name", "metadata.namespace"})
_KNOWN_FIELDS = '"metadata.name", "metadata.namespace"'


class MetricsSource(Protocol):
    """Where usage comes from: complete ``metrics.k8s.io/v1beta1`` objects, pods with their labels."""

    def pod_metrics(self, namespace: str, name: str = "") -> list[KubeObject]:
        """PodMetrics of a namespace, of all where it is ``""``, or of one pod."""

    def node_metrics(self, name: str = "") -> list[KubeObject]:
        """NodeMetrics of all nodes or of one."""


def _usages(obj: KubeObject) -> list[KubeObject]:
    if "containers" in obj:
        return [container["usage"] for container in obj["containers"]]
    return [obj.get("usage") or {}]


def _cpu(obj: KubeObject, now: datetime) -> str:
    return f"{sum(cpu_millis(usage.get('cpu', 0)) for usage in _usages(obj))}m"


def _memory(obj: KubeObject, now: datetime) -> str:
    return f"{sum(bytes_of(usage.get('memory', 0)) for usage in _usages(obj)) >> 20}Mi"


_COLUMNS = (
    Column("Name", "string", "The object's name.", 0, "name", lambda obj, now: obj["metadata"]["name"]),
    Column("cpu", "string", "CPU used, in thousandths of a core.", 0, "quantity", _cpu),
    Column("memory", "string", "Working set.", 0, "quantity", _memory),
    Column("Window", "string", "The averaged time.", 0, "duration", lambda obj, now: obj.get("window", "")),
)


class Usage:
    """Handlers of the virtual resources."""

    def __init__(self, source: MetricsSource, cache: Cache) -> None:
        self._source = source
        self._cache = cache

    async def answer(self, call: Call) -> web.Response:
        info = call.info
        if info.plural not in _KINDS or info.subresource:
            raise path_not_found()
        if info.verb not in ("get", "list"):
            raise method_not_allowed()
        found = self._read(call)
        if info.name:
            if not found:
                raise not_found(info.plural, info.name, group=_GROUP)
            return self._render(call, found[:1], single=True)
        return self._render(call, self._selected(call, found), single=False)

    def _read(self, call: Call) -> list[KubeObject]:
        info = call.info
        if info.plural == "nodes":
            return self._source.node_metrics(info.name)
        return self._source.pod_metrics(info.namespace, info.name)

    def _selected(self, call: Call, found: Sequence[KubeObject]) -> list[KubeObject]:
        try:
            selector = parse_label_selector(call.query.get("labelSelector", ""))
            fields = parse_field_selector(call.query.get("fieldSelector", ""))
        except ValueError as error:
            raise bad_request(str(error)) from error
        unknown = sorted(fields.fields - _FIELDS)
        if unknown:
            raise bad_request(f'"{unknown[0]}" is not a known field selector: only {_KNOWN_FIELDS}')
        return [
            obj
            for obj in found
            if fields.matches(metadata_fields(obj)) and self._matches(call.info.plural, obj, selector)
        ]

    def _matches(self, plural: str, obj: KubeObject, selector: LabelSelector) -> bool:
        labels = obj["metadata"].get("labels")
        if labels is None and plural == "nodes":
            entry = self._cache.get(NODES, "", obj["metadata"]["name"])
            labels = entry.labels if entry else {}
        return selector.matches(labels or {})

    def _render(self, call: Call, objects: Sequence[KubeObject], *, single: bool) -> web.Response:
        form = call.form
        if form.kind == "Table":
            include = check_include(call.query.get("includeObject", ""))
            rows = [table_row(_COLUMNS, obj, encode(obj), include=include, version=form.version) for obj in objects]
            return json_response(assemble_table(form, {"resourceVersion": ""}, _COLUMNS, rows))
        head: KubeObject = {"kind": f"{_KINDS[call.info.plural]}List", "apiVersion": _API_VERSION}
        items = [encode(obj) for obj in objects]
        if form.kind:
            head = {"kind": "PartialObjectMetadataList", "apiVersion": form.api_version}
            items = [partial_metadata(item, form.version) for item in items]
        if single:
            return json_response(items[0])
        return json_response(encode(head | {"metadata": {}})[:-1] + b',"items":[' + b",".join(items) + b"]}")


def path_not_found() -> ApiError:
    """404 for a path that stands for nothing, worded as Kubernetes does."""
    return ApiError(404, "NotFound", "the server could not find the requested resource")
