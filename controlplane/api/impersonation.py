"""Acting as somebody else: ``kubectl --as``, by the ``Impersonate-*`` headers that Kubernetes documents.

A caller may impersonate when it may ``impersonate`` each of the named users and groups; the request then goes on with
the rights of the one who is impersonated, and of nobody else. A header that is not understood is refused rather than
left out, because leaving it out would lend the caller's own rights.
"""

from __future__ import annotations

from collections.abc import Iterator

from multidict import MultiMapping

from controlplane.api.authn import AUTHENTICATED, User
from controlplane.api.authz import Authorizer, authorize
from controlplane.api.request_info import RequestInfo
from flotilla.api.errors import bad_request

PREFIX = "impersonate-"
_USER, _GROUP, _UID = "Impersonate-User", "Impersonate-Group", "Impersonate-Uid"
_EXTRA = "impersonate-extra-"
_SERVICE_ACCOUNT = "system:serviceaccount:"


def effective_user(user: User, headers: MultiMapping[str], authorizer: Authorizer) -> User:
    """Whom the request acts as: ``user``, or the one it names. Forbidden, BadRequest."""
    if not any(name.lower().startswith(PREFIX) for name in headers):
        return user
    name, groups = headers.get(_USER, ""), headers.getall(_GROUP, [])
    if not name:
        raise bad_request(f"requested to impersonate without naming a user: the header {_USER} is missing")
    for wanted in _wanted(name, groups, headers):
        authorize(authorizer, user, wanted)
    return User(name, tuple(dict.fromkeys((*groups, *_groups_of(name), AUTHENTICATED))))


def _wanted(name: str, groups: list[str], headers: MultiMapping[str]) -> Iterator[RequestInfo]:
    if name.startswith(_SERVICE_ACCOUNT) and name.count(":") == 3:
        _, _, namespace, account = name.split(":")
        yield _may("serviceaccounts", account, namespace=namespace)
    else:
        yield _may("users", name)
    for group in groups:
        yield _may("groups", group)
    for header in headers:
        lowered = header.lower()
        if not lowered.startswith(PREFIX):
            continue
        if lowered.startswith(_EXTRA):
            yield _may("userextras", headers[header], group="authentication.k8s.io", subresource=lowered[len(_EXTRA) :])
        elif lowered == _UID.lower():
            yield _may("uids", headers[header], group="authentication.k8s.io")
        elif lowered not in (_USER.lower(), _GROUP.lower()):
            raise bad_request(f"the impersonation header {header} is not known")


def _may(plural: str, name: str, *, group: str = "", namespace: str = "", subresource: str = "") -> RequestInfo:
    return RequestInfo("", "impersonate", True, group, "v1", namespace, plural, name, subresource)


def _groups_of(name: str) -> tuple[str, ...]:
    """The groups that every service account is in."""
    if not name.startswith(_SERVICE_ACCOUNT) or name.count(":") != 3:
        return ()
    return ("system:serviceaccounts", f"system:serviceaccounts:{name.split(':')[2]}")
