"""LIST and GET: selectors, pages, versions and forms."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"


async def make(api: Any, *names: str, **labels: str) -> None:
    for name in names:
        await api.post(CONFIG_MAPS, {"metadata": {"name": name, "labels": labels}})


def names_in(reply: Any) -> list[str]:
    return [item["metadata"]["name"] for item in reply.body["items"]]


async def test_a_list_has_its_kind_and_version(api: Any) -> None:
    """A list is of kind <Kind>List at the store's revision, in key order, across namespaces where none is named."""
    await api.post("/api/v1/namespaces", {"metadata": {"name": "other"}})
    await make(api, "b", "a")
    await api.post("/api/v1/namespaces/other/configmaps", {"metadata": {"name": "c"}})
    listed = await api.get(CONFIG_MAPS)
    assert (listed.body["kind"], listed.body["apiVersion"]) == ("ConfigMapList", "v1")
    assert int(listed.body["metadata"]["resourceVersion"]) == await api.store.revision()
    assert names_in(listed) == ["a", "b"]
    assert names_in(await api.get("/api/v1/configmaps")) == ["a", "b", "c"]


async def test_selectors_narrow_a_list(api: Any) -> None:
    """Label selectors, and field selectors on what the kind can be selected by."""
    await make(api, "a", colour="red")
    await make(api, "b", colour="blue")
    assert names_in(await api.get(f"{CONFIG_MAPS}?labelSelector=colour=red")) == ["a"]
    assert names_in(await api.get(f"{CONFIG_MAPS}?labelSelector=colour%20notin%20(red)")) == ["b"]
    assert names_in(await api.get(f"{CONFIG_MAPS}?fieldSelector=metadata.name=b")) == ["b"]
    assert names_in(await api.get(f"{CONFIG_MAPS}?fieldSelector=metadata.name!=b")) == ["a"]
    body = {"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}}
    await api.post(PODS, body)
    assert names_in(await api.get(f"{PODS}?fieldSelector=spec.nodeName=n")) == ["p"]
    assert names_in(await api.get(f"{PODS}?fieldSelector=spec.nodeName=m")) == []


async def test_pages_show_one_revision(api: Any) -> None:
    """Pages after the first go on in the state of the first, whatever is written in between."""
    await make(api, *(f"n{number}" for number in range(7)))
    first = await api.get(f"{CONFIG_MAPS}?limit=3")
    assert names_in(first) == ["n0", "n1", "n2"]
    assert first.body["metadata"]["remainingItemCount"] == 4
    await api.ask("DELETE", f"{CONFIG_MAPS}/n4")
    await make(api, "n9")
    second = await api.get(f"{CONFIG_MAPS}?limit=3&continue={first.body['metadata']['continue']}")
    assert names_in(second) == ["n3", "n4", "n5"]
    assert second.body["metadata"]["resourceVersion"] == first.body["metadata"]["resourceVersion"]
    third = await api.get(f"{CONFIG_MAPS}?limit=3&continue={second.body['metadata']['continue']}")
    assert names_in(third) == ["n6"]
    assert "continue" not in third.body["metadata"]


async def test_pages_with_a_selector_hold_matches_only(api: Any) -> None:
    """A page is filled with objects that match, however far apart they lie."""
    for number in range(250):
        await make(api, f"n{number:03}", even=str(number % 50 == 0))
    query = "labelSelector=even=True&limit=2"
    found, token = [], ""
    for _ in range(10):
        reply = await api.get(f"{CONFIG_MAPS}?{query}&continue={token}")
        found += names_in(reply)
        token = reply.body["metadata"].get("continue", "")
        if not token:
            break
    assert found == ["n000", "n050", "n100", "n150", "n200"]


async def compact(api: Any) -> None:
    revision = await api.store.revision()
    await api.store.compact(revision)
    await api.cache.barrier()
    api.cache.forget_before(revision)


async def test_a_page_of_a_compacted_revision_is_410(api: Any) -> None:
    """A continue token that is too old is told so, and gets one that goes on in the present state."""
    await make(api, "a", "b", "c")
    first = await api.get(f"{CONFIG_MAPS}?limit=1")
    await make(api, "d")
    await compact(api)
    reply = await api.get(f"{CONFIG_MAPS}?limit=1&continue={first.body['metadata']['continue']}")
    assert (reply.status, reply.body["reason"]) == (410, "Expired")
    second = await api.get(f"{CONFIG_MAPS}?limit=2&continue={reply.body['metadata']['continue']}")
    assert names_in(second) == ["b", "c"]
    assert int(second.body["metadata"]["resourceVersion"]) == api.cache.revision
    third = await api.get(f"{CONFIG_MAPS}?limit=2&continue={second.body['metadata']['continue']}")
    assert names_in(third) == ["d"]
    exact = await api.get(f"{CONFIG_MAPS}?resourceVersion=2&resourceVersionMatch=Exact")
    assert (exact.status, exact.body["reason"], exact.body["metadata"]) == (410, "Expired", {})


async def test_pages_outlive_the_window_of_events(api: Any) -> None:
    """What the cache no longer knows of the past comes from the store, page for page the same."""
    await make(api, *(f"n{number}" for number in range(7)))
    first = await api.get(f"{CONFIG_MAPS}?limit=3")
    token = first.body["metadata"]["continue"]
    await api.ask("DELETE", f"{CONFIG_MAPS}/n4")
    from_events = await api.get(f"{CONFIG_MAPS}?limit=3&continue={token}")
    api.cache.forget_before(api.cache.revision)
    from_store = await api.get(f"{CONFIG_MAPS}?limit=3&continue={token}")
    assert names_in(from_store) == ["n3", "n4", "n5"]
    assert from_store.body == from_events.body


async def test_an_exact_list_shows_the_past(api: Any) -> None:
    """resourceVersionMatch=Exact shows the state at that revision."""
    await make(api, "a")
    revision = (await api.get(CONFIG_MAPS)).body["metadata"]["resourceVersion"]
    await make(api, "b")
    past = await api.get(f"{CONFIG_MAPS}?resourceVersion={revision}&resourceVersionMatch=Exact")
    assert names_in(past) == ["a"]
    newer = await api.get(f"{CONFIG_MAPS}?resourceVersion={revision}&resourceVersionMatch=NotOlderThan")
    assert names_in(newer) == ["a", "b"]


async def test_a_revision_from_the_future_is_504(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that the server has not reached in time is a time-out that tells the client to retry."""
    monkeypatch.setattr("controlplane.api.lists.NEWER_REVISION_WAIT_S", 0.05)
    for path in (CONFIG_MAPS, f"{CONFIG_MAPS}/a"):
        reply = await api.get(f"{path}?resourceVersion=999999")
        assert (reply.status, reply.body["reason"]) == (504, "Timeout")
        assert reply.message.startswith("Timeout: Too large resource version: 999999")
        assert reply.headers["Retry-After"] == "1"


async def test_a_table_has_columns_and_rows(api: Any) -> None:
    """kubectl's form: columns with types, cells, and the object's metadata in each row."""
    await make(api, "a")
    reply = await api.get(CONFIG_MAPS, headers={"Accept": TABLE})
    assert (reply.body["kind"], reply.body["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert [column["name"] for column in reply.body["columnDefinitions"]] == ["Name", "Data", "Age"]
    row = reply.body["rows"][0]
    assert row["cells"][:2] == ["a", 0]
    assert (row["object"]["kind"], row["object"]["metadata"]["name"]) == ("PartialObjectMetadata", "a")
    one = await api.get(f"{CONFIG_MAPS}/a?includeObject=Object", headers={"Accept": TABLE})
    assert one.body["rows"][0]["object"]["kind"] == "ConfigMap"
    bare = await api.get(f"{CONFIG_MAPS}?includeObject=None", headers={"Accept": TABLE})
    assert "object" not in bare.body["rows"][0]
    assert (await api.get(f"{CONFIG_MAPS}?includeObject=Some", headers={"Accept": TABLE})).status == 400


async def test_metadata_alone(api: Any) -> None:
    """PartialObjectMetadata of one and of many, in the version asked for."""
    await make(api, "a", colour="red")
    one = (await api.get(f"{CONFIG_MAPS}/a", headers={"Accept": PARTIAL})).body
    assert one.keys() == {"kind", "apiVersion", "metadata"}
    assert one["metadata"]["labels"] == {"colour": "red"}
    many = (await api.get(CONFIG_MAPS, headers={"Accept": PARTIAL_LIST})).body
    assert (many["kind"], many["items"][0]["kind"]) == ("PartialObjectMetadataList", "PartialObjectMetadata")
    old = (await api.get(CONFIG_MAPS, headers={"Accept": PARTIAL_LIST.replace("v=v1", "v=v1beta1")})).body
    assert old["apiVersion"] == "meta.k8s.io/v1beta1"


async def test_large_lists_are_compressed_for_those_who_take_it(api: Any) -> None:
    """A list past 128 KiB goes out gzipped to a client that accepts it, plain to one that does not."""
    for number in range(3):
        await api.post(CONFIG_MAPS, {"metadata": {"name": f"n{number}"}, "data": {"k": "x" * 100_000}})
    async with api.session.get(api.url + CONFIG_MAPS, headers={"Accept-Encoding": "gzip"}) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert len((await response.json())["items"]) == 3
    plain = await api.get(CONFIG_MAPS, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers


async def test_a_name_in_a_list_request_s_field_selector_finds_one(api: Any) -> None:
    """kubectl waits on a single object this way."""
    await make(api, "a", "ab")
    listed = await api.get(f"{CONFIG_MAPS}?fieldSelector=metadata.name=a&limit=500")
    assert names_in(listed) == ["a"]


REFUSED = [
    ("resourceVersionMatch=Exact", 422, "resourceVersionMatch is forbidden unless resourceVersion is provided"),
    ("resourceVersionMatch=Exact&resourceVersion=0", 422, 'resourceVersionMatch "exact" is forbidden'),
    ("resourceVersionMatch=Some&resourceVersion=1", 422, 'supported values: "Exact", "NotOlderThan", ""'),
    ("resourceVersionMatch=Exact&resourceVersion=1&continue=x", 422, "is forbidden when continue is provided"),
    ("sendInitialEvents=true", 422, "sendInitialEvents is forbidden for list"),
    ("sendInitialEvents=false&resourceVersionMatch=Exact", 422, "["),
    ("resourceVersion=x", 400, "invalid syntax"),
    ("resourceVersion=-1", 400, "invalid syntax"),
    ("resourceVersion=%D9%A3", 400, "invalid syntax"),
    (f"resourceVersion={'9' * 5000}", 400, "value out of range"),
    ("limit=x", 400, "limit"),
    (f"limit={'9' * 30}", 400, "limit"),
    ("continue=%25", 400, "continue key is not valid"),
    ("continue=bm8", 400, "continue key is not valid"),
    ("labelSelector=a%20in", 400, "unable to parse requirement"),
    ("labelSelector=a%3D%3D%3Db", 400, "unable to parse requirement"),
    ("fieldSelector=spec.x%3D1", 400, '"spec.x" is not a known field selector: only "metadata.name"'),
    ("fieldSelector=metadata.name", 400, "invalid field selector"),
]


@pytest.mark.parametrize(("query", "status", "message"), REFUSED)
async def test_options_without_meaning_are_refused(api: Any, query: str, status: int, message: str) -> None:
    """Combinations are 422 with the field that is at fault, what can't be read is 400; both in Kubernetes' words."""
    reply = await api.get(f"{CONFIG_MAPS}?{query}")
    assert (reply.status, reply.body["reason"]) == (status, "Invalid" if status == 422 else "BadRequest")
    assert message in reply.message
    if status == 422:
        assert reply.message.startswith('ListOptions.meta.k8s.io "" is invalid: ')
        assert reply.body["details"]["causes"]


@pytest.mark.parametrize(
    "token",
    [
        {"v": "meta.k8s.io/v2", "rv": 1, "start": "a"},
        {"v": "meta.k8s.io/v1", "rv": 0, "start": "a"},
        {"v": "meta.k8s.io/v1", "rv": -2, "start": "a"},
        {"v": "meta.k8s.io/v1", "rv": 1, "start": ""},
        {"v": "meta.k8s.io/v1", "rv": 1, "start": "../../secrets/default/a"},
        {"v": "meta.k8s.io/v1", "rv": 1, "start": "a//b"},
        {"v": "meta.k8s.io/v1", "rv": "1", "start": "a"},
        [],
    ],
)
async def test_a_token_that_no_list_gave_is_refused(api: Any, token: Any) -> None:
    """A token can't lead out of the list that it is for, nor to a state that never was."""
    text = base64.urlsafe_b64encode(json.dumps(token).encode()).decode().rstrip("=")
    reply = await api.get(f"{CONFIG_MAPS}?limit=1&continue={text}")
    assert (reply.status, reply.body["reason"]) == (400, "BadRequest")
    assert reply.message.startswith("continue key is not valid")


async def test_fields_that_a_kind_can_t_be_selected_by(api: Any) -> None:
    """Kinds with fields of their own have words of their own for those that they lack."""
    reply = await api.get(f"{PODS}?fieldSelector=spec.colour%3Dred")
    assert (reply.status, reply.message) == (400, "field label not supported: spec.colour")


async def test_a_limit_with_a_version_is_exact(api: Any) -> None:
    """limit with a resourceVersion and no match shows exactly that version, and 0 shows all that the cache has."""
    await make(api, "a", "b")
    revision = (await api.get(CONFIG_MAPS)).body["metadata"]["resourceVersion"]
    await make(api, "c")
    exact = await api.get(f"{CONFIG_MAPS}?limit=5&resourceVersion={revision}")
    assert (names_in(exact), exact.body["metadata"]) == (["a", "b"], {"resourceVersion": revision})
    assert names_in(await api.get(f"{CONFIG_MAPS}?limit=1&resourceVersion=0")) == ["a", "b", "c"]
    assert names_in(await api.get(f"{CONFIG_MAPS}?limit=-1")) == ["a", "b", "c"]


async def test_only_whole_lists_say_how_much_remains(api: Any) -> None:
    """With a selector nobody knows how many of the remaining objects match."""
    await make(api, "a", "b", "c", colour="red")
    page = (await api.get(f"{CONFIG_MAPS}?limit=1&labelSelector=colour=red")).body["metadata"]
    assert "continue" in page
    assert "remainingItemCount" not in page


async def test_a_table_of_a_page_goes_on(api: Any) -> None:
    """kubectl pages through Tables: their metadata carries token and version."""
    await make(api, "a", "b")
    first = (await api.get(f"{CONFIG_MAPS}?limit=1", headers={"Accept": TABLE})).body
    second = (
        await api.get(f"{CONFIG_MAPS}?limit=1&continue={first['metadata']['continue']}", headers={"Accept": TABLE})
    ).body
    assert [row["cells"][0] for row in (*first["rows"], *second["rows"])] == ["a", "b"]
    assert first["metadata"]["remainingItemCount"] == 1
    assert second["metadata"] == {"resourceVersion": first["metadata"]["resourceVersion"]}


def path_of(row: Any) -> str:
    return f"/apis/{row.api_version}/{row.plural}" if row.group else f"/api/{row.version}/{row.plural}"


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
async def test_every_kind_has_every_form(api: Any, version: str) -> None:
    """A list of any kind comes as objects, as a Table with the kind's columns, and as metadata alone."""
    forms = {"Table": TABLE, "PartialObjectMetadataList": PARTIAL_LIST}
    for row in api.cache.registry.all():
        if "list" not in row.verbs:
            continue
        plain = (await api.get(path_of(row))).body
        assert (plain["kind"], plain["apiVersion"]) == (row.list_kind, row.api_version)
        for kind, accept in forms.items():
            shown = (await api.get(path_of(row), headers={"Accept": accept.replace("v=v1", f"v={version}")})).body
            assert (shown["kind"], shown["apiVersion"]) == (kind, f"meta.k8s.io/{version}")
            assert shown["metadata"].keys() == {"resourceVersion"}
            if kind == "Table":
                assert [each["name"] for each in shown["columnDefinitions"]] == [each.name for each in row.columns]
                assert shown["columnDefinitions"]
