"""The agent's side of joining and speaking, against the real dispatcher over mutual TLS."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controlplane.api.operations import Operations
from controlplane.autoscaler.figures import Figures
from controlplane.dispatcher.service import DispatcherServer
from controlplane.election import Election
from controlplane.pki import ClusterPki, ensure_cluster_pki
from controlplane.reconcile.events import EventRecorder
from controlplane.store.cache import Cache
from controlplane.store.memory import MemoryStore
from flotilla.api.objects import KubeObject, encode
from flotilla.api.registry import REGISTRY
from flotilla.api.resources import EVENTS, NAMESPACES, NODES, PODS, SECRETS
from nodeagent.assigned import Assignments, ObjectKey
from nodeagent.join import Identity, IdentityFiles, JoinError, establish, obtain
from nodeagent.pod_events import pod_event
from nodeagent.session import ServerSession
from nodeagent.upward import Uplink
from protos import dispatcher_pb2 as pb
from tests.integration.dispatcher_lab import DEADLINE_S, add_pod, new_object, node_report, running_tasks, settings

TOKEN = "abcdef.0123456789abcdef"  # noqa: S105
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


@dataclass
class Control:
    """A control plane whose dispatcher can go away and come back on its port."""

    directory: Path
    pki: ClusterPki
    cache: Cache
    objects: Operations
    election: Election
    recorder: EventRecorder
    figures: Figures
    port: int = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        where = replace(settings(self.directory), dispatcher_listen=f"127.0.0.1:{self.port}")
        dispatcher = DispatcherServer(
            self.cache,
            self.objects,
            recorder=self.recorder,
            pki=self.pki,
            figures=self.figures,
            election=self.election,
            settings=where,
        )
        async with running_tasks(dispatcher.run()):
            self.port = await dispatcher.port()
            yield

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def pod(self, name: str) -> KubeObject | None:
        await self.cache.barrier()
        entry = self.cache.get(PODS, "default", name)
        return entry.copy() if entry is not None else None

    async def put_token(self) -> None:
        fields = {
            "token-id": TOKEN[:6],
            "token-secret": TOKEN[7:],
            "expiration": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
            "usage-bootstrap-authentication": "true",
        }
        data = {name: base64.b64encode(value.encode()).decode() for name, value in fields.items()}
        secret = new_object(
            "Secret", f"bootstrap-token-{TOKEN[:6]}", "kube-system", type="bootstrap.kubernetes.io/token"
        )
        await self.objects.create(SECRETS, {**secret, "data": data}, manager="test")


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Control]:
    pki = ensure_cluster_pki(tmp_path / "pki")
    store = MemoryStore()
    cache = Cache(store, REGISTRY.all())
    objects = Operations(store, cache)
    recorder = EventRecorder(objects, cache, component="dispatcher")
    election = Election(store, identity="test-server")
    async with running_tasks(cache.run(), election.run(), recorder.run()):
        await cache.wait_synced()
        for namespace in ("default", "kube-system", "kube-node-lease"):
            await objects.create(NAMESPACES, new_object("Namespace", namespace, ""), manager="test")
        yield Control(tmp_path, pki, cache, objects, election, recorder, Figures())


@dataclass
class Node:
    """An agent without pods: it speaks, and remembers what it was told."""

    identity: Identity
    assignments: Assignments = field(default_factory=Assignments)
    uplink: Uplink = field(default_factory=Uplink)
    welcomes: list[pb.Welcome] = field(default_factory=list)
    released: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def session(self, address: str) -> ServerSession:
        session = ServerSession(address, node=self, applier=self, uplink=self.uplink, identity=lambda: self.identity)
        self.uplink.carriers.append(session)
        return session

    def hello(self) -> pb.Hello:
        applied = self.assignments.applied
        report = pb.AppliedReport(history_id=applied.history_id, revision=applied.revision)
        return pb.Hello(agent_version="test", boot_id="b", node_json=encode(node_report("one")), applied=report)

    async def welcomed(self, welcome: pb.Welcome) -> None:
        self.welcomes.append(welcome)
        self.changed.set()

    def interested(self, interest: pb.MetricInterest) -> None:
        """Nothing on this node has a metrics page."""

    def open_tunnel(self, request: pb.TunnelRequest, channel: Any) -> None:
        raise AssertionError(f"nobody asked for {request.tunnel_id} on {channel}")

    def applied(self, keys: Iterable[ObjectKey]) -> None:
        self.changed.set()

    def let_go(self) -> None:
        self.released += 1
        self.changed.set()

    def pods(self) -> set[str]:
        return {key.name for key in self.assignments.objects if key.resource == "pods"}

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
def node(control: Control) -> Node:
    issued = control.pki.issue_client_certificate("system:node:one", ["system:nodes"])
    now = time.time()
    return Node(Identity(issued.key_pem, issued.certificate_pem, control.pki.ca_pem, now, now + 1000))


async def eventually(condition: Callable[[], Any]) -> Any:
    """Await an asynchronous condition until it holds."""
    async with asyncio.timeout(DEADLINE_S):
        while not (value := await condition()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return value


async def test_joining_with_a_token(control: Control, tmp_path: Path) -> None:
    """The token buys a certificate, kept privately; the next start needs neither token nor server."""
    (tmp_path / "token").write_text(TOKEN + "\n")
    (tmp_path / "ca.crt").write_bytes(control.pki.ca_pem)
    files = IdentityFiles(tmp_path / "identity", ca_file=tmp_path / "ca.crt")
    await control.put_token()
    async with control.serving():
        joined = await establish((control.address,), "one", files=files, token_file=tmp_path / "token")
        renewed = await obtain((control.address,), "one", token="", presented=joined)
    assert renewed.certificate_pem != joined.certificate_pem
    assert await establish(("192.0.2.1:1",), "one", files=files, token_file=None) == joined
    for file in (tmp_path / "identity").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_refused_token_is_final(control: Control, tmp_path: Path) -> None:
    """A wrong token is an error that says so, not something to try for ever."""
    (tmp_path / "token").write_text("abcdef.wrong00000000000")
    (tmp_path / "ca.crt").write_bytes(control.pki.ca_pem)
    files = IdentityFiles(tmp_path / "identity", ca_file=tmp_path / "ca.crt")
    async with control.serving():
        with pytest.raises(JoinError, match="refused to let one join"):
            await establish((control.address,), "one", files=files, token_file=tmp_path / "token")


async def test_assignments_arrive_and_go(control: Control, node: Node) -> None:
    """A complete set first, then every change of what concerns the node."""
    async with control.serving(), running_tasks(node.session(control.address).run()):
        await node.until(lambda: node.released > 0)
        assert node.welcomes[0].pod_cidr == "10.42.0.0/24"
        await add_pod(control, "web", "one")  # type: ignore[arg-type]
        await add_pod(control, "other", "two")  # type: ignore[arg-type]
        await node.until(lambda: node.pods() == {"web"})
        await control.objects.delete(PODS, "default", "web", manager="test", grace_period_s=0)
        await node.until(lambda: node.pods() == set())


async def test_statuses_reach_the_api_and_ends_remove_the_pod(control: Control, node: Node) -> None:
    """What the node reports is the pod's status; a deleted pod goes once the node has let go of it."""
    async with control.serving(), running_tasks(node.session(control.address).run()):
        await node.until(lambda: node.released > 0)
        pod = await add_pod(control, "web", "one")  # type: ignore[arg-type]
        node.uplink.statuses.report(pod, READY, terminated=False)

        async def running() -> bool:
            stored = await control.pod("web")
            return stored is not None and (stored.get("status") or {}).get("phase") == "Running"

        await eventually(running)
        await control.objects.delete(PODS, "default", "web", manager="test", grace_period_s=30)
        node.uplink.statuses.report(pod, {"phase": "Succeeded"}, terminated=True)

        async def gone() -> bool:
            return await control.pod("web") is None

        await eventually(gone)

        async def forgotten() -> bool:
            return node.uplink.statuses.newest() == []

        await eventually(forgotten)


