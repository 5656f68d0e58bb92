"""What the API benchmark measures: one etcd and one server process, in a directory of their own that goes away."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from controlplane.pki import ensure_cluster_pki
from controlplane.store.etcd import EtcdStore
from flotilla.api.objects import decode, encode
from tests.benchmarks.api_load import client_context

START_S = 60.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_IN_FLIGHT = 64


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cpu_s(pid: int) -> float:
    """CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def end_of(log: Path) -> str:
    return log.read_text()[-3000:]


def anonymous_bytes(pid: int) -> int:
    """Memory of a process that no file backs."""
    found = re.search(r"^Anonymous:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


@contextmanager
def running(command: list[str], log: Path, *, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended when left."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=cwd)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(slots=True)
class Lab:
    """The directory, etcd, and the server while one runs."""

    directory: Path
    etcd: subprocess.Popen[bytes]
    endpoint: str
    port: int
    dispatcher_port: int
    server: subprocess.Popen[bytes] | None = None

    @property
    def pki(self) -> Path:
        return self.directory / "pki"

    @property
    def log(self) -> Path:
        return self.directory / "server.log"

    @property
    def pid(self) -> int:
        assert self.server is not None
        return self.server.pid

    def leaderships_lost(self) -> int:
        """How often the server has said so."""
        return self.log.read_text().count("no_longer_leading")

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Run ``flotilla server`` on what etcd holds; entered once it is ready."""
        command = [str(Path(sys.executable).parent / "flotilla"), "server", "--data-dir", str(self.directory)]
        command += ["--pki-dir", str(self.pki), "--etcd", self.endpoint, "--listen", f"127.0.0.1:{self.port}"]
        command += ["--dispatcher-listen", f"127.0.0.1:{self.dispatcher_port}", "--log-level", "info"]
        with running(command, self.log, cwd=Path(__file__).parents[2]) as self.server:
            async with self.client() as client:
                await client.until_ready(self.server, self.log)
            yield
        self.server = None

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        connector = aiohttp.TCPConnector(ssl=client_context(self.pki), limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Client(session, f"https://127.0.0.1:{self.port}")

    async def store_objects(self, objects: Mapping[str, Any]) -> int:
        """Write objects straight into etcd, by key; the last revision. A server learns of them by its watch alone."""
        store = EtcdStore([self.endpoint])
        await store.start()
        pending = iter(objects.items())
        last = 0

        async def write() -> None:
            nonlocal last
            for key, obj in pending:
                last = max(last, await store.create(key, encode(obj)))

        try:
            await asyncio.gather(*(write() for _ in range(_IN_FLIGHT)))
        finally:
            await store.close()
        return last


@dataclass(slots=True)
class Client:
    """Single requests, for what is not measured."""

    session: aiohttp.ClientSession
    url: str

    async def ask(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> Any:
        """The decoded answer. RuntimeError for a failure."""
        data = None if body is None else encode(body)
        headers = {"Content-Type": content_type} if body is not None else {}
        async with self.session.request(method, self.url + path, data=data, headers=headers) as response:
            content = await response.read()
            if response.status >= 400:
                raise RuntimeError(f"{method} {path}: {response.status} {content[:500].decode(errors='replace')}")
            return decode(content) if response.content_type == "application/json" else content.decode()

    async def until_ready(self, server: subprocess.Popen[bytes], log: Path) -> None:
        """Wait until the server answers. RuntimeError with what it logged if it ends instead."""
        deadline_s = time.monotonic() + START_S
        while True:
            try:
                await self.ask("GET", "/readyz")
                await self.ask("GET", "/api/v1/namespaces/default")
                return
            except (aiohttp.ClientError, RuntimeError, ssl.SSLError):
                if server.poll() is not None or time.monotonic() > deadline_s:
                    raise RuntimeError(f"the server does not serve: {end_of(log)}") from None
                await asyncio.sleep(0.1)

    async def until_named(self, path: str, name: str) -> None:
        """Wait until the list at ``path`` shows an object that a controller makes."""
        deadline_s = time.monotonic() + START_S
        while name not in {each["metadata"]["name"] for each in (await self.ask("GET", path))["items"]}:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{name} was not made at {path}")
            await asyncio.sleep(0.1)

    async def until_seen(self, revision: int) -> None:
        """Wait until the server shows what was stored by ``revision``."""
        deadline_s = time.monotonic() + START_S
        while True:
            try:
                await self.ask("GET", f"/api/v1/namespaces?limit=1&resourceVersion={revision}")
                return
            except RuntimeError:
                if time.monotonic() > deadline_s:
                    raise

    async def lags(self) -> dict[float, float]:
        """How often the event loop has been late since the start, by no more than so many seconds."""
        text = await self.ask("GET", "/metrics")
        found = re.findall(r'^flotilla_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)$', text, re.MULTILINE)
        return {float(bound): float(count) for bound, count in found}


@contextmanager
def lab() -> Iterator[Lab]:
    """A fresh etcd and certificates in a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="flotilla-api-") as made:
        directory = Path(made)
        ensure_cluster_pki(directory / "pki")
        url, peer = "unix://client:0", "unix://peer:0"
        command = ["etcd", "--data-dir", "data", "--listen-client-urls", url, "--advertise-client-urls", url]
        command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        command += ["--initial-cluster", f"default={peer}", "--quota-backend-bytes", str(4 << 30)]
        with running(command, directory / "etcd.log", cwd=directory) as etcd:
            yield Lab(directory, etcd, f"unix://{directory}/client:0", free_port(), free_port())
