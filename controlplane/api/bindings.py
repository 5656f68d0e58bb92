"""``pods/<name>/binding``: assigning a pod to a node by hand, as schedulers of others do."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from controlplane.api.bodies import decode_object, media_type_of, read_body
from controlplane.api.call import Call
from controlplane.api.operations import Operations
from controlplane.api.responses import object_response
from controlplane.api.writes import write_options
from flotilla.api.conditions import set_condition
from flotilla.api.errors import bad_request, not_found
from flotilla.api.objects import KubeObject
from flotilla.api.resources import PODS


async def bind(call: Call, operations: Operations) -> web.Response:
    """Carry out a core/v1 Binding. Conflict if the pod has a node already."""
    binding = decode_object(await read_body(call.request), media_type_of(call.request))
    target = binding.get("target")
    if binding.get("kind", "Binding") != "Binding" or not isinstance(target, dict) or not target.get("name"):
        raise bad_request("expected a Binding with a target")
    if target.get("kind", "Node") not in ("", "Node"):
        raise bad_request(f"a pod can be bound to a Node only, not to a {target['kind']}")

    def assign(pod: KubeObject) -> KubeObject:
        pod["spec"] = pod["spec"] | {"nodeName": target["name"]}
        conditions = pod.setdefault("status", {}).setdefault("conditions", [])
        set_condition(conditions, "PodScheduled", status="True", reason="", message="", now=datetime.now(UTC))
        return pod

    options = write_options(call, subresource="binding")
    stored = await operations.change(PODS, call.info.namespace, call.info.name, assign, options)
    if stored is None:
        raise not_found("pods", call.info.name)
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
    return object_response(status, status=201, warnings=call.warnings)
