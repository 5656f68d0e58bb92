"""A pod's life on a real runtime: order of containers, hooks, probes, deadlines, and what restarts."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from controlplane.pki import ensure_cluster_pki
from flotilla.api.objects import KubeObject
from nodeagent.pod_state import Run
from nodeagent.pod_worker import PodWorker
from tests.directories import passable_directory
from tests.integration.agent_lab import Bench, Node, deleted, is_ready, main_status, pod_of, running_bench, shell

pytestmark = pytest.mark.root

POLITE = "trap 'exit 0' TERM; while :; do sleep 0.02; done"
ON_HOST = {"hostNetwork": True}


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    with passable_directory() as directory:
        monkeypatch.chdir(directory)
        async with running_bench(directory) as bench:
            yield bench


async def ready(node: Node, pod: KubeObject) -> PodWorker:
    worker = node.add(pod)
    await node.reports.until(lambda: is_ready(worker))
    return worker


def run_of(worker: PodWorker, name: str = "main") -> Run:
    run = worker.state.container(name).record.run
    assert run is not None
    return run


def reasons(node: Node) -> list[str]:
    return [event.reason for event in node.reports.events]


def container(name: str, script: str, **fields: Any) -> KubeObject:
    return {"name": name, "image": "busybox", "command": ["sh", "-c", script], **fields}


def probe(script: str, **fields: Any) -> KubeObject:
    return {"exec": {"command": ["sh", "-c", script]}, "periodSeconds": 1, **fields}


async def test_sidecars_start_in_order_and_end_in_reverse(bench: Bench) -> None:
    """What follows waits for a sidecar's startup probe; containers end first, then sidecars, from last to first."""
    node = bench.node()
    slow = probe("test -e /tmp/up", failureThreshold=20)
    inits = [
        container("one", f"(sleep 0.5; touch /tmp/up) & {POLITE}", restartPolicy="Always", startupProbe=slow),
        container("init", "true"),
        container("two", POLITE, restartPolicy="Always"),
    ]
    pod = pod_of(POLITE, spec={"initContainers": inits, "terminationGracePeriodSeconds": 10})
    worker = await ready(node, pod)
    starts = [run_of(worker, name).started_unix_s for name in ("one", "init", "two", "main")]
    assert starts == sorted(starts) and starts[1] >= starts[0] + 0.5
    shown = {each["name"]: each for each in worker.status["initContainerStatuses"]}
    assert shown["one"]["started"] and shown["one"]["ready"] and shown["init"]["ready"]
    worker.update(deleted(pod, grace_s=10))
    await node.reports.until(lambda: "uid-web" in node.reports.terminated)
    ends = [end.finished_unix_s for name in ("main", "two", "one") if (end := run_of(worker, name).ended)]
    assert len(ends) == 3 and ends == sorted(ends)


async def test_a_sidecar_restarts_and_does_not_keep_a_pod_alive(bench: Bench) -> None:
    """A pod that has done its work succeeds, though its sidecar would run for ever and has been restarted."""
    node = bench.node()
    sidecar = container("side", "sleep 0.2; exit 1", restartPolicy="Always")
    spec = {"initContainers": [sidecar], "restartPolicy": "Never"}
    worker = node.add(pod_of("sleep 1.5", spec=spec))
    await node.reports.until(lambda: worker.status.get("phase") == "Succeeded")
    (status,) = worker.status["initContainerStatuses"]
    assert status["restartCount"] >= 1


