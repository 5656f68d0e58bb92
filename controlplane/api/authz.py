"""What a user may do. The rules are by group until roles exist.

``system:masters`` may do everything. ``system:monitoring`` reads what a Prometheus server needs: the endpoints that are
no objects, and nodes, services, endpoints and pods for discovering what to scrape. Every user may ask who they are and
what the server serves, which is what clients do before anything else, and everybody at all how it is and of which
version (Kubernetes' ``system:basic-user``, ``system:discovery`` and ``system:public-info-viewer``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from controlplane.api.authn import AUTHENTICATED, MASTERS, UNAUTHENTICATED, User
from controlplane.api.request_info import RequestInfo
from flotilla.api.errors import ApiError, forbidden

MONITORING = "system:monitoring"
_READ = ("get", "list", "watch")
_MONITORED = ("endpoints", "endpointslices", "nodes", "pods", "services")
_REVIEWS = ("selfsubjectreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews")
_EVERYBODY = frozenset({AUTHENTICATED, UNAUTHENTICATED})
_PUBLIC = ("/healthz", "/livez", "/readyz", "/version")
_DISCOVERED = ("/api", "/apis", "/openapi", *_PUBLIC)


@dataclass(frozen=True, slots=True)
class Rule:
    """Verbs on resources, or on paths if there are ``paths``; ``*`` stands for all of them."""

    verbs: Sequence[str]
    groups: Sequence[str] = ()
    resources: Sequence[str] = ()
    paths: Sequence[str] = ()


class Authorizer(Protocol):
    """Decides about requests."""

    def allows(self, user: User, info: RequestInfo) -> bool:
        """Whether ``user`` may do what ``info`` says."""

    def rules(self, user: User) -> Sequence[Rule]:
        """All that ``user`` may do, for people to read; in every namespace alike."""


class GroupAuthorizer:
    """The rules above."""

    def allows(self, user: User, info: RequestInfo) -> bool:
        if MASTERS in user.groups or (_EVERYBODY.intersection(user.groups) and is_public(info)):
            return True
        if info.is_resource and info.plural in _REVIEWS and info.verb == "create":
            return True
        if (
            AUTHENTICATED in user.groups
            and info.verb == "get"
            and not info.is_resource
            and _is_below(info.path, _DISCOVERED)
        ):
            return True
        if MONITORING not in user.groups or info.verb not in _READ:
            return False
        return not info.is_resource or (info.plural in _MONITORED and not info.subresource)

    def rules(self, user: User) -> Sequence[Rule]:
        found = [Rule(("create",), ("authentication.k8s.io", "authorization.k8s.io"), _REVIEWS)]
        if _EVERYBODY.intersection(user.groups):
            found.append(Rule(("get",), paths=(*_PUBLIC, *(f"{path}/*" for path in _PUBLIC))))
        if AUTHENTICATED in user.groups:
            found.append(Rule(("get",), paths=(*_DISCOVERED, *(f"{path}/*" for path in _DISCOVERED))))
        if MASTERS in user.groups:
            found += [Rule(("*",), ("*",), ("*",)), Rule(("*",), paths=("*",))]
        elif MONITORING in user.groups:
            found += [Rule(_READ, ("*",), _MONITORED), Rule(_READ, paths=("*",))]
        return found


def is_public(info: RequestInfo) -> bool:
    """Whether a request may be answered to somebody who shows nothing."""
    return info.verb == "get" and not info.is_resource and _is_below(info.path, _PUBLIC)


def _is_below(path: str, known_paths: Sequence[str]) -> bool:
    return any(path == known or path.startswith(f"{known}/") for known in known_paths)


def authorize(authorizer: Authorizer, user: User, info: RequestInfo) -> None:
    """Forbidden, worded as Kubernetes does, unless the authorizer allows the request."""
    if not authorizer.allows(user, info):
        raise refusal(user, info)


def refusal(user: User, info: RequestInfo) -> ApiError:
    if not info.is_resource:
        return forbidden(f'forbidden: User "{user.name}" cannot {info.verb} path "{info.path}"')
    resource = f"{info.plural}/{info.subresource}" if info.subresource else info.plural
    scope = f'in the namespace "{info.namespace}"' if info.namespace else "at the cluster scope"
    what = f'{info.qualified} "{info.name}"' if info.name else info.qualified
    why = f'User "{user.name}" cannot {info.verb} resource "{resource}" in API group "{info.group}" {scope}'
    error = forbidden(f"{what} is forbidden: {why}")
    error.details = {"kind": info.plural} | ({"group": info.group} if info.group else {})
    if info.name:
        error.details["name"] = info.name
    return error
