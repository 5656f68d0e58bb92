"""A lean asynchronous client for the benchmarks: one TLS connection pool, one open watch, times taken on arrival.

The measured figure is what a user sees: from just before the request is sent until the watch delivers the object in
the state asked for.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from flotilla.api.objects import KubeObject, decode, encode


def _read_yaml(path: Path) -> KubeObject:
    config: KubeObject = yaml.safe_load(path.read_text(encoding="utf-8"))
    return config


def _ssl_context(user: KubeObject, cluster: KubeObject) -> ssl.SSLContext:
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    with tempfile.NamedTemporaryFile() as certificate:
        certificate.write(base64.b64decode(user["client-certificate-data"]))
        certificate.write(base64.b64decode(user["client-key-data"]))
        certificate.flush()
        context.load_cert_chain(certificate.name)
    return context


class PodWatch:
    """The newest state of every pod of one namespace, with the moment at which it arrived."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._pods: dict[str, KubeObject] = {}
        self._changed = asyncio.Condition()

    async def follow(self) -> None:
        """Apply events until the stream ends."""
        async for line in self._response.content:
            event = decode(line)
            pod = event["object"]
            async with self._changed:
                if event["type"] == "DELETED":
                    self._pods.pop(pod["metadata"]["name"], None)
                elif event["type"] != "BOOKMARK":
                    self._pods[pod["metadata"]["name"]] = pod
                self._changed.notify_all()

    async def until(self, holds: Callable[[list[KubeObject]], bool], *, timeout_s: float = 120) -> float:
        """Wait until ``holds`` of all pods; the monotonic moment in seconds. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: holds(list(self._pods.values())))
            return time.monotonic()

    def pods(self) -> list[KubeObject]:
        return list(self._pods.values())


class Client:
    """Requests with the admin's certificate against one API server."""

    def __init__(self, session: aiohttp.ClientSession, server: str) -> None:
        self._session = session
        self._server = server

    @classmethod
    @asynccontextmanager
    async def from_kubeconfig(cls, path: Path) -> AsyncIterator[Client]:
        config = _read_yaml(path)
        cluster = config["clusters"][0]["cluster"]
        context = _ssl_context(config["users"][0]["user"], cluster)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            yield cls(session, cluster["server"])

    async def request(self, method: str, path: str, body: Any = None, *, content_type: str = "") -> KubeObject:
        """One JSON request. Raises RuntimeError with the server's message on a status from 400 on."""
        headers = {"Content-Type": content_type or "application/json"}
        data = None if body is None else encode(body)
        async with self._session.request(method, self._server + path, data=data, headers=headers) as response:
            content = await response.read()
            if response.status >= 400:
                raise RuntimeError(f"{method} {path}: {response.status} {content[:300].decode(errors='replace')}")
            result: KubeObject = decode(content)
            return result

    @asynccontextmanager
    async def watch_pods(self, namespace: str) -> AsyncIterator[PodWatch]:
        """A running watch of the namespace's pods."""
        url = f"{self._server}/api/v1/namespaces/{namespace}/pods?watch=1"
        async with self._session.get(url) as response:
            watch = PodWatch(response)
            task = asyncio.create_task(watch.follow())
            try:
                yield watch
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


def is_ready(pod: KubeObject) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)
