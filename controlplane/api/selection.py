"""Which objects a list, a watch or a deletion of a collection is about: namespace, labels and fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from controlplane.api.call import Call
from controlplane.api.turns import Breather
from controlplane.api.views import served_object, viewed_entry
from controlplane.store.cache import Cache, Entry
from flotilla.api.errors import bad_request
from flotilla.api.registry import Resource
from flotilla.api.resources import PODS
from flotilla.api.selectors import FieldSelector, LabelSelector, parse_field_selector, parse_label_selector

_FROM_ENTRY = frozenset({"metadata.name", "metadata.namespace"})
_EMPTY_PARTS = ("spec", "status", "involvedObject", "source")


@dataclass(frozen=True, slots=True)
class Selection:
    """A place and the selectors that objects there have to match."""

    resource: Resource
    namespace: str
    labels: LabelSelector
    fields: FieldSelector

    @property
    def everything(self) -> bool:
        """Whether no selector narrows it."""
        return self.labels.empty and not self.fields.terms

    @property
    def name(self) -> str:
        """The only name that can match, ``""`` for any."""
        return self.fields.required_value("metadata.name") or ""

    def matches(self, entry: Entry) -> bool:
        """Whether an object of the resource is selected."""
        if self.namespace and entry.namespace != self.namespace:
            return False
        if not self.labels.empty and not self.labels.matches(entry.labels):
            return False
        if not self.fields.terms:
            return True
        if self.fields.fields <= _FROM_ENTRY:
            return self.fields.matches({"metadata.name": entry.name, "metadata.namespace": entry.namespace})
        obj = served_object(self.resource, entry.obj)
        return self.fields.matches(self.resource.strategy.selectable_fields(obj))


def read_selection(call: Call, resource: Resource) -> Selection:
    """The selection that a request's path and parameters make. BadRequest for selectors that can't be understood."""
    try:
        labels = parse_label_selector(call.query.get("labelSelector", ""))
        fields = parse_field_selector(call.query.get("fieldSelector", ""))
    except ValueError as error:
        raise bad_request(str(error)) from error
    unknown = sorted(fields.fields - _selectable(resource))
    if unknown:
        raise bad_request(_not_selectable(resource, unknown[0]))
    if call.info.name:
        fields = FieldSelector((*fields.terms, ("metadata.name", True, call.info.name)))
    return Selection(resource, call.info.namespace, labels, fields)


@lru_cache(maxsize=512)
def _selectable(resource: Resource) -> frozenset[str]:
    blank = {"metadata": {"name": "", "namespace": ""}} | {part: {} for part in _EMPTY_PARTS}
    return _FROM_ENTRY | frozenset(resource.strategy.selectable_fields(blank))


def _not_selectable(resource: Resource, field: str) -> str:
    """The words of Kubernetes, which has some for kinds with fields of their own and others for the rest."""
    if _selectable(resource) != _FROM_ENTRY:
        return f"field label not supported: {field}"
    return f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"'


def indexed(cache_: Cache, selection: Selection) -> Sequence[Entry] | None:
    """What an index of the cache finds for a selection, in key order; they may not all match. None without an index."""
    resource, namespace = selection.resource, selection.namespace
    if selection.name and (namespace or not resource.namespaced):
        entry = cache_.get(resource, namespace, selection.name)
        return [entry] if entry else []
    node = selection.fields.required_value("spec.nodeName")
    return cache_.pods_on_node(node) if resource is PODS and node else None


def candidates(cache_: Cache, selection: Selection) -> Sequence[Entry]:
    """The entries among which those that match are."""
    found = indexed(cache_, selection)
    return cache_.list(selection.resource, selection.namespace) if found is None else found


async def select(entries: Sequence[Entry], selection: Selection) -> Sequence[Entry]:
    """Those of ``entries`` that match, as the resource shows them, letting other work run meanwhile."""
    if selection.everything and selection.resource.view is None:
        return entries
    breather = Breather()
    found = []
    for entry in entries:
        if selection.matches(entry):
            found.append(viewed_entry(selection.resource, entry))
        await breather.breathe()
    return found
