"""A dispatcher on the in-memory store, and the client side of a session, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from controlplane.api.operations import Operations
from controlplane.autoscaler.figures import Figures
from controlplane.dispatcher.service import DispatcherServer
from controlplane.election import Election
from controlplane.pki import ClusterPki
from controlplane.reconcile.events import EventRecorder
from controlplane.settings import ServerSettings
from controlplane.store.cache import Cache
from controlplane.store.memory import MemoryStore
from flotilla.api.objects import KubeObject, decode, encode
from flotilla.api.registry import REGISTRY
from flotilla.api.resources import NAMESPACES, PODS
from protos import dispatcher_pb2 as pb
from protos import dispatcher_pb2_grpc

DEADLINE_S = 10.0


@dataclass
class Server:
    """A running dispatcher and what it stands on."""

    store: MemoryStore
    cache: Cache
    objects: Operations
    pki: ClusterPki
    dispatcher: DispatcherServer
    port: int

    def channel(self, certificate: bytes | None, key: bytes | None) -> Any:
        credentials = grpc.ssl_channel_credentials(self.pki.ca_pem, key, certificate)
        return grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials)

    def node_channel(self, node: str) -> Any:
        issued = self.pki.issue_client_certificate(f"system:node:{node}", ["system:nodes"])
        return self.channel(issued.certificate_pem, issued.key_pem)


@dataclass
class Agent:
    """The client side of one session. ``held`` is what an agent would hold: key → object."""

    call: Any
    stub: Any
    messages: list[pb.ServerMessage] = field(default_factory=list)
    held: dict[tuple[str, str, str], KubeObject] = field(default_factory=dict)
    incoming: dict[tuple[str, str, str], KubeObject] = field(default_factory=dict)
    last_set: pb.AssignmentSet | None = None
    sequence: int = 0
    welcome: pb.Welcome | None = None
    acknowledged: int = 0
    tunnels: list[pb.TunnelRequest] = field(default_factory=list)

    async def send(self, **body: Any) -> None:
        await self.call.write(pb.AgentMessage(**body))

    async def until(self, condition: Callable[[Agent], bool]) -> None:
        """Read until the condition holds."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition(self):
                message = await self.call.read()
                if not isinstance(message, pb.ServerMessage):
                    raise AssertionError(f"the session ended: {await self.call.code()} {await self.call.details()}")
                self._take(message)

    async def ended(self) -> grpc.StatusCode:
        """Read to the end; the status that the session ended with."""
        async with asyncio.timeout(DEADLINE_S):
            with suppress(grpc.aio.AioRpcError):
                while isinstance(await self.call.read(), pb.ServerMessage):
                    pass
            code: grpc.StatusCode = await self.call.code()
            return code

    def _take(self, message: pb.ServerMessage) -> None:
        self.messages.append(message)
        match message.WhichOneof("body"):
            case "welcome":
                self.welcome = message.welcome
            case "assignment_set":
                self._take_set(message.assignment_set)
            case "increment":
                assert message.increment.sequence == self.sequence + 1
                self.sequence += 1
                self.held |= {_key(each.key): decode(each.json) for each in message.increment.changed}
                for key in message.increment.removed:
                    del self.held[_key(key)]
            case "status_ack":
                self.acknowledged = message.status_ack.sequence
            case "tunnel_request":
                self.tunnels.append(message.tunnel_request)

    def _take_set(self, part: pb.AssignmentSet) -> None:
        self.incoming |= {_key(each.key): decode(each.json) for each in part.objects}
        if part.last:
            self.held, self.incoming, self.last_set, self.sequence = self.incoming, {}, part, part.sequence

    def pods(self) -> set[str]:
        return {name for resource, _, name in self.held if resource == "pods"}


def _key(key: pb.ObjectKey) -> tuple[str, str, str]:
    return (key.resource, key.namespace, key.name)


