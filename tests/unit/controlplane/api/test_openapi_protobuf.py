"""The OpenAPI 2 document in protobuf: what is in which field of gnostic's messages, and how it is negotiated."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from controlplane.api.catalog import Catalog, bindings_version, metrics_group, review_groups
from controlplane.api.openapi import build_v2, build_v3
from controlplane.api.openapi_cache import DocumentCache, unpack
from controlplane.api.openapi_protobuf import encode_v2
from controlplane.api.protobuf.wire import delimited, read_fields, varint_field
from flotilla.api.registry import REGISTRY

DEADLINE_S = 10.0
PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
ASKED_BY_KUBECTL = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
DEPLOYMENT_PATH = "/apis/apps/v1/namespaces/{namespace}/deployments/{name}"


def fields(data: bytes, number: int) -> list[Any]:
    return [value for found, value in read_fields(data) if found == number]


def inside(data: bytes, *numbers: int) -> Any:
    """The value at a path of field numbers, each of which is there once."""
    for number in numbers:
        (data,) = fields(data, number)
    return data


def named(data: bytes, number: int) -> dict[str, bytes]:
    """A map: messages of a name in field 1 and a value in field 2."""
    return {inside(item, 1).decode(): inside(item, 2) for item in fields(data, number)}


def extensions(data: bytes, number: int) -> dict[str, Any]:
    return {name: json.loads(inside(value, 2)) for name, value in named(data, number).items()}


def catalog() -> Catalog:
    """What a server serves that nobody has defined kinds for."""
    return Catalog(REGISTRY, (bindings_version(), metrics_group(), *review_groups()))


@pytest.fixture(scope="module")
def document() -> bytes:
    return encode_v2(build_v2(catalog()))


@pytest.fixture(scope="module")
def definitions(document: bytes) -> dict[str, bytes]:
    return named(inside(document, 9), 1)


def test_what_is_stored_nowhere_is_described(definitions: dict[str, bytes]) -> None:
    """Reviews, bindings and usage can be explained like every other kind, and refer to nothing that is missing."""
    for package, kind in (
        ("api.authentication.v1", "TokenReview"),
        ("api.authorization.v1", "LocalSubjectAccessReview"),
        ("api.core.v1", "Binding"),
        ("metrics.pkg.apis.metrics.v1beta1", "PodMetricsList"),
    ):
        assert f"io.k8s.{package}.{kind}" in definitions
    for version in catalog().versions:
        served = build_v3(version)
        known = {f"#/components/schemas/{name}" for name in served["components"]["schemas"]}
        assert references(served) <= known
        assert all(len(path) > 1 for path in served["paths"].values())


def references(part: object) -> set[str]:
    """All that a document refers to."""
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*(references(each) for each in part.values()))
    return set().union(*(references(each) for each in part)) if isinstance(part, list) else set()


def test_the_document_is_whole(document: bytes, definitions: dict[str, bytes]) -> None:
    """Version, title, and every definition and path that the JSON has."""
    expected = build_v2(catalog())
    assert inside(document, 1) == b"2.0"
    assert inside(document, 2, 1) == b"Kubernetes"
    assert definitions.keys() == expected["definitions"].keys()
    assert named(inside(document, 8), 2).keys() == expected["paths"].keys()


def test_definitions_carry_kind_merge_keys_and_references(definitions: dict[str, bytes]) -> None:
    """The extensions that kubectl reads, as YAML that is JSON."""
    deployment = definitions["io.k8s.api.apps.v1.Deployment"]
    kinds = [{"group": "apps", "version": "v1", "kind": "Deployment"}]
    assert extensions(deployment, 31) == {"x-kubernetes-group-version-kind": kinds}
    assert inside(deployment, 22, 1) == b"object"
    assert inside(named(inside(deployment, 25), 1)["spec"], 1) == b"#/definitions/io.k8s.api.apps.v1.DeploymentSpec"
    pod_spec = definitions["io.k8s.api.core.v1.PodSpec"]
    assert fields(pod_spec, 19) == [b"containers"]
    containers = named(inside(pod_spec, 25), 1)["containers"]
    assert extensions(containers, 31)["x-kubernetes-patch-merge-key"] == "name"
    assert inside(containers, 22, 1) == b"array"
    assert inside(containers, 23, 1, 1) == b"#/definitions/io.k8s.api.core.v1.Container"
    labels = named(inside(definitions["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"], 25), 1)["labels"]
    assert inside(labels, 21, 1, 22, 1) == b"string"


def test_operations_carry_kind_and_parameters(document: bytes) -> None:
    """PATCH knows fieldValidation in the query and the body's schema; the path has its placeholders."""
    path = named(inside(document, 8), 2)[DEPLOYMENT_PATH]
    patch = inside(path, 8)
    assert extensions(patch, 13)["x-kubernetes-group-version-kind"]["kind"] == "Deployment"
    parameters = [inside(item, 1) for item in fields(patch, 8)]
    in_query = [inside(item, 2, 3) for item in parameters if fields(item, 2)]
    assert b"fieldValidation" in [inside(item, 4) for item in in_query]
    (body,) = [inside(item, 1) for item in parameters if fields(item, 1)]
    assert inside(body, 5, 1).endswith(b".Patch") and inside(body, 4) == 1
    answered = named(inside(patch, 9), 1)["200"]
    assert inside(answered, 1, 2, 1, 1) == b"#/definitions/io.k8s.api.apps.v1.Deployment"
    placeholders = [inside(item, 1, 2, 4) for item in fields(path, 9)]
    assert [(inside(item, 4), inside(item, 1)) for item in placeholders] == [(b"namespace", 1), (b"name", 1)]


