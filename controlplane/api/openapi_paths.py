"""The paths of an OpenAPI document: which operation each method is, on which kind, with which parameters.

kubectl looks up here whether a kind's PATCH and POST know ``fieldValidation``, and every client generator names its
methods from the operation ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from controlplane.api.catalog import GroupVersion, Served, ServedSubresource
from flotilla.api.registry import Resource

Document = dict[str, Any]
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_SCALE = "io.k8s.api.autoscaling.v1.Scale"
_BINDING = "io.k8s.api.core.v1.Binding"
_EVICTION = "io.k8s.api.policy.v1.Eviction"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
PATCH_TYPES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    STRATEGIC_PATCH,
)


def patch_types(row: Resource | None) -> tuple[str, ...]:
    """The media types of patches of a kind: those defined at run time have no strategic merge."""
    if row is None or row.shape is None:
        return PATCH_TYPES
    return tuple(media_type for media_type in PATCH_TYPES if media_type != STRATEGIC_PATCH)


_PARAMETERS: dict[str, tuple[str, str]] = {
    "allowWatchBookmarks": ("boolean", 'Asks for watch events of type "BOOKMARK".'),
    "command": ("string", "The command's program and arguments, one each time; not run by a shell."),
    "container": ("string", "The container that is meant. Defaults to the only container of the pod."),
    "continue": ("string", "The token of the next page, as the last page's list metadata gave it."),
    "dryRun": ("string", 'When present, nothing is stored. The only valid value is "All".'),
    "fieldManager": ("string", "The name of the actor that makes the changes; required for apply."),
    "fieldSelector": ("string", "Restricts the list to objects with these fields. Defaults to everything."),
    "fieldValidation": (
        "string",
        "What becomes of unknown and duplicate fields: Ignore drops them, Warn (the default) reports them in a Warning "
        "header, Strict refuses the request.",
    ),
    "follow": ("boolean", "Stream the log as it is written."),
    "force": ("boolean", "Take fields over that other managers own. Only for apply."),
    "gracePeriodSeconds": ("integer", "Seconds before the object is removed; 0 removes it at once."),
    "labelSelector": ("string", "Restricts the list to objects with these labels. Defaults to everything."),
    "limit": ("integer", "The largest number of objects in one page."),
    "limitBytes": ("integer", "The number of bytes after which the log ends."),
    "orphanDependents": ("boolean", "Deprecated: use propagationPolicy."),
    "pretty": ("string", "Accepted for compatibility."),
    "ports": ("string", "The ports of the pod to forward to."),
    "previous": ("boolean", "Show the log of the container's last terminated instance."),
    "propagationPolicy": ("string", "How dependents go: Orphan, Background or Foreground."),
    "resourceVersion": ("string", "Which versions the request may be served from."),
    "resourceVersionMatch": ("string", "How resourceVersion is applied: Exact or NotOlderThan."),
    "sendInitialEvents": ("boolean", "Begin a watch with the present state, ended by a bookmark."),
    "sinceSeconds": ("integer", "Show only lines that are at most this many seconds old."),
    "sinceTime": ("string", "Show only lines from this RFC 3339 time on."),
    "stderr": ("boolean", "Stream the process's error output."),
    "stdin": ("boolean", "Stream input to the process."),
    "stdout": ("boolean", "Stream the process's output."),
    "tailLines": ("integer", "Show this many lines from the end of the log."),
    "timeoutSeconds": ("integer", "Seconds after which a watch ends."),
    "timestamps": ("boolean", "Prefix each line with its time."),
    "tty": ("boolean", "Give the process a terminal."),
    "watch": ("boolean", "Stream changes instead of listing."),
}
_LIST = (
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
)
_WRITE = ("dryRun", "fieldManager", "fieldValidation")
_DELETE = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")
_LOG = (
    "container",
    "follow",
    "limitBytes",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "tailLines",
    "timestamps",
)
_CONNECT = {
    "attach": ("container", "stdin", "stdout", "stderr", "tty"),
    "exec": ("command", "container", "stdin", "stdout", "stderr", "tty"),
    "portforward": ("ports",),
}


class Operation:
    """One method of one path, before it is written in the form of OpenAPI 2 or 3."""

    __slots__ = ("action", "body", "description", "gvk", "media_types", "method", "operation_id", "query", "response")

    def __init__(self, method: str, action: str, *, operation_id: str, gvk: Document, description: str) -> None:
        self.method = method
        self.action = action
        self.operation_id = operation_id
        self.gvk = gvk
        self.description = description
        self.query: Sequence[str] = ()
        self.body = ""
        self.media_types: Sequence[str] = ("application/json", "application/yaml")
        self.response = ""


class Path:
    """One path with its operations and the names in its placeholders."""

    __slots__ = ("operations", "path", "placeholders")

    def __init__(self, path: str, placeholders: Sequence[str]) -> None:
        self.path = path
        self.placeholders = placeholders
        self.operations: list[Operation] = []


def paths_of(version: GroupVersion) -> Iterator[Path]:
    """The paths of one group version."""
    for served in version.resources:
        yield from (path for path in _paths_of_resource(version, served, served.definition) if path.operations)


def _camel(text: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in text.replace(".k8s.io", "").replace("-", ".").split("."))


class _Writer:
    """Makes the operations of one resource."""

    def __init__(self, version: GroupVersion, served: Served, definition: str) -> None:
        self.definition = definition
        self.served = served
        self.tag = _camel(version.group or "core") + _camel(version.version)
        self.gvk = {"group": version.group, "version": version.version, "kind": served.kind}

    def make(self, method: str, action: str, *, scope: str, verb: str = "", suffix: str = "") -> Operation:
        scoped = "Namespaced" if scope == "namespaced" else ""
        tail = "ForAllNamespaces" if scope == "all" else ""
        operation_id = f"{verb or action}{self.tag}{scoped}{self.served.kind}{suffix}{tail}"
        description = f"{verb or action} {self.served.kind}{suffix and ' ' + suffix}"
        return Operation(method, action, operation_id=operation_id, gvk=self.gvk, description=description)

    def collection(self, scope: str) -> Iterator[Operation]:
        verbs = self.served.verbs
        if "list" in verbs:
            listing = self.make("get", "list", scope=scope)
            listing.query, listing.response = _LIST, f"{self.definition}List"
            yield listing
        if scope != "all" and "create" in verbs:
            creation = self.make("post", "post", scope=scope, verb="create")
            creation.query, creation.body, creation.response = _WRITE, self.definition, self.definition
            yield creation
        if scope != "all" and "deletecollection" in verbs:
            deletion = self.make("delete", "deletecollection", scope=scope, verb="deleteCollection")
            deletion.query, deletion.body, deletion.response = (
                (*_LIST, *_DELETE),
                _META + "DeleteOptions",
                _META + "Status",
            )
            yield deletion

    def item(self, scope: str) -> Iterator[Operation]:
        yield from self.reading_and_writing(scope, self.served.verbs, self.definition)
        if "delete" in self.served.verbs:
            deletion = self.make("delete", "delete", scope=scope)
            deletion.query, deletion.body, deletion.response = _DELETE, _META + "DeleteOptions", _META + "Status"
            yield deletion

    def reading_and_writing(
        self, scope: str, verbs: Sequence[str], definition: str, suffix: str = ""
    ) -> Iterator[Operation]:
        if "get" in verbs:
            reading = self.make("get", "get", scope=scope, verb="read", suffix=suffix)
            reading.response = definition
            yield reading
        if "update" in verbs:
            update = self.make("put", "put", scope=scope, verb="replace", suffix=suffix)
            update.query, update.body, update.response = _WRITE, definition, definition
            yield update
        if "patch" in verbs:
            patch = self.make("patch", "patch", scope=scope, suffix=suffix)
            patch.query, patch.body, patch.response = (*_WRITE, "force"), _META + "Patch", definition
            patch.media_types = patch_types(self.served.row)
            yield patch

    def subresource(self, scope: str, sub: ServedSubresource) -> Iterator[Operation]:
        suffix = _camel(sub.name)
        if sub.name == "log":
            log = self.make("get", "get", scope=scope, verb="read", suffix=suffix)
            log.query = _LOG
            yield log
            return
        if sub.name in _CONNECT:
            yield from self.connections(scope, sub, suffix)
            return
        definition = {"scale": _SCALE, "binding": _BINDING, "eviction": _EVICTION}.get(sub.name, self.definition)
        operations = list(self.reading_and_writing(scope, sub.verbs, definition, suffix))
        if "create" in sub.verbs:
            creation = self.make("post", "post", scope=scope, verb="create", suffix=suffix)
            creation.query, creation.body, creation.response = _WRITE, definition, definition
            operations.append(creation)
        for operation in operations:
            operation.gvk = {"group": sub.group, "version": sub.version, "kind": sub.kind}
            yield operation

    def connections(self, scope: str, sub: ServedSubresource, suffix: str) -> Iterator[Operation]:
        """The ways to open a stream: by GET for WebSockets, by POST for SPDY."""
        for method in ("get", "post"):
            connection = self.make(method, "connect", scope=scope, verb=f"connect{method.capitalize()}", suffix=suffix)
            connection.query = _CONNECT[sub.name]
            connection.gvk = {"group": sub.group, "version": sub.version, "kind": sub.kind}
            yield connection


def _paths_of_resource(version: GroupVersion, served: Served, definition: str) -> Iterator[Path]:
    writer = _Writer(version, served, definition)
    base = f"/{version.path}"
    scope = "cluster"
    placeholders: tuple[str, ...] = ()
    if served.namespaced:
        everywhere = Path(f"{base}/{served.plural}", ())
        everywhere.operations.extend(writer.collection("all"))
        yield everywhere
        scope, placeholders, base = "namespaced", ("namespace",), f"{base}/namespaces/{{namespace}}"
    collection = Path(f"{base}/{served.plural}", placeholders)
    collection.operations.extend(writer.collection(scope))
    yield collection
    item = Path(f"{base}/{served.plural}/{{name}}", (*placeholders, "name"))
    item.operations.extend(writer.item(scope))
    yield item
    for sub in served.subresources:
        path = Path(f"{item.path}/{sub.name}", item.placeholders)
        path.operations.extend(writer.subresource(scope, sub))
        yield path


def query_parameter(name: str) -> tuple[str, str]:
    """The type and the description of a query parameter."""
    return _PARAMETERS[name]
