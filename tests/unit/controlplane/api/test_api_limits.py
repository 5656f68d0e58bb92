"""Too many requests and requests that take too long, over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from controlplane.api.authn import FixedAuthenticator
from controlplane.api.authz import GroupAuthorizer
from controlplane.api.fairness import Limits
from controlplane.api.server import ApiServer, ServerLimits

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
DEADLINE_S = 10.0


@pytest.fixture
async def narrow(api: Any) -> AsyncIterator[ApiServer]:
    """A second front on the same objects with one seat for writing and one place to wait for it."""
    server = ApiServer(
        listen="127.0.0.1:0",
        tls=None,
        operations=api.operations,
        cache=api.cache,
        authenticator=FixedAuthenticator(),
        authorizer=GroupAuthorizer(),
        logs=api.logs,
        metrics=api.metrics,
        collectors=CollectorRegistry(),
        limits=ServerLimits(fairness=Limits(mutating_seats=1, queue_length=1, wait_s=DEADLINE_S)),
    )
    serving = asyncio.create_task(server.run())
    await server.listening.wait()
    yield server
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def unfinished(
    server: ApiServer, name: str, query: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A create whose body has yet to end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    body = json.dumps({"metadata": {"name": name}}).encode()
    head = f"POST {CONFIG_MAPS}{query} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body[:-1])
    await writer.drain()
    return reader, writer


async def metric(server: ApiServer, line: str) -> float:
    async with aiohttp.request("GET", f"http://127.0.0.1:{server.port}/metrics") as response:
        text = await response.text()
    return sum(float(one.rpartition(" ")[2]) for one in text.splitlines() if one.startswith(line))


async def until(server: ApiServer, line: str, value: float) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while await metric(server, line) != value:
            pass


async def test_a_deadline_of_the_clients_own(narrow: ApiServer) -> None:
    """Past ``timeout`` the request is cancelled and answered with 504, in Kubernetes' words."""
    reader, writer = await unfinished(narrow, "late", "?timeout=30ms")
    async with asyncio.timeout(DEADLINE_S):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 504 ")
    status = json.loads(body)
    assert status["reason"] == "Timeout"
    assert status["message"].endswith("request did not complete within requested timeout - context deadline exceeded")


async def test_a_timeout_that_is_none(narrow: ApiServer) -> None:
    """400 rather than an answer as if nothing had been asked for."""
    async with aiohttp.request("GET", f"http://127.0.0.1:{narrow.port}{CONFIG_MAPS}?timeout=soon") as response:
        assert response.status == 400
        assert "invalid timeout specified in the request URL" in (await response.json())["message"]


async def test_requests_beyond_the_seats(narrow: ApiServer) -> None:
    """The second writer waits its turn, the third is told 429; reads, health and the cluster's leases go on."""
    url = f"http://127.0.0.1:{narrow.port}"
    first_reader, first = await unfinished(narrow, "first")
    await until(narrow, 'apiserver_current_inflight_requests{request_kind="mutating"}', 1)
    async with aiohttp.ClientSession(url) as session, asyncio.timeout(DEADLINE_S):
        second = asyncio.create_task(session.post(CONFIG_MAPS, json={"metadata": {"name": "second"}}))
        await until(narrow, 'apiserver_flowcontrol_current_inqueue_requests{flow_schema="mutating"', 1)
        async with session.post(CONFIG_MAPS, json={"metadata": {"name": "third"}}) as third:
            assert (third.status, third.headers["Retry-After"]) == (429, "1")
            assert (await third.json())["reason"] == "TooManyRequests"
        async with session.get(CONFIG_MAPS) as read:
            assert read.status == 200
        lease = {"metadata": {"name": "leader"}}
        async with session.post("/apis/coordination.k8s.io/v1/namespaces/default/leases", json=lease) as leased:
            assert leased.status == 201
        first.write(b"}")
        assert (await first_reader.read()).startswith(b"HTTP/1.1 201 ")
        async with await second as response:
            assert response.status == 201
    first.close()
    assert await metric(narrow, "apiserver_flowcontrol_rejected_requests_total") == 1


async def test_a_watch_gives_its_seat_back(api: Any) -> None:
    """Once its beginning has been sent, a watch is counted as a stream and takes no seat."""
    async with api.session.get(f"{api.url}{CONFIG_MAPS}?watch=1") as response:
        assert response.status == 200
        await until(api.server, "apiserver_flowcontrol_current_executing_seats", 0)
        assert await metric(api.server, "apiserver_longrunning_requests") == 1
