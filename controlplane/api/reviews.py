"""``kubectl auth whoami`` and ``kubectl auth can-i``: who the client is to the server, and what it may do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from controlplane.api.authz import Authorizer, refusal
from controlplane.api.bodies import decode_object, media_type_of, read_body
from controlplane.api.call import Call
from controlplane.api.request_info import RequestInfo
from controlplane.api.responses import object_response
from flotilla.api.errors import bad_request, method_not_allowed
from flotilla.api.objects import KubeObject, format_time

GROUPS = ("authentication.k8s.io", "authorization.k8s.io")
_SERVED = {
    "selfsubjectreviews": ("authentication.k8s.io", "SelfSubjectReview"),
    "selfsubjectaccessreviews": ("authorization.k8s.io", "SelfSubjectAccessReview"),
}


def serves(info: RequestInfo) -> bool:
    """Whether a request of these groups is for a review that is answered here."""
    group, _ = _SERVED.get(info.plural, ("", ""))
    return group == info.group and not info.name and not info.namespace


async def answer_review(call: Call, authorizer: Authorizer) -> web.Response:
    """Answer a review. BadRequest for one of another kind."""
    info = call.info
    if info.verb != "create":
        raise method_not_allowed()
    review = decode_object(await read_body(call.request), media_type_of(call.request))
    _, kind = _SERVED[info.plural]
    if review.get("kind", kind) != kind:
        raise bad_request(f"expected a {kind}, not a {review.get('kind')}")
    head = {"kind": kind, "apiVersion": f"{info.group}/{info.version}"}
    metadata = {"metadata": {"creationTimestamp": format_time(datetime.now(UTC))}}
    if kind == "SelfSubjectReview":
        user = {"username": call.user.name, "groups": list(call.user.groups)}
        return object_response(head | metadata | {"status": {"userInfo": user}}, status=201)
    spec = review.get("spec")
    if not isinstance(spec, dict):
        raise bad_request("spec must be an object")
    return object_response(head | metadata | {"spec": spec, "status": _decide(call, authorizer, spec)}, status=201)


def _decide(call: Call, authorizer: Authorizer, spec: KubeObject) -> KubeObject:
    asked = _asked(spec)
    allowed = authorizer.allows(call.user, asked)
    return {"allowed": allowed} | ({} if allowed else {"reason": refusal(call.user, asked).message})


def _asked(spec: KubeObject) -> RequestInfo:
    resource: Any = spec.get("resourceAttributes")
    path: Any = spec.get("nonResourceAttributes")
    if isinstance(resource, dict) == isinstance(path, dict):
        raise bad_request("exactly one of resourceAttributes and nonResourceAttributes must be given")
    if isinstance(path, dict):
        return RequestInfo(str(path.get("path") or ""), str(path.get("verb") or ""))
    fields = ("group", "version", "namespace", "resource", "name", "subresource")
    return RequestInfo("", str(resource.get("verb") or ""), True, *(str(resource.get(name) or "") for name in fields))