@asynccontextmanager
async def running_tasks(*coroutines: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


@asynccontextmanager
async def running_server(pki: ClusterPki, directory: Path) -> AsyncIterator[Server]:
    """A server whose store holds the namespaces that every cluster has."""
    store = MemoryStore()
    cache = Cache(store, REGISTRY.all())
    objects = Operations(store, cache)
    recorder = EventRecorder(objects, cache, component="dispatcher")
    election = Election(store, identity="test-server")
    dispatcher = DispatcherServer(
        cache,
        objects,
        recorder=recorder,
        pki=pki,
        figures=Figures(),
        election=election,
        settings=settings(directory),
    )
    async with running_tasks(cache.run(), election.run(), recorder.run(), dispatcher.run()):
        await cache.wait_synced()
        running = Server(store, cache, objects, pki, dispatcher, await dispatcher.port())
        for namespace in ("default", "kube-system", "kube-node-lease"):
            await objects.create(NAMESPACES, new_object("Namespace", namespace, ""), manager="test")
        yield running


def settings(directory: Path) -> ServerSettings:
    return ServerSettings(
        data_dir=directory,
        pki_dir=directory,
        etcd=(),
        listen="127.0.0.1:0",
        dispatcher_listen="127.0.0.1:0",
        cluster_cidr="10.42.0.0/16",
        service_cidr="10.43.0.0/16",
        cluster_dns="10.43.0.10",
        cluster_domain="cluster.local",
        node_grace_s=4.0,
        identity="test-server",
    )


def new_object(kind: str, name: str, namespace: str = "default", **content: Any) -> KubeObject:
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **content}


def new_pod(name: str, node: str, *, config_map: str = "") -> KubeObject:
    container: KubeObject = {"name": "app", "image": "app:1"}
    if config_map:
        container["envFrom"] = [{"configMapRef": {"name": config_map}}]
    return new_object("Pod", name, spec={"nodeName": node, "containers": [container]})


def node_report(name: str) -> KubeObject:
    status = {
        "capacity": {"cpu": "2", "memory": "4Gi", "pods": "110"},
        "allocatable": {"cpu": "2", "memory": "4Gi", "pods": "110"},
        "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
    }
    labels = {"kubernetes.io/os": "linux"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "status": status}


def stub_of(channel: Any) -> Any:
    return dispatcher_pb2_grpc.DispatcherStub(channel)  # type: ignore[no-untyped-call]


@asynccontextmanager
async def open_session(
    server: Server, node: str, *, applied: tuple[str, int] = ("", 0), running: tuple[str, ...] = ()
) -> AsyncIterator[Agent]:
    async with server.node_channel(node) as channel:
        stub = stub_of(channel)
        call = stub.Session()
        agent = Agent(call, stub)
        hello = pb.Hello(
            agent_version="test",
            boot_id="boot",
            node_json=encode(node_report(node)),
            running=[pb.RunningPod(namespace="default", name=uid, uid=uid) for uid in running],
            applied=pb.AppliedReport(history_id=applied[0], revision=applied[1]),
        )
        await agent.send(hello=hello)
        try:
            yield agent
        finally:
            call.cancel()


async def eventually(condition: Callable[[], bool], server: Server) -> None:
    """Wait on the cache until the condition holds."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await server.cache.wait_for(server.cache.revision + 1, timeout_s=DEADLINE_S)


async def add_pod(server: Server, name: str, node: str, **more: str) -> KubeObject:
    return await server.objects.create(PODS, new_pod(name, node, **more), manager="test")


async def make_node(server: Server, node: str) -> None:
    async with open_session(server, node) as agent:
        await agent.until(lambda agent: agent.last_set is not None)


def pod_status(pod: KubeObject, sequence: int, phase: str, *, terminated: bool = False) -> pb.PodStatus:
    metadata = pod["metadata"]
    return pb.PodStatus(
        namespace="default",
        name=metadata["name"],
        uid=metadata["uid"],
        sequence=sequence,
        status_json=encode({"phase": phase}),
        terminated=terminated,
    )
