"""The downward API: values of a pod's own fields and resources, as texts (core/v1 ObjectFieldSelector)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from flotilla.api.objects import KubeObject, annotations_of, labels_of
from flotilla.api.quantities import InvalidQuantityError, parse_quantity

_RESOURCES = ("cpu", "memory", "ephemeral", "hugepages")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")


class FieldError(Exception):
    """A field or resource that a pod can't be asked for."""


@dataclass(frozen=True, slots=True)
class NodeResources:
    """What the node has for pods: the value of a limit that a container does not set."""

    cpu_millis: int
    memory_bytes: int


def field_value(pod: KubeObject, path: str) -> str:
    """The value of ``fieldRef.fieldPath``; addresses come from the pod's status. Raises :class:`FieldError`."""
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript:
        values = labels_of(pod) if subscript[1] == "labels" else annotations_of(pod)
        return values.get(subscript[2], "")
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    simple = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata.get("namespace", ""),
        "metadata.uid": metadata.get("uid", ""),
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName") or "default",
        "status.hostIP": status.get("hostIP", ""),
        "status.hostIPs": ",".join(each["ip"] for each in status.get("hostIPs") or ()) or status.get("hostIP", ""),
        "status.podIP": status.get("podIP", ""),
        "status.podIPs": ",".join(each["ip"] for each in status.get("podIPs") or ()) or status.get("podIP", ""),
    }
    if path == "metadata.labels":
        return _listed(labels_of(pod))
    if path == "metadata.annotations":
        return _listed(annotations_of(pod))
    if path not in simple:
        raise FieldError(f"unsupported fieldPath: {path}")
    return str(simple[path])


def _listed(values: Mapping[str, str]) -> str:
    return "\n".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in sorted(values.items()))


def resource_value(pod: KubeObject, selector: KubeObject, *, container: str, node: NodeResources) -> str:
    """The value of a ``resourceFieldRef``, rounded up to whole divisors. Raises :class:`FieldError`."""
    name = selector.get("containerName") or container
    spec = pod["spec"]
    containers = {each["name"]: each for each in (*spec["containers"], *(spec.get("initContainers") or ()))}
    if name not in containers:
        raise FieldError(f"container {name} not found")
    resources = containers[name].get("resources") or {}
    part, _, resource = selector["resource"].partition(".")
    if part not in ("limits", "requests") or resource.partition("-")[0] not in (
        "cpu",
        "memory",
        "ephemeral",
        "hugepages",
    ):
        raise FieldError(f"unsupported container resource : {selector['resource']}")
    try:
        amount = _amount(resources, part, resource, node)
        divisor = parse_quantity(selector.get("divisor") or "1") or Fraction(1)
    except InvalidQuantityError as error:
        raise FieldError(str(error)) from error
    return str(math.ceil(amount / divisor))


def _amount(resources: KubeObject, part: str, resource: str, node: NodeResources) -> Fraction:
    values = resources.get(part) or {}
    if resource in values:
        return Fraction(parse_quantity(values[resource]))
    if part == "requests" and resource in (resources.get("limits") or {}):
        return Fraction(parse_quantity(resources["limits"][resource]))
    if part == "requests":
        return Fraction(0)
    return {"cpu": Fraction(node.cpu_millis, 1000), "memory": Fraction(node.memory_bytes)}.get(resource, Fraction(0))
