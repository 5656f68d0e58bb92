"""What the server counts of requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from controlplane.api.authn import FixedAuthenticator, User
from controlplane.api.authz import GroupAuthorizer
from controlplane.api.server import ApiServer


@pytest.fixture
async def strangers(api: Any) -> AsyncIterator[tuple[ApiServer, CollectorRegistry]]:
    """A second front on the same objects whose callers may do nothing."""
    collectors = CollectorRegistry()
    server = ApiServer(
        listen="127.0.0.1:0",
        tls=None,
        operations=api.operations,
        cache=api.cache,
        authenticator=FixedAuthenticator(User("stranger", ())),
        authorizer=GroupAuthorizer(),
        logs=api.logs,
        metrics=api.metrics,
        collectors=collectors,
    )
    serving = asyncio.create_task(server.run())
    await server.listening.wait()
    yield server, collectors
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_refused_strangers_make_no_series(strangers: tuple[ApiServer, CollectorRegistry]) -> None:
    """Whatever paths an unauthorized client makes up, they are counted together; served kinds under their names."""
    server, collectors = strangers
    made_up = [f"/apis/group-{number}/v1/things-{number}" for number in range(5)] + ["/api/v1/pods/web/made-up"]
    async with aiohttp.ClientSession() as session:
        for path in [*made_up, "/api/v1/pods"]:
            async with session.get(f"http://127.0.0.1:{server.port}{path}") as response:
                assert response.status == 403
    counted = [
        (sample.labels["resource"], sample.labels["verb"], sample.value)
        for metric in collectors.collect()
        for sample in metric.samples
        if sample.name == "apiserver_request_total"
    ]
    assert sorted(counted) == [("", "GET", 1.0), ("", "LIST", 5.0), ("pods", "LIST", 1.0)]
