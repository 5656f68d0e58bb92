"""A whole API server on the in-memory store, asked over real HTTP."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from controlplane.api.authn import FixedAuthenticator
from controlplane.api.authz import GroupAuthorizer
from controlplane.api.operations import Operations
from controlplane.api.server import ApiServer
from controlplane.autoscaler.described_metrics import DescribedMetrics
from controlplane.autoscaler.figures import Figures
from controlplane.store.cache import Cache
from controlplane.store.memory import MemoryStore
from flotilla.api.objects import KubeObject
from flotilla.api.registry import REGISTRY
from flotilla.api.resources import NAMESPACES

DEADLINE_S = 10.0


class ScriptedLogs:
    """A log source that yields what the test has put into it, an exception being raised."""

    def __init__(self) -> None:
        self.chunks: list[bytes | Exception] = []
        self.asked: list[tuple[str, KubeObject]] = []
        self.endless = False

    async def stream(self, pod: KubeObject, container: str, options: KubeObject) -> AsyncIterator[bytes]:
        self.asked.append((container, options))
        for chunk in self.chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk
        if self.endless:
            await asyncio.Event().wait()


class ScriptedMetrics:
    """A metrics source that knows what the test has put into it."""

    def __init__(self) -> None:
        self.pods: list[KubeObject] = []
        self.nodes: list[KubeObject] = []

    def pod_metrics(self, namespace: str, name: str = "") -> list[KubeObject]:
        return [
            pod
            for pod in self.pods
            if namespace in ("", pod["metadata"]["namespace"]) and name in ("", pod["metadata"]["name"])
        ]

    def node_metrics(self, name: str = "") -> list[KubeObject]:
        return [node for node in self.nodes if name in ("", node["metadata"]["name"])]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its body decoded if it is JSON."""

    status: int
    body: Any
    headers: Any

    @property
    def message(self) -> str:
        return str(self.body["message"])


@dataclass(slots=True)
class Api:
    """The running server and a client of it."""

    store: MemoryStore
    cache: Cache
    operations: Operations
    server: ApiServer
    logs: ScriptedLogs
    metrics: ScriptedMetrics
    figures: Figures
    serving: asyncio.Task[None]
    session: aiohttp.ClientSession = field(default_factory=aiohttp.ClientSession)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> Reply:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        sent = {"User-Agent": "test/1"} | ({"Content-Type": content_type} if data is not None else {}) | (headers or {})
        async with asyncio.timeout(DEADLINE_S):
            stream = io.BytesIO(data) if data is not None else None
            async with self.session.request(method, self.url + path, data=stream, headers=sent) as response:
                raw = await response.read()
                text = response.content_type != "application/json" or not raw
                return Reply(response.status, raw.decode() if text else json.loads(raw), response.headers)

    async def get(self, path: str, **more: Any) -> Reply:
        return await self.ask("GET", path, **more)

    async def post(self, path: str, body: Any, **more: Any) -> Reply:
        return await self.ask("POST", path, body, **more)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    store = MemoryStore()
    cache = Cache(store, REGISTRY.all())
    operations = Operations(store, cache)
    logs, metrics, figures = ScriptedLogs(), ScriptedMetrics(), Figures()
    server = ApiServer(
        listen="127.0.0.1:0",
        tls=None,
        operations=operations,
        cache=cache,
        authenticator=FixedAuthenticator(),
        authorizer=GroupAuthorizer(),
        logs=logs,
        metrics=metrics,
        described=DescribedMetrics(cache, figures),
        collectors=CollectorRegistry(),
    )
    following = asyncio.create_task(cache.run())
    await cache.wait_synced()
    serving = asyncio.create_task(server.run())
    await server.listening.wait()
    await operations.create(NAMESPACES, {"metadata": {"name": "default"}}, manager="test")
    harness = Api(store, cache, operations, server, logs, metrics, figures, serving)
    yield harness
    await harness.session.close()
    for task in (serving, following):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