async def test_hooks_of_every_kind(bench: Bench) -> None:
    """postStart and preStop by command, HTTP, TCP and sleep, each carried out before what waits for it goes on."""
    node = bench.node()
    asked: list[str] = []
    async with listening(asked) as port:
        started = {
            "exec": {"exec": {"command": ["sh", "-c", "sleep 0.3; touch /tmp/hooked"]}},
            "http": {"httpGet": {"host": "127.0.0.1", "port": port, "path": "/hello"}},
            "tcp": {"tcpSocket": {"host": "127.0.0.1", "port": port}},
            "sleep": {"sleep": {"seconds": 1}},
        }
        pods = {
            name: pod_of(POLITE, name=name, lifecycle={"postStart": hook, "preStop": hook}, spec=ON_HOST)
            for name, hook in started.items()
        }
        workers = {name: await ready(node, pod) for name, pod in pods.items()}
        assert await shell(node, workers["exec"], "ls /tmp") == "hooked\n"
        assert asked == ["GET /hello HTTP/1.1", ""]
        began = time.time()
        for name, worker in workers.items():
            worker.update(deleted(pods[name], grace_s=10))
        await node.reports.until(lambda: len(node.reports.terminated) == 4)
        assert sorted(asked) == ["", "", "GET /hello HTTP/1.1", "GET /hello HTTP/1.1"]
    ended = {name: run_of(worker).ended for name, worker in workers.items()}
    assert all(end is not None and end.exit_code == 0 for end in ended.values())
    slept = ended["sleep"]
    assert slept is not None and slept.finished_unix_s >= began + 1


