"""Questions that are answered and not stored: who the client or the bearer of a token is, what it or another may do.

``kubectl auth whoami`` and ``kubectl auth can-i`` ask some of them, services that leave authentication and
authorization to the API server the others. What is wrong with a question is said in Kubernetes' words.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from aiohttp import web

from controlplane.api.authn import Authenticator, Credentials, User
from controlplane.api.authz import Authorizer, Rule
from controlplane.api.bodies import decode_object, decoded, media_type_of, read_body
from controlplane.api.call import Call
from controlplane.api.request_info import RequestInfo
from controlplane.api.responses import object_response
from flotilla.api.errors import ApiError, FieldError, bad_request, invalid, method_not_allowed
from flotilla.api.kinds import faults
from flotilla.api.objects import KubeObject, format_time

GROUPS = ("authentication.k8s.io", "authorization.k8s.io")
_LOCAL = "LocalSubjectAccessReview"
_SERVED = {
    "selfsubjectreviews": ("authentication.k8s.io", "SelfSubjectReview"),
    "tokenreviews": ("authentication.k8s.io", "TokenReview"),
    "localsubjectaccessreviews": ("authorization.k8s.io", _LOCAL),
    "selfsubjectaccessreviews": ("authorization.k8s.io", "SelfSubjectAccessReview"),
    "selfsubjectrulesreviews": ("authorization.k8s.io", "SelfSubjectRulesReview"),
    "subjectaccessreviews": ("authorization.k8s.io", "SubjectAccessReview"),
}
_OTHERS = (_LOCAL, "SubjectAccessReview")


def serves(info: RequestInfo) -> bool:
    """Whether a request of these groups is for a review that is answered here."""
    group, kind = _SERVED.get(info.plural, ("", ""))
    return group == info.group and not info.name and bool(info.namespace) == (kind == _LOCAL)


async def answer_review(call: Call, authorizer: Authorizer, authenticator: Authenticator) -> web.Response:
    """Answer a review. BadRequest for one of another kind, Invalid for one that asks nothing or two things."""
    info = call.info
    if info.verb != "create":
        raise method_not_allowed()
    data, media_type = await read_body(call.request), media_type_of(call.request)
    review = await decoded(partial(decode_object, data, media_type), data, media_type)
    _, kind = _SERVED[info.plural]
    if review.get("kind", kind) != kind:
        raise bad_request(f"expected a {kind}, not a {review.get('kind')}")
    head = {"kind": kind, "apiVersion": f"{info.group}/{info.version}"}
    metadata: KubeObject = {"creationTimestamp": format_time(datetime.now(UTC))}
    if kind == "SelfSubjectReview":
        status: KubeObject = {"userInfo": _user_info(call.user)}
        return object_response(head | {"metadata": metadata, "status": status}, status=201)
    spec = review.get("spec")
    if not isinstance(spec, dict):
        raise bad_request("spec must be an object")
    if kind == "TokenReview":
        status = _identify(authenticator, spec)
    elif kind == "SelfSubjectRulesReview":
        status = _list(authorizer.rules(call.user), spec)
    else:
        _check(kind, spec, info)
        status = _decide(_subject(spec) if kind in _OTHERS else call.user, authorizer, spec)
    if info.namespace:
        metadata["namespace"] = info.namespace
    return object_response(head | {"metadata": metadata, "spec": spec, "status": status}, status=201)


def _user_info(user: User) -> KubeObject:
    return {"username": user.name, "groups": list(user.groups)}


def _identify(authenticator: Authenticator, spec: KubeObject) -> KubeObject:
    """Whose token it is, if it is anybody's."""
    token = spec.get("token")
    if not token or not isinstance(token, str):
        raise bad_request("token is required for TokenReview in authentication")
    try:
        user = authenticator.authenticate(Credentials(None, f"Bearer {token}"))
    except ApiError as error:
        return {"user": {}, "error": f"the token is not valid: {error.message}"}
    return {"authenticated": True, "user": _user_info(user)}


def _check(kind: str, spec: KubeObject, info: RequestInfo) -> None:
    """Invalid where the question is not one question about somebody."""
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    errors: list[FieldError] = []
    if resource is not None and path is not None:
        why = "cannot be specified in combination with resourceAttributes"
        errors.append(faults.invalid("spec.nonResourceAttributes", path, why))
    if resource is None and path is None:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        errors.append(faults.invalid("spec.resourceAttributes", None, why))
    if kind in _OTHERS and not spec.get("user") and not spec.get("groups"):
        errors.append(faults.invalid("spec.user", "", "at least one of user or group must be specified"))
    if kind == _LOCAL:
        errors += _check_local(resource, path, info.namespace)
    if errors:
        raise invalid(kind, "", errors, group=info.group)
    for field, value in (("resourceAttributes", resource), ("nonResourceAttributes", path)):
        if value is not None and not isinstance(value, dict):
            raise bad_request(f"spec.{field} must be an object")


def _check_local(resource: Any, path: Any, namespace: str) -> list[FieldError]:
    """Faults of a question that is bound to one namespace."""
    errors: list[FieldError] = []
    asked = resource.get("namespace") or "" if isinstance(resource, dict) else namespace
    if asked != namespace:
        errors.append(faults.invalid("spec.resourceAttributes.namespace", asked, "must match metadata.namespace"))
    if path is not None:
        errors.append(faults.invalid("spec.nonResourceAttributes", path, "disallowed on this kind of request"))
    return errors


def _decide(user: User, authorizer: Authorizer, spec: KubeObject) -> KubeObject:
    """The decision alone: as in Kubernetes, a refusal needs no reason where nothing forbids and nothing allows."""
    return {"allowed": authorizer.allows(user, _asked(spec))}


def _subject(spec: KubeObject) -> User:
    """Whom a SubjectAccessReview asks about: a user, groups, or both."""
    name, groups = spec.get("user") or "", spec.get("groups") or []
    if not isinstance(name, str) or not isinstance(groups, list) or not all(isinstance(each, str) for each in groups):
        raise bad_request("spec.user must be a string, spec.groups a list of strings")
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
    path = spec.get("nonResourceAttributes")
    if path is not None:
        return RequestInfo(str(path.get("path") or ""), str(path.get("verb") or ""))
    resource = spec["resourceAttributes"]
    fields = ("group", "version", "namespace", "resource", "name", "subresource")
    return RequestInfo("", str(resource.get("verb") or ""), True, *(str(resource.get(name) or "") for name in fields))