def test_what_is_not_covered_is_not_dropped() -> None:
    """A name without an encoder is an error, not a document with something missing."""
    with pytest.raises(KeyError, match="discriminator"):
        encode_v2({"definitions": {"a": {"discriminator": "kind"}}})


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, (1 << 64) - 1])
def test_written_fields_are_read_back(value: int) -> None:
    """Numbers and bytes of all lengths, with field numbers of one and two bytes."""
    data = bytes(value) if value < 1000 else b""
    written = varint_field(31, value) + delimited(1, data)
    assert list(read_fields(written)) == [(31, value), (1, data)]


async def get(api: Any, accept: str, **headers: str) -> tuple[int, Any, bytes]:
    async with (
        asyncio.timeout(DEADLINE_S),
        api.session.get(f"{api.url}/openapi/v2", headers={"Accept": accept, **headers}) as response,
    ):
        return response.status, response.headers, await response.read()


async def test_negotiation(api: Any, document: bytes) -> None:
    """Protobuf to whom asks for it by either name, JSON to everybody else, 304 to whom has it."""
    for accept in (ASKED_BY_KUBECTL, PROTOBUF, f"application/json;q=0.5, {PROTOBUF}"):
        status, headers, body = await get(api, accept)
        assert (status, headers["Content-Type"], body) == (200, PROTOBUF, document)
        current = {"If-None-Match": headers["ETag"]}
        assert (await get(api, accept, **current))[0] == 304
        assert (await get(api, "application/json", **current))[0] == 200
    assert (await get(api, ASKED_BY_KUBECTL, **{"Accept-Encoding": "identity"}))[2] == document
    for accept in ("*/*", f"application/json, {PROTOBUF}"):
        assert (await get(api, accept))[1]["Content-Type"].startswith("application/json")


async def test_documents_that_nobody_asks_for_are_let_go() -> None:
    """A document is built anew after its time, but its digest stays known without that."""
    built = []

    def build() -> bytes:
        built.append(1)
        return b"document"

    kept, short = DocumentCache(), DocumentCache(unused_s=0.0)
    for _ in range(2):
        assert unpack(await kept.packed("a", build)) == b"document"
    assert len(built) == 1
    await short.packed("a", build)
    expired = asyncio.Event()
    asyncio.get_running_loop().call_later(0.0, expired.set)
    await expired.wait()
    digest = await short.digest("a", build)
    assert digest == await kept.digest("a", build)
    assert len(built) == 2
    await short.packed("a", build)
    assert len(built) == 3