@asynccontextmanager
async def listening(asked: list[str], tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """An HTTP server on the node's loopback; ``asked`` are the first lines of its requests."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readline()).decode().strip())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


async def test_a_failed_hook_restarts_its_container(bench: Bench) -> None:
    """A postStart hook that fails ends the container, and says so."""
    node = bench.node()
    hook = {"postStart": {"exec": {"command": ["false"]}}}
    worker = node.add(pod_of(POLITE, lifecycle=hook))
    await node.reports.until(lambda: worker.state.container("main").record.last is not None)
    assert "FailedPostStartHook" in reasons(node)


async def test_probes_of_every_kind(bench: Bench) -> None:
    """HTTP, HTTPS, TCP and gRPC find a server ready that is, on the pod's address or where they are sent."""
    node, asked = bench.node(), list[str]()
    pki = ensure_cluster_pki(bench.directory / "pki")
    server = pki.server.read()
    files = {name: bench.directory / name for name in ("crt", "key")}
    files["crt"].write_bytes(server.certificate_pem)
    files["key"].write_bytes(server.key_pem)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(files["crt"], files["key"])
    async with listening(asked) as port, listening(asked, tls) as secure, healthy() as health:
        handlers: dict[str, KubeObject] = {
            "http": {"httpGet": {"port": port, "path": "/ready"}},
            "https": {"httpGet": {"port": secure, "scheme": "HTTPS", "path": "/safe"}},
            "tcp": {"tcpSocket": {"port": port}},
            "grpc": {"grpc": {"port": health}},
        }
        for name, handler in handlers.items():
            await ready(node, pod_of(POLITE, name=name, readinessProbe=handler, spec=ON_HOST))
        wrong = node.add(
            pod_of(POLITE, name="wrong", livenessProbe={"grpc": {"port": port}, "periodSeconds": 1}, spec=ON_HOST)
        )
        await node.reports.until(lambda: "Unhealthy" in reasons(node))
        assert not wrong.over
    assert {"GET /ready HTTP/1.1", "GET /safe HTTP/1.1"} <= set(asked)


@asynccontextmanager
async def healthy() -> AsyncIterator[int]:
    """A server that answers gRPC's health checks."""

    async def check(request: bytes, context: Any) -> bytes:
        return b"\x08\x01"

    handler = grpc.unary_unary_rpc_method_handler(check)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield int(port)
    finally:
        await server.stop(0)


async def test_thresholds_of_readiness(bench: Bench) -> None:
    """Ready after as many successes, unready after as many failures as the probe asks for."""
    node = bench.node()
    asks = probe("echo >> /tmp/asked; test -e /tmp/up", successThreshold=2, failureThreshold=2)
    worker = node.add(pod_of(POLITE, readinessProbe=asks))
    await node.reports.until(lambda: "Unhealthy" in reasons(node))
    assert not is_ready(worker)
    await shell(node, worker, "touch /tmp/up; : > /tmp/asked")
    await node.reports.until(lambda: is_ready(worker))
    assert len((await shell(node, worker, "cat /tmp/asked")).splitlines()) >= 2
    await shell(node, worker, "rm /tmp/up; : > /tmp/asked")
    await node.reports.until(lambda: not is_ready(worker))
    assert len((await shell(node, worker, "cat /tmp/asked")).splitlines()) >= 2
    assert main_status(worker)["restartCount"] == 0


async def test_a_probes_own_grace_period(bench: Bench) -> None:
    """A container that ignores its end and fails its liveness probe is killed by the probe's time, not the pod's."""
    node = bench.node()
    dead = probe("false", failureThreshold=1, terminationGracePeriodSeconds=1)
    stubborn = "trap '' TERM; while :; do sleep 0.02; done"
    pod = pod_of(stubborn, livenessProbe=dead, spec={"terminationGracePeriodSeconds": 600})
    worker = node.add(pod)
    await node.reports.until(lambda: worker.state.container("main").record.last is not None)
    last = worker.state.container("main").record.last
    assert last is not None and last.ended is not None and last.ended.exit_code == 137
    await node.stop()


async def test_a_startup_probe_that_never_passes(bench: Bench) -> None:
    """Liveness waits for it, and its failures restart the container."""
    node = bench.node()
    worker = node.add(
        pod_of(
            POLITE, startupProbe=probe("false", failureThreshold=2), livenessProbe=probe("false", failureThreshold=1)
        )
    )
    await node.reports.until(lambda: worker.state.container("main").record.last is not None)
    killing = [event.message for event in node.reports.events if event.reason == "Killing"]
    assert killing == ["Container main failed startup probe, will be restarted"]
    assert not any("Liveness" in event.message for event in node.reports.events)


async def test_readiness_gates(bench: Bench) -> None:
    """A pod is ready once its containers are and others have said so in its conditions."""
    node = bench.node()
    pod = pod_of(POLITE, spec={"readinessGates": [{"conditionType": "example.com/checked"}]})
    worker = node.add(pod)

    def condition(kind: str) -> KubeObject:
        return next((each for each in worker.status.get("conditions") or () if each["type"] == kind), {})

    await node.reports.until(lambda: condition("ContainersReady").get("status") == "True")
    assert (condition("Ready")["status"], condition("Ready")["reason"]) == ("False", "ReadinessGatesNotReady")
    worker.update({**pod, "status": {"conditions": [{"type": "example.com/checked", "status": "True"}]}})
    await node.reports.until(lambda: is_ready(worker))


async def test_the_active_deadline(bench: Bench) -> None:
    """A pod that runs for too long fails with the reason, and its containers are ended."""
    node = bench.node()
    worker = node.add(pod_of(POLITE, spec={"activeDeadlineSeconds": 1}))
    await node.reports.until(lambda: worker.status.get("phase") == "Failed")
    assert worker.status["reason"] == "DeadlineExceeded"
    ended = run_of(worker).ended
    assert ended is not None and ended.exit_code == 0


async def test_a_containers_own_restart_rules(bench: Bench) -> None:
    """One container starts again by a rule of its own, in a pod that restarts nothing, until it ends otherwise."""
    node = bench.node()
    rule = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
    own: dict[str, Any] = {"restartPolicy": "Never", "restartPolicyRules": [rule]}
    worker = node.add(pod_of("sleep 0.1; exit 42", spec={"restartPolicy": "Never"}, **own))
    other = node.add(pod_of("exit 41", name="other", spec={"restartPolicy": "Never"}, **own))
    await node.reports.until(lambda: main_status(worker)["restartCount"] >= 1)
    assert worker.status["phase"] == "Running"
    await node.reports.until(lambda: other.status.get("phase") == "Failed")
    assert main_status(other)["restartCount"] == 0


async def test_the_stop_signal(bench: Bench) -> None:
    """The signal that the spec names ends the container, whatever the image says."""
    node = bench.node()
    script = "trap 'exit 7' USR1; trap '' TERM; while :; do sleep 0.02; done"
    pod = pod_of(script, lifecycle={"stopSignal": "SIGUSR1"})
    worker = await ready(node, pod)
    worker.update(deleted(pod, grace_s=5))
    await node.reports.until(lambda: "uid-web" in node.reports.terminated)
    ended = run_of(worker).ended
    assert ended is not None and ended.exit_code == 7
