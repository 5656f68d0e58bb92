"""Discovery: which groups, versions and resources there are, aggregated (one document) and in the old form (many).

The documents don't change while a server runs, so they are encoded once and served with an ETag.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from aiohttp import web

from controlplane.api.catalog import Catalog, GroupVersion, Served, ServedSubresource
from controlplane.api.negotiation import JSON, media_ranges, unacceptable
from controlplane.api.responses import JSON_CONTENT, json_response
from flotilla.api.objects import KubeObject, encode

_AGGREGATED_GROUP = "apidiscovery.k8s.io"
_AGGREGATED_VERSIONS = ("v2", "v2beta1")


class Discovery:
    """The documents under ``/api`` and ``/apis``."""

    def __init__(self, catalog: Catalog, *, server_address: str = "") -> None:
        self._documents: dict[str, bytes] = {}
        self._aggregated: dict[tuple[str, str], bytes] = {}
        self._add_core(catalog.core(), server_address)
        self._add_groups(catalog.groups())
        for version in catalog.versions:
            self._documents[f"/{version.path}"] = encode(_resource_list(version))

    def _add_core(self, versions: Sequence[GroupVersion], server_address: str) -> None:
        addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}]
        names = [version.version for version in versions]
        self._documents["/api"] = encode(
            {"kind": "APIVersions", "versions": names, "serverAddressByClientCIDRs": addresses}
        )
        for form in _AGGREGATED_VERSIONS:
            self._aggregated["/api", form] = encode(_aggregated(form, {"": versions}))

    def _add_groups(self, groups: dict[str, list[GroupVersion]]) -> None:
        described = [_group(name, versions) for name, versions in groups.items()]
        self._documents["/apis"] = encode({"kind": "APIGroupList", "apiVersion": "v1", "groups": described})
        for group in described:
            self._documents[f"/apis/{group['name']}"] = encode({"kind": "APIGroup", "apiVersion": "v1"} | group)
        for form in _AGGREGATED_VERSIONS:
            self._aggregated["/apis", form] = encode(_aggregated(form, groups))

    def answer(self, request: web.BaseRequest) -> web.Response | None:
        """The document at the request's path, None if there is none. NotAcceptable."""
        path = request.path.rstrip("/")
        document = self._documents.get(path)
        if document is None:
            return None
        form = self._form(path, request.headers.get("Accept", ""))
        body = self._aggregated[path, form] if form else document
        return _with_etag(request, body, form)

    def _form(self, path: str, accept: str) -> str:
        """The version of aggregated discovery that is asked for, ``""`` for the old form."""
        for media in media_ranges(accept):
            if media.parameters.get("as") == "APIGroupDiscoveryList":
                version = media.parameters.get("v", "")
                known = media.parameters.get("g") == _AGGREGATED_GROUP and (path, version) in self._aggregated
                if known and media.type == JSON:
                    return version
            elif media.type in (JSON, "application/*", "*/*"):
                return ""
        if accept:
            raise unacceptable()
        return ""


def _with_etag(request: web.BaseRequest, body: bytes, form: str) -> web.Response:
    etag = f'"{hashlib.sha256(body).hexdigest()[:32].upper()}"'
    if request.headers.get("If-None-Match") == etag:
        response = web.Response(status=304)
    else:
        response = json_response(body)
        if form:
            content = f"{JSON_CONTENT};g={_AGGREGATED_GROUP};v={form};as=APIGroupDiscoveryList"
            response.headers["Content-Type"] = content
    response.headers["ETag"] = etag
    response.headers["Vary"] = "Accept"
    response.headers["Cache-Control"] = "public"
    return response


def _group(name: str, versions: Sequence[GroupVersion]) -> KubeObject:
    listed = [{"groupVersion": version.api_version, "version": version.version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _resource_list(version: GroupVersion) -> KubeObject:
    resources: list[KubeObject] = []
    for served in version.resources:
        resources.append(_resource(served))
        resources.extend(_subresource(served, sub, version) for sub in served.subresources)
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": version.api_version,
        "resources": resources,
    }


def _resource(served: Served) -> KubeObject:
    entry: KubeObject = {
        "name": served.plural,
        "singularName": served.singular,
        "namespaced": served.namespaced,
        "kind": served.kind,
        "verbs": list(served.verbs),
    }
    if served.short_names:
        entry["shortNames"] = list(served.short_names)
    if served.categories:
        entry["categories"] = list(served.categories)
    return entry


def _subresource(served: Served, sub: ServedSubresource, version: GroupVersion) -> KubeObject:
    entry: KubeObject = {"name": f"{served.plural}/{sub.name}", "singularName": "", "namespaced": served.namespaced}
    if (sub.group, sub.version) != (version.group, version.version):
        entry |= {"group": sub.group, "version": sub.version}
    return entry | {"kind": sub.kind, "verbs": list(sub.verbs)}


def _aggregated(form: str, groups: dict[str, Sequence[GroupVersion]] | dict[str, list[GroupVersion]]) -> KubeObject:
    items = []
    for name, versions in groups.items():
        described = [
            {
                "version": version.version,
                "resources": [_aggregated_resource(served, version) for served in version.resources],
                "freshness": "Current",
            }
            for version in versions
        ]
        items.append({"metadata": {"name": name} if name else {}, "versions": described})
    api_version = f"{_AGGREGATED_GROUP}/{form}"
    return {"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items}


def _aggregated_resource(served: Served, version: GroupVersion) -> KubeObject:
    entry: KubeObject = {
        "resource": served.plural,
        "responseKind": {"group": version.group, "version": version.version, "kind": served.kind},
        "scope": "Namespaced" if served.namespaced else "Cluster",
        "singularResource": served.singular,
        "verbs": list(served.verbs),
    }
    if served.short_names:
        entry["shortNames"] = list(served.short_names)
    if served.categories:
        entry["categories"] = list(served.categories)
    if served.subresources:
        entry["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": {"group": sub.group, "version": sub.version, "kind": sub.kind},
                "verbs": list(sub.verbs),
            }
            for sub in served.subresources
        ]
    return entry
