"""Laws of lists and watches as clients see them, for any sequence of writes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from controlplane.api.authn import FixedAuthenticator
from controlplane.api.authz import GroupAuthorizer
from controlplane.api.operations import Operations
from controlplane.api.server import ApiServer
from controlplane.store.cache import Cache, CacheOptions
from controlplane.store.keys import object_key
from controlplane.store.memory import MemoryStore
from flotilla.api.objects import decode, encode
from flotilla.api.resources import ALL, CONFIG_MAPS

PATH = "/api/v1/namespaces/x/configmaps"
DEADLINE_S = 20.0
SELECTORS: dict[str, Any] = {
    "": lambda labels: True,
    "colour=red": lambda labels: labels.get("colour") == "red",
    "colour!=red": lambda labels: labels.get("colour") != "red",
    "colour in (red,blue)": lambda labels: labels.get("colour") in ("red", "blue"),
    "colour,!gone": lambda labels: "colour" in labels and "gone" not in labels,
}

State = dict[str, int]
Write = tuple[bool, str, str]
writes = st.lists(
    st.tuples(st.booleans(), st.sampled_from("abcdefg"), st.sampled_from(("red", "blue", "gone", ""))), max_size=25
)


class NoPods:
    """Neither logs nor usage of pods: there are none."""

    async def stream(self, pod: Any, container: str, options: Any) -> AsyncIterator[bytes]:
        empty: tuple[bytes, ...] = ()
        for chunk in empty:
            yield chunk

    def pod_metrics(self, namespace: str, name: str = "") -> list[Any]:
        return []

    def node_metrics(self, name: str = "") -> list[Any]:
        return []


@dataclass(frozen=True, slots=True)
class Api:
    """A server on the store in memory."""

    store: MemoryStore
    cache: Cache
    session: aiohttp.ClientSession
    url: str

    async def get(self, **query: Any) -> Any:
        async with self.session.get(self.url + PATH, params=query) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def write(self, write: Write) -> None:
        remove, name, colour = write
        labels = {"gone": "", "colour": "red"} if colour == "gone" else {"colour": colour} if colour else {}
        key = object_key(CONFIG_MAPS, "x", name)
        held = await self.store.get(key)
        metadata = {"name": name, "namespace": "x", "labels": labels}
        value = encode({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
        if held is None:
            await self.store.create(key, value)
        elif remove:
            await self.store.delete(key)
        else:
            await self.store.update(key, value, expected=held.mod_revision)

    async def selected(self, selector: str, revision: int) -> State:
        """What the selector selects at a revision, evaluated on what the store had then."""
        page = await self.store.list("/registry/configmaps/x/", revision=revision)
        found = {item.mod_revision: decode(item.value)["metadata"] for item in page.items}
        matches = SELECTORS[selector]
        return {each["name"]: at for at, each in found.items() if matches(each["labels"])}


def state_of(reply: Any) -> State:
    found = {each["metadata"]["name"]: int(each["metadata"]["resourceVersion"]) for each in reply["items"]}
    assert len(found) == len(reply["items"])
    return found


@asynccontextmanager
async def running_api(*, window: int = 1000) -> AsyncIterator[Api]:
    store = MemoryStore()
    cache = Cache(store, ALL, options=CacheOptions(window_events=window))
    server = ApiServer(
        listen="127.0.0.1:0",
        tls=None,
        operations=Operations(store, cache),
        cache=cache,
        authenticator=FixedAuthenticator(),
        authorizer=GroupAuthorizer(),
        logs=NoPods(),
        metrics=NoPods(),
        collectors=CollectorRegistry(),
    )
    running = [asyncio.create_task(cache.run())]
    await cache.wait_synced()
    running.append(asyncio.create_task(server.run()))
    await server.listening.wait()
    async with asyncio.timeout(DEADLINE_S), aiohttp.ClientSession() as session:
        yield Api(store, cache, session, f"http://127.0.0.1:{server.port}")
    for task in reversed(running):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def follow(api: Api, state: State, selector: str, revision: int) -> State:
    """Apply the events of a watch until the last write, which selects whatever is asked for, has come."""
    query = {"watch": "1", "resourceVersion": str(revision), "labelSelector": selector}
    async with api.session.get(api.url + PATH, params=query) as response:
        async for line in response.content:
            event = json.loads(line)
            metadata = event["object"]["metadata"]
            name, at = metadata["name"], int(metadata["resourceVersion"])
            assert at > revision
            assert (event["type"] == "ADDED") == (name not in state)
            if event["type"] == "DELETED":
                del state[name]
            else:
                state[name] = at
            if name == "last":
                return state
    raise AssertionError("the watch ended")


@given(writes, st.sampled_from(sorted(SELECTORS)))
@settings(max_examples=25, deadline=None)
def test_a_list_and_a_watch_from_any_version_give_the_state(script: list[Write], selector: str) -> None:
    """The exact list at any version, with the watch's events from there on, is what a list shows in the end."""

    async def run() -> None:
        async with running_api() as api:
            floor = api.cache.revision
            for write in script:
                await api.write(write)
            colour = "blue" if selector == "colour!=red" else "red"
            await api.write((False, "last", colour))
            present = await api.get(labelSelector=selector)
            last = int(present["metadata"]["resourceVersion"])
            assert state_of(present) == await api.selected(selector, last)
            for revision in range(floor, last):
                exact = await api.get(
                    labelSelector=selector, resourceVersion=str(revision), resourceVersionMatch="Exact"
                )
                listed = state_of(exact)
                assert listed == await api.selected(selector, revision)
                assert await follow(api, listed, selector, revision) == state_of(present)

    asyncio.run(run())


@given(
    writes,
    st.lists(writes, min_size=1, max_size=8),
    st.sampled_from(sorted(SELECTORS)),
    st.integers(1, 4),
    st.sampled_from((2, 1000)),
)
@settings(max_examples=40, deadline=None)
def test_pages_show_each_object_once_while_others_write(
    before: list[Write], meanwhile: list[list[Write]], selector: str, limit: int, window: int
) -> None:
    """All pages together are the state of the first page's version, whether the cache or the store remembers it."""

    async def run() -> None:
        async with running_api(window=window) as api:
            for write in before:
                await api.write(write)
            page = await api.get(labelSelector=selector, limit=str(limit))
            first = page["metadata"]["resourceVersion"]
            expected = await api.selected(selector, int(first))
            names = [each["metadata"]["name"] for each in page["items"]]
            turns = iter(meanwhile)
            while token := page["metadata"].get("continue"):
                if not selector:
                    assert page["metadata"]["remainingItemCount"] == len(expected) - len(names)
                for write in next(turns, []):
                    await api.write(write)
                query = {"limit": str(limit), "continue": token}
                page = await api.get(**query | ({"labelSelector": selector} if selector else {}))
                assert page["metadata"]["resourceVersion"] == first
                assert len(page["items"]) <= limit
                names += [each["metadata"]["name"] for each in page["items"]]
            assert names == sorted(expected)

    asyncio.run(run())
