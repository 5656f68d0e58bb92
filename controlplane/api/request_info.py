"""What a request is about, read from its path: the resource, the object and the part of it, and the verb.

The layout is Kubernetes': ``/api/v1/...`` and ``/apis/<group>/<version>/...``, then
``[namespaces/<namespace>/]<plural>[/<name>[/<subresource>[/<rest>]]]``. ``/watch/`` before it is a watch's old form,
the only one that watches a single object by its path: a ``watch`` parameter means nothing to the GET of one object.
"""

from __future__ import annotations

from dataclasses import dataclass

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}
_NAMESPACE_SUBRESOURCES = ("status", "finalize")


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """``group`` and so on are empty where ``is_resource`` is False (discovery, health, metrics).

    ``tail`` is the path behind the subresource ``proxy``, which is none of its name.
    """

    path: str
    verb: str
    is_resource: bool = False
    group: str = ""
    version: str = ""
    namespace: str = ""
    plural: str = ""
    name: str = ""
    subresource: str = ""
    tail: str = ""

    @property
    def qualified(self) -> str:
        """The resource as error messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


def read_request(method: str, path: str, *, watch: bool) -> RequestInfo:
    """The request of ``method`` on ``path``; ``watch`` is its query parameter."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return RequestInfo(path, method.lower())
    old_watch = rest[0] == "watch" and len(rest) > 1
    if old_watch:
        rest = rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and (len(rest) > 3 or rest[2] not in _NAMESPACE_SUBRESOURCES):
        namespace, rest = rest[1], rest[2:]
    name = rest[1] if len(rest) > 1 else ""
    proxied = rest[2:3] == ["proxy"]
    return RequestInfo(
        path,
        _verb_of_old_watch(method) if old_watch else _verb(method, name, watch=watch),
        True,
        group,
        version,
        namespace,
        rest[0],
        name,
        "proxy" if proxied else "/".join(rest[2:]),
        "/".join(rest[3:]) if proxied else "",
    )


def _verb(method: str, name: str, *, watch: bool) -> str:
    if method in ("GET", "HEAD"):
        return "get" if name else "watch" if watch else "list"
    if method == "DELETE":
        return "delete" if name else "deletecollection"
    return _VERBS.get(method, method.lower())


def _verb_of_old_watch(method: str) -> str:
    return "watch" if method in ("GET", "HEAD") else method.lower()
