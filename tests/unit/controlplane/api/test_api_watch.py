"""WATCH over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flotilla.api import resources

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
DEADLINE_S = 10.0


class Events:
    """The events of one watch, read one by one."""

    def __init__(self, response: Any) -> None:
        self.response = response

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE_S):
            line = await self.response.content.readline()
        assert line, "the watch has ended"
        event: dict[str, Any] = json.loads(line)
        return event

    async def ended(self) -> bool:
        """Whether nothing more comes and the stream ends cleanly."""
        async with asyncio.timeout(DEADLINE_S):
            return bool(await self.response.content.readline() == b"")


@asynccontextmanager
async def watching(api: Any, query: str = "", *, accept: str = "application/json") -> AsyncIterator[Events]:
    url = f"{api.url}{CONFIG_MAPS}?watch=1&{query}"
    async with api.session.get(url, headers={"Accept": accept}) as response:
        assert response.status == 200
        yield Events(response)


async def make(api: Any, name: str, **labels: str) -> dict[str, Any]:
    body: dict[str, Any] = (await api.post(CONFIG_MAPS, {"metadata": {"name": name, "labels": labels}})).body
    return body


async def label(api: Any, name: str, value: str | None) -> None:
    patch = {"metadata": {"labels": {"colour": value}}}
    await api.ask("PATCH", f"{CONFIG_MAPS}/{name}", patch, content_type="application/merge-patch+json")


async def test_changes_arrive_in_order_from_a_version_on(api: Any) -> None:
    """ADDED, MODIFIED and DELETED after the version named, with the delete's version in the last state."""
    revision = (await api.get(CONFIG_MAPS)).body["metadata"]["resourceVersion"]
    await make(api, "a")
    await label(api, "a", "red")
    await api.ask("DELETE", f"{CONFIG_MAPS}/a")
    async with watching(api, f"resourceVersion={revision}") as events:
        seen = [await events.next() for _ in range(3)]
    assert [event["type"] for event in seen] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in seen]
    assert versions == sorted(set(versions))
    assert versions[-1] == await api.store.revision()
    assert seen[-1]["object"]["metadata"]["labels"] == {"colour": "red"}


async def test_without_a_version_the_present_comes_first(api: Any) -> None:
    """Unset and 0 begin with an ADDED for each object."""
    await make(api, "a")
    await make(api, "b")
    for query in ("", "resourceVersion=0"):
        async with watching(api, query) as events:
            assert [(await events.next())["object"]["metadata"]["name"] for _ in range(2)] == ["a", "b"]
            await make(api, f"c{len(query)}")
            assert (await events.next())["type"] == "ADDED"
        await api.ask("DELETE", f"{CONFIG_MAPS}/c0")


async def test_leaving_a_selection_is_a_deletion(api: Any) -> None:
    """An object that stops matching is DELETED in the state in which it matched; one that begins to is ADDED."""
    await make(api, "a", colour="blue")
    async with watching(api, "labelSelector=colour=red") as events:
        await label(api, "a", "red")
        added = await events.next()
        await label(api, "a", "blue")
        deleted = await events.next()
    assert (added["type"], deleted["type"]) == ("ADDED", "DELETED")
    assert deleted["object"]["metadata"]["labels"] == {"colour": "red"}
    assert int(deleted["object"]["metadata"]["resourceVersion"]) == await api.store.revision()


async def test_a_field_selector_follows_one_object(api: Any) -> None:
    """kubectl waits for one object by name."""
    async with watching(api, "fieldSelector=metadata.name=b") as events:
        await make(api, "a")
        await make(api, "b")
        assert (await events.next())["object"]["metadata"]["name"] == "b"


async def test_a_version_that_is_forgotten_is_an_error_event(api: Any) -> None:
    """410 Expired arrives as an event, and the watch ends."""
    async with watching(api, "resourceVersion=1") as events:
        event = await events.next()
        assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
        assert await events.ended()


