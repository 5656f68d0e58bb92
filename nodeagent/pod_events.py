"""Events about pods, gathered for the session to carry to the server."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flotilla.api.objects import KubeObject, name_of, namespace_of, uid_of


@dataclass(frozen=True, slots=True)
class PodEvent:
    """One event as the server is told; ``involved`` is an ObjectReference."""

    involved: KubeObject
    type: str
    reason: str
    message: str
    time_unix_s: float


EventSink = Callable[[PodEvent], None]


def pod_event(pod: Mapping[str, Any], type_: str, reason: str, message: str, *, container: str = "") -> PodEvent:
    """An event about a pod, or one of its containers, happening now."""
    involved = {"apiVersion": "v1", "kind": "Pod", "namespace": namespace_of(pod), "name": name_of(pod)}
    involved |= {"uid": uid_of(pod), "resourceVersion": pod["metadata"].get("resourceVersion", "")}
    if container:
        initial = any(each["name"] == container for each in pod["spec"].get("initContainers") or ())
        involved["fieldPath"] = f"spec.{'initContainers' if initial else 'containers'}{{{container}}}"
    return PodEvent(involved, type_, reason, message, time.time())


def node_event(node: str, type_: str, reason: str, message: str) -> PodEvent:
    """An event about the node itself, happening now."""
    involved = {"apiVersion": "v1", "kind": "Node", "name": node, "uid": node}
    return PodEvent(involved, type_, reason, message, time.time())
