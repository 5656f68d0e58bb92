"""``kubectl auth whoami`` and ``kubectl auth can-i``: who the client is to the server, what it or another may do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from controlplane.api.authn import User
from controlplane.api.authz import Authorizer, Rule, refusal
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
    "selfsubjectrulesreviews": ("authorization.k8s.io", "SelfSubjectRulesReview"),
    "subjectaccessreviews": ("authorization.k8s.io", "SubjectAccessReview"),
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
    if kind == "SelfSubjectRulesReview":
        status = _list(authorizer.rules(call.user), spec)
    else:
        status = _decide(call.user if kind == "SelfSubjectAccessReview" else _subject(spec), authorizer, spec)
    return object_response(head | metadata | {"spec": spec, "status": status}, status=201)


def _decide(user: User, authorizer: Authorizer, spec: KubeObject) -> KubeObject:
    asked = _asked(spec)
    allowed = authorizer.allows(user, asked)
    return {"allowed": allowed} | ({} if allowed else {"reason": refusal(user, asked).message})


def _subject(spec: KubeObject) -> User:
    """Whom a SubjectAccessReview asks about: a user, groups, or both."""
    name, groups = spec.get("user") or "", spec.get("groups") or []
    if not isinstance(name, str) or not isinstance(groups, list) or not all(isinstance(each, str) for each in groups):
        raise bad_request("spec.user must be a string, spec.groups a list of strings")
    if not name and not groups:
        raise bad_request("at least one of spec.user and spec.groups must be given")
    return User(name, tuple(groups))


def _list(rules: Sequence[Rule], spec: KubeObject) -> KubeObject:
    if not spec.get("namespace"):
        raise bad_request("no namespace on request")
    resources = [
        {"verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources} for rule in rules if not rule.paths
    ]
    paths = [{"verbs": rule.verbs, "nonResourceURLs": rule.paths} for rule in rules if rule.paths]
    return {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}


def _asked(spec: KubeObject) -> RequestInfo:
    resource: Any = spec.get("resourceAttributes")
    path: Any = spec.get("nonResourceAttributes")
    if isinstance(resource, dict) == isinstance(path, dict):
        raise bad_request("exactly one of resourceAttributes and nonResourceAttributes must be given")
    if isinstance(path, dict):
        return RequestInfo(str(path.get("path") or ""), str(path.get("verb") or ""))
    fields = ("group", "version", "namespace", "resource", "name", "subresource")
    return RequestInfo("", str(resource.get("verb") or ""), True, *(str(resource.get(name) or "") for name in fields))
