"""``pods/<name>/binding`` and ``bindings``: assigning a pod to a node by hand, as schedulers of others do."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from controlplane.api.call import Call
from controlplane.api.object_meta import metadata_of, place
from controlplane.api.operations import Operations
from controlplane.api.request_kinds import BINDING, read_request
from controlplane.api.responses import created_status
from controlplane.api.writes import write_options
from flotilla.api.conditions import set_condition
from flotilla.api.errors import FieldError, conflict, invalid, not_found
from flotilla.api.objects import KubeObject
from flotilla.api.resources import PODS


async def bind(call: Call, operations: Operations) -> web.Response:
    """Carry out a core/v1 Binding. Conflict if the pod has a node already, or is not the one that was meant."""
    options = write_options(call, subresource="binding")
    binding = await read_request(call, (BINDING,))
    place(BINDING, binding, call.info.namespace, name=call.info.name)
    metadata = metadata_of(binding)
    name, node = metadata.get("name") or "", _node_of(binding)

    def assign(pod: KubeObject) -> KubeObject:
        if pod["spec"].get("schedulingGates"):
            raise conflict("pods/binding", name, f"pod {name} has non-empty .spec.schedulingGates")
        pod["spec"] = pod["spec"] | {"nodeName": node}
        pod["metadata"] = pod["metadata"] | {key: metadata[key] for key in ("uid", "annotations") if metadata.get(key)}
        conditions = pod.setdefault("status", {}).setdefault("conditions", [])
        set_condition(conditions, "PodScheduled", status="True", reason="", message="", now=datetime.now(UTC))
        return pod

    stored = await operations.change(PODS, call.info.namespace, name, assign, options)
    if stored is None:
        raise not_found("pods", name)
    return created_status(call.warnings)


def _node_of(binding: KubeObject) -> str:
    target = binding.get("target") or {}
    faults = []
    if target.get("kind") not in (None, "", "Node"):
        why = f'Unsupported value: "{target["kind"]}": supported values: "Node", "<empty>"'
        faults.append(FieldError("target.kind", why, "FieldValueNotSupported"))
    if not target.get("name"):
        faults.append(FieldError("target.name", "Required value", "FieldValueRequired"))
    if faults:
        raise invalid("Binding", binding["metadata"].get("name") or "", faults)
    return str(target["name"])
