"""An API server in a process of its own, on the in-memory store, for tests that try to break it.

Run as a program it prints its port and serves until it is terminated. Beside the server's metrics it shows how long a
step has held the event loop since the last look, in CPU time of the loop's thread, so that a busy machine counts for
nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop
from prometheus_client import CollectorRegistry, Gauge

from controlplane.api.authn import Authenticator, CertificateAuthenticator, FixedAuthenticator
from controlplane.api.authz import GroupAuthorizer
from controlplane.api.bootstrap import bootstrap
from controlplane.api.connections import ConnectionLimits
from controlplane.api.operations import Operations
from controlplane.api.server import ApiServer, ServerLimits, ServerTls
from controlplane.controllers import custom_resources
from controlplane.pki import ensure_cluster_pki
from controlplane.reconcile.clock import utc_now
from controlplane.reconcile.controller import Controller
from controlplane.store.cache import Cache
from controlplane.store.memory import MemoryStore
from flotilla.api.objects import KubeObject
from flotilla.api.registry import REGISTRY
from flotilla.descriptors import raise_descriptor_limit

ROOT = Path(__file__).parents[2]
STOP_S = 30.0
ANSWER_S = 20.0
PROBE_PERIOD_S = 0.005
HELD = "test_loop_held_seconds"


class Sources:
    """Logs and metrics of pods that nobody runs."""

    async def stream(self, pod: KubeObject, container: str, options: KubeObject) -> AsyncIterator[bytes]:
        yield b"line\n"

    def pod_metrics(self, namespace: str, name: str = "") -> list[KubeObject]:
        return []

    def node_metrics(self, name: str = "") -> list[KubeObject]:
        return []


class HoldProbe:
    """The longest time since the last look for which the loop ran one step."""

    def __init__(self, collectors: CollectorRegistry) -> None:
        self._longest_s = 0.0
        gauge = Gauge(HELD, "The longest hold since the last look.", registry=collectors)
        gauge.set_function(self._look)

    def _look(self) -> float:
        longest_s, self._longest_s = self._longest_s, 0.0
        return longest_s

    async def run(self) -> None:
        while True:
            wanted_s, used_s = time.monotonic() + PROBE_PERIOD_S, time.thread_time()
            await asyncio.sleep(PROBE_PERIOD_S)
            late_s = time.monotonic() - wanted_s
            self._longest_s = max(self._longest_s, min(late_s, time.thread_time() - used_s))


async def serve(pki_dir: str, limits: ServerLimits) -> None:
    store = MemoryStore()
    cache = Cache(store, REGISTRY.all())
    operations = Operations(store, cache)
    collectors = CollectorRegistry()
    tls = None
    authenticator: Authenticator = FixedAuthenticator()
    if pki_dir:
        pki = ensure_cluster_pki(Path(pki_dir), server_names=["127.0.0.1"])
        tls = ServerTls(pki.server.certificate, pki.server.key, pki.ca_file)
        authenticator = CertificateAuthenticator()
    server = ApiServer(
        listen="127.0.0.1:0",
        tls=tls,
        operations=operations,
        cache=cache,
        authenticator=authenticator,
        authorizer=GroupAuthorizer(),
        logs=Sources(),
        metrics=Sources(),
        collectors=collectors,
        limits=limits,
    )
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(cache.run())
        await cache.wait_synced()
        names = {"cluster_dns": "10.43.0.10", "service_cidr": "10.43.0.0/16"}
        await bootstrap(operations, api_address="10.0.0.1", api_port=6443, **names)
        probing = tasks.create_task(HoldProbe(collectors).run())
        defining = tasks.create_task(_definer(cache, operations).run())
        loop = asyncio.get_running_loop()
        draining: list[asyncio.Task[None]] = []
        loop.add_signal_handler(signal.SIGTERM, lambda: draining.append(tasks.create_task(server.drain())))
        serving = tasks.create_task(server.run())
        await server.listening.wait()
        sys.stdout.write(json.dumps({"port": server.port}) + "\n")
        sys.stdout.flush()
        await serving
        for task in (following, probing, defining):
            task.cancel()


def _definer(cache: Cache, operations: Operations) -> Controller[str]:
    """Accepts the kinds that users define."""
    return Controller(
        "custom-resource-definition",
        custom_resources.CustomResourceDefinitions(cache, operations, clock=utc_now),
        cache=cache,
        resources=lambda: custom_resources.followed(cache.registry),
        workers=1,
    )


@dataclass(slots=True)
class ApiProcess:
    """A running server process."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    context: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}"

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    @property
    def resident_bytes(self) -> int:
        text = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def get(self, path: str) -> tuple[int, str]:
        """Code and text of an answer on a connection of its own."""
        request = urllib.request.Request(self.url + path)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S, context=self.context) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, name: str) -> float:
        """The sum of a metric's series."""
        lines = self.get("/metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((name + "{", name + " ")))


@contextmanager
def api_process(log: Path, *arguments: str, context: ssl.SSLContext | None = None) -> Iterator[ApiProcess]:
    """A server, terminated at the end; it has to end by itself then, without a stack trace in its log."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with log.open("wb") as errors:
        command = [sys.executable, __file__, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment)
    assert process.stdout is not None
    try:
        started = process.stdout.readline()
        assert started, log.read_text()
        yield ApiProcess(process, json.loads(started)["port"], log, context)
        assert process.poll() in (None, 0), log.read_text(errors="replace")[-5000:]
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
    text = log.read_text(errors="replace")
    assert "Traceback" not in text, text[:10_000]
    assert process.returncode == 0, text[-5000:]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pki", default="")
    parser.add_argument("--first-head-s", type=float, default=30.0)
    parser.add_argument("--handshake-s", type=float, default=10.0)
    parser.add_argument("--idle-s", type=float, default=90.0)
    parser.add_argument("--stall-s", type=float, default=30.0)
    parser.add_argument("--connections", type=int, default=10_000)
    chosen = parser.parse_args()
    raise_descriptor_limit()
    connections = ConnectionLimits(
        connections=chosen.connections,
        first_head_s=chosen.first_head_s,
        handshake_s=chosen.handshake_s,
        idle_s=chosen.idle_s,
        stall_s=chosen.stall_s,
    )
    uvloop.run(serve(chosen.pki, ServerLimits(connections=connections)))


if __name__ == "__main__":
    main()