async def test_events_are_recorded(control: Control, node: Node) -> None:
    """An event of the node is an Event of the API."""
    async with control.serving(), running_tasks(node.session(control.address).run()):
        await node.until(lambda: node.released > 0)
        pod = await add_pod(control, "web", "one")  # type: ignore[arg-type]
        node.uplink.event(pod_event(pod, "Normal", "Started", "Started container app", container="app"))

        async def recorded() -> bool:
            await control.cache.barrier()
            return any(entry.obj["reason"] == "Started" for entry in control.cache.list(EVENTS))

        await eventually(recorded)


async def test_a_returning_server_is_found_at_once(control: Control, node: Node) -> None:
    """After a loss the session is back within a second or so, with everything said again."""
    async with running_tasks(node.session("127.0.0.1:1").run()):
        async with control.serving():
            session = node.session(control.address)
            async with running_tasks(session.run()):
                await node.until(lambda: node.released == 1)
        pod = await add_pod(control, "web", "one")  # type: ignore[arg-type]
        node.uplink.statuses.report(pod, READY, terminated=False)
        async with running_tasks(session.run()):
            await asyncio.sleep(0)
            async with control.serving():
                began = time.monotonic()
                await node.until(lambda: node.pods() == {"web"})
                assert time.monotonic() - began < 3.0

                async def stored() -> bool:
                    found = await control.pod("web")
                    return found is not None and (found.get("status") or {}).get("phase") == "Running"

                await eventually(stored)


async def test_a_hold_is_announced(control: Control, node: Node) -> None:
    """An agent that stops on purpose says so, and does not wait for ever for a server that is not there."""
    session = node.session(control.address)
    async with asyncio.timeout(DEADLINE_S):
        await session.hold(60.0)
    async with control.serving(), running_tasks(node.session(control.address).run()):
        await node.until(lambda: node.released > 0)
        async with asyncio.timeout(DEADLINE_S):
            for carrier in node.uplink.carriers:
                with contextlib.suppress(AttributeError):
                    await carrier.hold(60.0)  # type: ignore[attr-defined]


async def test_the_node_is_registered(control: Control, node: Node) -> None:
    """The Node object appears with the first hello."""
    async with control.serving(), running_tasks(node.session(control.address).run()):
        await node.until(lambda: node.released > 0)
        await control.cache.barrier()
        assert control.cache.get(NODES, "", "one") is not None
