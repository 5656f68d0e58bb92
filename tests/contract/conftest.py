"""Real etcd servers for the contract suite, and a network between store and server that can be cut.

Each server listens on unix sockets in a directory of its own, which can't collide with anything on the machine.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import suppress
from pathlib import Path

import pytest

from controlplane.pki import ClusterPki, ensure_cluster_pki
from controlplane.store.etcd import EtcdStore
from controlplane.store.memory import MemoryStore
from controlplane.store.store import Backend


class EtcdServer:
    """One etcd on its own data directory, which survives :meth:`kill` and a new :meth:`start`."""

    def __init__(self, *, extra_arguments: tuple[str, ...] = (), secure: bool = False) -> None:
        self._client_url = f"unix{'s' if secure else ''}://client:0"
        self.directory = Path(tempfile.mkdtemp(prefix="fe-"))
        self._extra_arguments = extra_arguments
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.directory / "client:0"

    @property
    def endpoint(self) -> str:
        return f"{self._client_url.removesuffix('client:0')}{self.socket}"

    def start(self) -> None:
        for left_behind in self.directory.glob("*:0"):
            left_behind.unlink()
        arguments = ["etcd", "--data-dir", "data", *self._extra_arguments]
        for role in ("listen-client", "advertise-client"):
            arguments += [f"--{role}-urls", self._client_url]
        for role in ("listen-peer-urls", "initial-advertise-peer-urls"):
            arguments += [f"--{role}", "unix://peer:0"]
        arguments += ["--initial-cluster", "default=unix://peer:0"]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(arguments, cwd=self.directory, stdout=log, stderr=log)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; one that stops has stopped every thread on return."""
        assert self._process is not None
        self._process.send_signal(number)
        if number == signal.SIGSTOP:
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.directory)


class Network:
    """A TCP port that leads to an etcd server's socket until it is told to cut connections."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._port = 0
        self.cuts = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        if self._connections:
            await asyncio.wait(self._connections, timeout=5.0)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Break every connection that is open now, in the middle of whatever it carries."""
        self.cuts += 1
        for writer in self._writers:
            writer.transport.abort()

    async def cut_at_random(self, seed: int) -> None:
        """Cut again and again, a few to some hundred milliseconds apart, until cancelled."""
        moments = random.Random(seed)
        while True:
            await asyncio.sleep(moments.expovariate(1 / 0.06))
            self.cut()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there_reader, there_writer = await asyncio.open_unix_connection(str(self._target))
            pair = {writer, there_writer}
            self._writers |= pair
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_copy(reader, there_writer))
                    tasks.create_task(_copy(there_reader, writer))
            finally:
                self._writers -= pair
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


@pytest.fixture
def etcd() -> Generator[EtcdServer]:
    """A running etcd with an empty key space."""
    server = EtcdServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture
async def etcd_store(etcd: EtcdServer) -> AsyncGenerator[EtcdStore]:
    """A store on a running, empty etcd."""
    store = EtcdStore([etcd.endpoint])
    await store.start()
    yield store
    await store.close()


NetworkTo = Callable[[EtcdServer], Awaitable[Network]]


@pytest.fixture
async def network_to() -> AsyncGenerator[NetworkTo]:
    """Opens connections to servers that can be cut."""
    opened: list[Network] = []

    async def open_network(server: EtcdServer) -> Network:
        opened.append(Network(server.socket))
        await opened[-1].open()
        return opened[-1]

    yield open_network
    for network in opened:
        await network.close()


@pytest.fixture
async def network(etcd: EtcdServer, network_to: NetworkTo) -> Network:
    """A connection to ``etcd`` that can be cut."""
    return await network_to(etcd)


@pytest.fixture
def small_etcd() -> Generator[EtcdServer]:
    """An etcd that has room for very little."""
    server = EtcdServer(extra_arguments=("--quota-backend-bytes", str(2 << 20)))
    server.start()
    yield server
    server.remove()


@pytest.fixture
def secure_etcd(tmp_path: Path) -> Generator[tuple[EtcdServer, ClusterPki]]:
    """An etcd that asks for client certificates, and the certificates of its cluster."""
    pki = ensure_cluster_pki(tmp_path)
    authority = ("--client-cert-auth", "--trusted-ca-file", str(pki.etcd_ca_file))
    own = ("--cert-file", str(pki.etcd_server.certificate), "--key-file", str(pki.etcd_server.key))
    server = EtcdServer(extra_arguments=(*authority, *own), secure=True)
    server.start()
    yield server, pki
    server.remove()


@pytest.fixture(params=["memory", pytest.param("etcd", marks=pytest.mark.etcd)])
async def store(request: pytest.FixtureRequest) -> AsyncGenerator[Backend]:
    """An empty store of each kind."""
    if request.param == "memory":
        yield MemoryStore()
        return
    server = EtcdServer()
    server.start()
    store = EtcdStore([server.endpoint])
    await store.start()
    yield store
    await store.close()
    server.remove()