async def test_initial_events_end_with_a_bookmark(api: Any) -> None:
    """sendInitialEvents lists first, then a bookmark says that the list is complete and at which version."""
    await make(api, "a")
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with watching(api, query) as events:
        assert (await events.next())["type"] == "ADDED"
        bookmark = await events.next()
    assert bookmark["type"] == "BOOKMARK"
    metadata = bookmark["object"]["metadata"]
    assert metadata["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(metadata["resourceVersion"]) == await api.store.revision()


async def test_without_initial_events_only_changes_come(api: Any) -> None:
    """sendInitialEvents=false starts with what comes after now."""
    await make(api, "a")
    async with watching(api, "sendInitialEvents=false&resourceVersionMatch=NotOlderThan") as events:
        await make(api, "b")
        assert (await events.next())["object"]["metadata"]["name"] == "b"


async def test_quiet_watches_get_bookmarks(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch that asks for them is told how far it has come although nothing of its own happens."""
    monkeypatch.setattr("controlplane.api.watch.BOOKMARK_PERIOD_S", 0.05)
    await api.post("/api/v1/namespaces", {"metadata": {"name": "other"}})
    async with watching(api, "allowWatchBookmarks=true") as events:
        bookmark = await events.next()
    assert (bookmark["type"], bookmark["object"]["kind"]) == ("BOOKMARK", "ConfigMap")
    assert int(bookmark["object"]["metadata"]["resourceVersion"]) == await api.store.revision()


async def test_a_watch_ends_after_its_time(api: Any) -> None:
    """timeoutSeconds ends the stream cleanly, with a last bookmark for who asked for them."""
    async with watching(api, "timeoutSeconds=1&allowWatchBookmarks=true") as events:
        assert (await events.next())["type"] == "BOOKMARK"
        assert await events.ended()


async def test_table_events_carry_the_header_once(api: Any) -> None:
    """kubectl get -w: each event is a Table of one row, the first with columns."""
    async with watching(api, accept=TABLE) as events:
        await make(api, "a")
        await make(api, "b")
        first, second = await events.next(), await events.next()
    assert first["object"]["kind"] == second["object"]["kind"] == "Table"
    assert first["object"]["columnDefinitions"]
    assert not second["object"]["columnDefinitions"]
    assert second["object"]["rows"][0]["cells"][0] == "b"
    assert second["object"]["rows"][0]["object"]["metadata"]["name"] == "b"


async def test_watchers_of_one_form_share_the_encoded_event(api: Any) -> None:
    """The bytes of an event are made once for each form, however many watch in it."""
    subscription = api.cache.subscribe([resources.CONFIG_MAPS])
    async with watching(api) as one, watching(api) as other:
        await make(api, "a")
        assert await one.next() == await other.next()
    event = (await subscription.batch())[0]
    subscription.close()
    shared = event.encoded("//Metadata//ADDED", lambda _: b"made anew")
    assert shared.startswith(b'{"type":"ADDED"')


async def test_a_slow_watcher_is_cut_off(api: Any) -> None:
    """A watcher that does not read is ended rather than let grow; the others go on."""
    watched = api.cache.subscribe
    api.cache.subscribe = lambda resources, **more: watched(resources, **more | {"maximum": 3})
    async with watching(api) as slow:
        await asyncio.gather(
            *(
                api.operations.create(
                    resources.CONFIG_MAPS,
                    {"metadata": {"name": f"n{number}", "namespace": "default"}, "data": {"k": "x" * 400_000}},
                    manager="test",
                )
                for number in range(60)
            )
        )
        seen = 0
        async with asyncio.timeout(DEADLINE_S):
            while await slow.response.content.readany():
                seen += 1
        assert await slow.ended()
    assert (await api.get(f"{CONFIG_MAPS}?limit=1")).status == 200


async def test_shutdown_ends_watches_cleanly(api: Any) -> None:
    """A client sees the end of the stream, not a broken connection."""
    async with watching(api) as events:
        await make(api, "a")
        await events.next()
        api.serving.cancel()
        assert await events.ended()


async def test_a_watch_is_forgotten_when_its_client_leaves(api: Any) -> None:
    """The subscription of a closed connection is released without waiting for an event."""
    async with watching(api) as events:
        events.response.close()
    async with asyncio.timeout(DEADLINE_S):
        while True:
            lines = (await api.get("/metrics")).body.splitlines()
            open_streams = [line for line in lines if line.startswith("apiserver_longrunning_requests{")]
            if open_streams and all(line.endswith(" 0.0") for line in open_streams):
                return


async def test_the_old_path_of_a_watch(api: Any) -> None:
    """/api/v1/watch/... streams as well."""
    await make(api, "a")
    async with api.session.get(f"{api.url}/api/v1/watch/namespaces/default/configmaps") as response:
        assert json.loads(await response.content.readline())["type"] == "ADDED"


async def test_the_old_path_watches_one_object(api: Any) -> None:
    """A name in the old path selects one object; a watch parameter on the GET of one object means nothing."""
    await make(api, "a")
    await make(api, "b")
    async with api.session.get(f"{api.url}/api/v1/watch/namespaces/default/configmaps/b") as response:
        assert json.loads(await response.content.readline())["object"]["metadata"]["name"] == "b"
    assert (await api.get(f"{CONFIG_MAPS}/b?watch=1")).body["kind"] == "ConfigMap"
    assert (await api.post("/api/v1/watch/namespaces/default/configmaps", {})).status == 405


REFUSED = [
    ("resourceVersionMatch=NotOlderThan", "resourceVersionMatch is forbidden for watch unless sendInitialEvents"),
    ("sendInitialEvents=true", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
    (
        "sendInitialEvents=true&resourceVersionMatch=Exact",
        'Unsupported value: "Exact": supported values: "NotOlderThan"',
    ),
    ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&continue=x", "forbidden when continue is provided"),
]


@pytest.mark.parametrize(("query", "message"), REFUSED)
async def test_options_without_meaning_are_refused(api: Any, query: str, message: str) -> None:
    """Combinations that Kubernetes refuses are refused with its words."""
    reply = await api.get(f"{CONFIG_MAPS}?watch=1&{query}")
    assert (reply.status, reply.body["reason"]) == (422, "Invalid")
    assert message in reply.message


async def test_initial_events_are_not_older_than_asked(api: Any) -> None:
    """A streaming list from a version on shows that state or a newer one, and without bookmarks has no end mark."""
    await make(api, "a")
    made = await make(api, "b")
    revision = made["metadata"]["resourceVersion"]
    query = f"sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion={revision}"
    async with watching(api, query) as events:
        assert [(await events.next())["object"]["metadata"]["name"] for _ in range(2)] == ["a", "b"]
        await make(api, "c")
        assert (await events.next())["object"]["metadata"]["name"] == "c"


async def test_a_version_to_come_is_504(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch from a version that the server has not reached in time is told so before it starts."""
    monkeypatch.setattr("controlplane.api.lists.NEWER_REVISION_WAIT_S", 0.05)
    reply = await api.get(f"{CONFIG_MAPS}?watch=1&resourceVersion=999999")
    assert (reply.status, reply.body["details"]["causes"][0]["reason"]) == (504, "ResourceVersionTooLarge")


async def test_metadata_events(api: Any) -> None:
    """An informer of metadata gets PartialObjectMetadata in every event, bookmarks too."""
    accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    await make(api, "a", colour="red")
    async with watching(api, query, accept=accept) as events:
        first, bookmark = await events.next(), await events.next()
        await api.ask("DELETE", f"{CONFIG_MAPS}/a")
        last = await events.next()
    assert [event["type"] for event in (first, bookmark, last)] == ["ADDED", "BOOKMARK", "DELETED"]
    for event in (first, bookmark, last):
        assert (event["object"]["kind"], event["object"]["apiVersion"]) == ("PartialObjectMetadata", "meta.k8s.io/v1")
    assert first["object"]["metadata"]["labels"] == {"colour": "red"}
    assert "data" not in last["object"]


@pytest.mark.parametrize("query", ["watch=1", "limit=1", ""])
async def test_head_has_no_body(api: Any, query: str) -> None:
    """HEAD of a list or a watch is its head alone, and the connection goes on."""
    await make(api, "a")
    async with asyncio.timeout(DEADLINE_S), api.session.head(f"{api.url}{CONFIG_MAPS}?{query}") as response:
        assert response.status == 200
        assert response.content_type == "application/json"
        assert await response.read() == b""
    assert (await api.get(f"{CONFIG_MAPS}/a")).status == 200


async def test_methods_that_the_api_lacks(api: Any) -> None:
    """OPTIONS and TRACE are 405 with a Status."""
    for method in ("OPTIONS", "TRACE"):
        reply = await api.ask(method, CONFIG_MAPS)
        assert (reply.status, reply.body["reason"]) == (405, "MethodNotAllowed")


async def test_a_watch_over_http_1_0(api: Any) -> None:
    """A client of HTTP/1.0 gets the events unframed until the connection ends."""
    await make(api, "a")
    reader, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
    writer.write(f"GET {CONFIG_MAPS}?watch=1&timeoutSeconds=1 HTTP/1.0\r\n\r\n".encode())
    async with asyncio.timeout(DEADLINE_S):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert b"chunked" not in head
    assert json.loads(body)["type"] == "ADDED"
