"""Paths taken apart."""

from __future__ import annotations

import pytest

from controlplane.api.negotiation import Form, accepts_gzip, negotiate
from controlplane.api.request_info import RequestInfo, read_request
from flotilla.api.errors import ApiError


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/v1/pods", ("list", "", "v1", "", "pods", "", "")),
        ("GET", "/api/v1/namespaces", ("list", "", "v1", "", "namespaces", "", "")),
        ("GET", "/api/v1/namespaces/a", ("get", "", "v1", "", "namespaces", "a", "")),
        ("PUT", "/api/v1/namespaces/a/status", ("update", "", "v1", "", "namespaces", "a", "status")),
        ("PUT", "/api/v1/namespaces/a/finalize", ("update", "", "v1", "", "namespaces", "a", "finalize")),
        ("POST", "/api/v1/namespaces/a/pods", ("create", "", "v1", "a", "pods", "", "")),
        ("GET", "/api/v1/namespaces/a/pods/p/log", ("get", "", "v1", "a", "pods", "p", "log")),
        ("PATCH", "/apis/apps/v1/namespaces/a/deployments/d", ("patch", "apps", "v1", "a", "deployments", "d", "")),
        (
            "DELETE",
            "/apis/apps/v1/namespaces/a/deployments",
            ("deletecollection", "apps", "v1", "a", "deployments", "", ""),
        ),
        ("DELETE", "/api/v1/nodes/n", ("delete", "", "v1", "", "nodes", "n", "")),
        ("GET", "/api/v1/watch/namespaces/a/pods", ("watch", "", "v1", "a", "pods", "", "")),
        ("GET", "/api/v1/watch/namespaces/a/pods/p", ("watch", "", "v1", "a", "pods", "p", "")),
        ("GET", "/apis/apps/v1/watch/deployments", ("watch", "apps", "v1", "", "deployments", "", "")),
        ("POST", "/api/v1/watch/namespaces/a/pods", ("post", "", "v1", "a", "pods", "", "")),
        ("HEAD", "/api/v1/pods", ("list", "", "v1", "", "pods", "", "")),
        ("OPTIONS", "/api/v1/pods", ("options", "", "v1", "", "pods", "", "")),
        ("GET", "/api/v1/namespaces/a/status", ("get", "", "v1", "", "namespaces", "a", "status")),
    ],
)
def test_resource_paths(method: str, path: str, expected: tuple[str, ...]) -> None:
    """Verb, group, version, namespace, resource, name and subresource, as Kubernetes lays them out."""
    info = read_request(method, path, watch=False)
    found = (info.verb, info.group, info.version, info.namespace, info.plural, info.name, info.subresource)
    assert info.is_resource
    assert found == expected


def test_watch_is_a_verb_of_get_alone() -> None:
    """The watch parameter turns a list into a watch and nothing else."""
    assert read_request("GET", "/api/v1/pods", watch=True).verb == "watch"
    assert read_request("GET", "/api/v1/namespaces/a/pods/p", watch=True).verb == "get"
    assert read_request("POST", "/api/v1/pods", watch=True).verb == "create"


@pytest.mark.parametrize("path", ["/", "/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/version"])
def test_other_paths(path: str) -> None:
    """What is no resource is known by its path."""
    assert read_request("GET", path, watch=False) == RequestInfo(path, "get")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Form()),
        ("*/*", Form()),
        ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Form("Table", "v1")),
        ("application/json;g=meta.k8s.io;v=v1beta1;as=Table", Form("Table", "v1beta1")),
        ("application/json;as=Table;v=v2;g=meta.k8s.io,application/json", Form()),
        ("application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json", Form()),
        ("application/json;q=0.5,application/json;as=Table;v=v1;g=meta.k8s.io", Form("Table", "v1")),
    ],
)
def test_negotiation(accept: str, form: Form) -> None:
    """The best alternative that is offered is taken."""
    assert negotiate(accept) == form


@pytest.mark.parametrize("accept", ["application/vnd.kubernetes.protobuf", "text/html", "application/json;as=Foo"])
def test_what_is_not_offered_is_406(accept: str) -> None:
    """A client that takes nothing of what there is is told so."""
    with pytest.raises(ApiError) as caught:
        negotiate(accept)
    assert caught.value.code == 406


def test_gzip_can_be_ruled_out() -> None:
    """A quality of 0 means not at all."""
    assert accepts_gzip("deflate, gzip;q=0.5")
    assert not accepts_gzip("gzip;q=0")
    assert not accepts_gzip("identity")
