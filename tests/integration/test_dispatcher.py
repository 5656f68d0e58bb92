"""The dispatcher under a real gRPC client over mutual TLS, on the in-memory store and the real cache and operations."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from controlplane.api.operations import Operations
from controlplane.autoscaler.figures import Figures
from controlplane.dispatcher.downlink import CONFIRMED_HISTORY
from controlplane.dispatcher.service import DispatcherServer
from controlplane.election import Election
from controlplane.pki import ClusterPki, ensure_cluster_pki
from controlplane.reconcile.events import EventRecorder
from controlplane.store.cache import Cache
from controlplane.store.memory import MemoryStore
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, decode, encode
from flotilla.api.registry import REGISTRY
from flotilla.api.resources import CONFIG_MAPS, EVENTS, LEASES, NODES, PODS, SECRETS, SERVICES
from protos import dispatcher_pb2 as pb
from protos.unjoined import unjoined_certificate
from tests.integration.dispatcher_lab import (
    DEADLINE_S,
    Agent,
    Server,
    add_pod,
    eventually,
    make_node,
    new_object,
    open_session,
    pod_status,
    running_server,
    running_tasks,
    settings,
    stub_of,
)

TOKEN = "abcdef.0123456789abcdef"  # noqa: S105


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> ClusterPki:
    return ensure_cluster_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
async def server(pki: ClusterPki, tmp_path: Path) -> AsyncIterator[Server]:
    async with running_server(pki, tmp_path) as running:
        yield running


def _csr() -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "system:node:one")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name)
    signed = request.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


async def _put_token(server: Server, expires: timedelta) -> None:
    fields = {
        "token-id": TOKEN[:6],
        "token-secret": TOKEN[7:],
        "expiration": (datetime.now(UTC) + expires).isoformat(),
        "usage-bootstrap-authentication": "true",
    }
    data = {name: base64.b64encode(value.encode()).decode() for name, value in fields.items()}
    secret = new_object("Secret", f"bootstrap-token-{TOKEN[:6]}", "kube-system", type="bootstrap.kubernetes.io/token")
    await server.objects.create(SECRETS, {**secret, "data": data}, manager="test")


async def _join(server: Server, channel: Any, *, token: str = TOKEN, node: str = "one") -> pb.JoinResponse:
    request = pb.JoinRequest(token=token, node_name=node, csr_pem=_csr())
    response: pb.JoinResponse = await stub_of(channel).Join(request, timeout=DEADLINE_S)
    return response


async def test_a_token_buys_a_node_certificate(server: Server) -> None:
    """A valid token gets a certificate for the name asked for, signed by the cluster's authority."""
    await _put_token(server, timedelta(hours=1))
    async with server.channel(*unjoined_certificate()) as channel:
        answer = await _join(server, channel)
    certificate = x509.load_pem_x509_certificate(answer.certificate_pem)
    assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "system:node:one"
    assert server.pki.authority.issued(certificate)
    assert answer.ca_pem == server.pki.ca_pem


@pytest.mark.parametrize(("token", "hours"), [(TOKEN, -1), ("abcdef.0000000000000000", 1), ("nonsense", 1)])
async def test_bad_tokens_are_refused(server: Server, token: str, hours: int) -> None:
    """An expired, wrong or malformed token gets UNAUTHENTICATED and nothing else."""
    await _put_token(server, timedelta(hours=hours))
    async with server.channel(*unjoined_certificate()) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await _join(server, channel, token=token)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_certificate_renews_only_its_own_node(server: Server) -> None:
    """A node renews its certificate without a token, and can't get another node's."""
    async with server.node_channel("one") as channel:
        answer = await _join(server, channel, token="")
        assert server.pki.authority.issued(x509.load_pem_x509_certificate(answer.certificate_pem))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await _join(server, channel, token="", node="two")
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_no_client_certificate_is_refused_by_tls(server: Server) -> None:
    """Without any client certificate the handshake itself fails."""
    async with server.channel(None, None) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await _join(server, channel)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_sessions_need_a_node_certificate(server: Server) -> None:
    """Neither the certificate of the unjoined nor the admin's opens a session or a tunnel."""
    admin = server.pki.admin.read()
    for certificate, key in (unjoined_certificate(), (admin.certificate_pem, admin.key_pem)):
        async with server.channel(certificate, key) as channel:
            stub = stub_of(channel)
            for call in (stub.Session(), stub.Tunnel()):
                assert await call.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_hello_makes_a_ready_node_with_a_network(server: Server) -> None:
    """The first hello creates the Node, Ready at once, with a network of its own, and the welcome names it."""
    async with open_session(server, "one") as one, open_session(server, "two") as two:
        for agent in (one, two):
            await agent.until(lambda agent: agent.last_set is not None)
        assert one.welcome is not None
        assert two.welcome is not None
        assert {one.welcome.pod_cidr, two.welcome.pod_cidr} == {"10.42.0.0/24", "10.42.1.0/24"}
        assert one.welcome.leader
        await eventually(lambda: _ready(server, "one") == "True", server)
        node = server.cache.get(NODES, "", "one")
        assert node is not None
        assert node.obj["spec"]["podCIDR"] == one.welcome.pod_cidr
        assert node.obj["status"]["capacity"]["cpu"] == "2"
        assert node.labels["kubernetes.io/os"] == "linux"


def _ready(server: Server, name: str) -> str:
    node = server.cache.get(NODES, "", name)
    conditions = (node.obj.get("status") or {}).get("conditions") or () if node else ()
    return next((each["status"] for each in conditions if each["type"] == "Ready"), "")


async def test_a_heard_node_becomes_ready_again(server: Server) -> None:
    """A Node that was judged lost is Ready again with the next heartbeat, and its Lease is renewed."""
    async with open_session(server, "one") as agent:
        await agent.until(lambda agent: agent.last_set is not None)
        await eventually(lambda: _ready(server, "one") == "True", server)

        def lose(node: KubeObject) -> KubeObject:
            for condition in node["status"]["conditions"]:
                condition["status"] = "Unknown"
            return node

        await server.objects.mutate(NODES, "", "one", lose, manager="test", subresource="status")
        await eventually(lambda: _ready(server, "one") == "Unknown", server)
        await agent.send(heartbeat=pb.Heartbeat(sequence=1))
        await eventually(lambda: _ready(server, "one") == "True", server)
        await eventually(lambda: server.cache.get(LEASES, "kube-node-lease", "one") is not None, server)


async def test_assignments_follow_the_cluster(server: Server) -> None:
    """A node holds its own pods and exactly the ConfigMaps that they name, and increments keep that true."""
    async with open_session(server, "one") as agent:
        await agent.until(lambda agent: agent.last_set is not None)
        for name in ("used", "unused"):
            await server.objects.create(CONFIG_MAPS, new_object("ConfigMap", name, data={"a": "1"}), manager="test")
        await add_pod(server, "mine", "one", config_map="used")
        await add_pod(server, "other", "two", config_map="unused")
        await agent.until(lambda agent: "mine" in agent.pods())
        config_maps = {name for resource, _, name in agent.held if resource == "configmaps"}
        assert config_maps == {"used"}
        change = new_object("ConfigMap", "used", data={"a": "2"})
        await server.objects.update(CONFIG_MAPS, change, manager="test")
        await agent.until(lambda agent: agent.held["configmaps", "default", "used"]["data"] == {"a": "2"})
        await server.objects.delete(PODS, "default", "mine", manager="test", grace_period_s=0)
        await agent.until(lambda agent: "mine" not in agent.pods())
        assert ("configmaps", "default", "used") not in agent.held
        assert agent.pods() == set()


async def test_large_sets_come_in_chunks(server: Server) -> None:
    """A set over 1 MiB is cut, only the last chunk says so, and it is whole."""
    await make_node(server, "one")
    for number in range(3):
        data = {"blob": "x" * 600_000}
        await server.objects.create(CONFIG_MAPS, new_object("ConfigMap", f"big-{number}", data=data), manager="test")
        await add_pod(server, f"pod-{number}", "one", config_map=f"big-{number}")
    await server.cache.barrier()
    async with open_session(server, "one") as agent:
        await agent.until(lambda agent: agent.last_set is not None)
        parts = [each.assignment_set for each in agent.messages if each.HasField("assignment_set")]
        assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
        assert len(parts) == 3
        assert max(part.ByteSize() for part in parts) < 1 << 20
        assert agent.pods() == {"pod-0", "pod-1", "pod-2"}


async def test_a_gap_is_answered_with_a_complete_set(server: Server) -> None:
    """A resync request brings a whole set with a higher number, from which increments go on."""
    async with open_session(server, "one") as agent:
        await agent.until(lambda agent: agent.last_set is not None)
        await add_pod(server, "first", "one")
        await agent.until(lambda agent: "first" in agent.pods())
        before = agent.sequence
        await agent.send(resync=pb.ResyncRequest(reason="gap"))
        await agent.until(lambda agent: agent.last_set is not None and agent.last_set.sequence > before)
        assert agent.pods() == {"first"}
        await add_pod(server, "second", "one")
        await agent.until(lambda agent: "second" in agent.pods())


async def test_a_second_session_replaces_the_first(server: Server) -> None:
    """The older session ends with ABORTED; the newer one gets what changes."""
    async with open_session(server, "one") as first:
        await first.until(lambda agent: agent.last_set is not None)
        async with open_session(server, "one") as second:
            await second.until(lambda agent: agent.last_set is not None)
            assert await first.ended() is grpc.StatusCode.ABORTED
            await add_pod(server, "pod", "one")
            await second.until(lambda agent: "pod" in agent.pods())
            assert server.dispatcher.sessions.connected("one")


async def test_the_newest_status_wins_and_is_acknowledged_once_stored(server: Server) -> None:
    """Of several reports of one pod the newest is stored; the acknowledgement covers it only then."""
    await make_node(server, "one")
    pod = await add_pod(server, "pod", "one")
    async with open_session(server, "one") as agent:
        reports = [pod_status(pod, 3, "Failed"), pod_status(pod, 1, "Pending"), pod_status(pod, 2, "Running")]
        await agent.send(pod_statuses=pb.PodStatusBatch(statuses=reports))
        await agent.until(lambda agent: agent.acknowledged == 3)
        stored = await server.objects.get(PODS, "default", "pod")
        assert stored["status"]["phase"] == "Failed"


async def test_statuses_survive_an_outage_of_the_store(server: Server) -> None:
    """While the store is away nothing is acknowledged; when it is back the newest report is stored."""
    await make_node(server, "one")
    pod = await add_pod(server, "pod", "one")
    await server.cache.barrier()
    async with open_session(server, "one") as agent:
        await agent.until(lambda agent: agent.last_set is not None)
        server.store.available = False
        for sequence, phase in enumerate(("Pending", "Running"), start=1):
            await agent.send(pod_statuses=pb.PodStatusBatch(statuses=[pod_status(pod, sequence, phase)]))
        acknowledged = asyncio.create_task(agent.until(lambda agent: agent.acknowledged == 2))
        await asyncio.wait({acknowledged}, timeout=0.2)
        assert agent.acknowledged == 0
        server.store.available = True
        await acknowledged
        await eventually(lambda: _phase(server, "pod") == "Running", server)


def _phase(server: Server, name: str) -> str:
    pod = server.cache.get(PODS, "default", name)
    return str((pod.obj.get("status") or {}).get("phase")) if pod is not None else ""


async def test_a_node_speaks_for_its_own_pods_only(server: Server) -> None:
    """A status of another node's pod changes nothing, and is acknowledged so that it is not sent for ever."""
    await make_node(server, "one")
    pod = await add_pod(server, "foreign", "two")
    async with open_session(server, "one") as agent:
        await agent.send(pod_statuses=pb.PodStatusBatch(statuses=[pod_status(pod, 1, "Failed")]))
        await agent.until(lambda agent: agent.acknowledged == 1)
        stored = await server.objects.get(PODS, "default", "foreign")
        assert stored.get("status", {}).get("phase") != "Failed"


async def test_a_terminated_pod_that_was_to_go_is_removed(server: Server) -> None:
    """A pod being deleted stays until its node says that it has terminated; one that is not, stays anyway."""
    await make_node(server, "one")
    going, staying = await add_pod(server, "going", "one"), await add_pod(server, "staying", "one")
    async with open_session(server, "one") as agent:
        await agent.until(lambda agent: agent.pods() == {"going", "staying"})
        await server.objects.delete(PODS, "default", "going", manager="test")
        marked = "deletionTimestamp"
        await agent.until(lambda agent: marked in agent.held["pods", "default", "going"]["metadata"])
        reports = [
            pod_status(pod, at, "Succeeded", terminated=True) for at, pod in enumerate((going, staying), start=1)
        ]
        await agent.send(pod_statuses=pb.PodStatusBatch(statuses=reports))
        await agent.until(lambda agent: agent.acknowledged == 2 and agent.pods() == {"staying"})


async def test_events_of_agents_are_recorded(server: Server) -> None:
    """What an agent says of a pod becomes an Event of that pod."""
    await make_node(server, "one")
    pod = await add_pod(server, "pod", "one")
    about = {"apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": "pod", "uid": pod["metadata"]["uid"]}
    event = pb.NodeEvent(involved_object_json=encode(about), type="Normal", reason="Pulled", message="present")
    async with open_session(server, "one") as agent:
        await agent.send(events=pb.EventBatch(events=[event]))
        await eventually(lambda: any(entry.obj["reason"] == "Pulled" for entry in server.cache.list(EVENTS)), server)


async def test_a_lagging_server_waits_for_what_the_agent_has(server: Server) -> None:
    """No set is offered that is older than what the agent has applied."""
    await make_node(server, "one")
    await server.cache.barrier()
    ahead = server.cache.revision + 2
    async with open_session(server, "one", applied=(server.cache.history_id, ahead)) as agent:
        await agent.until(lambda agent: agent.welcome is not None)
        await add_pod(server, "first", "one")
        await server.objects.create(
            SERVICES, new_object("Service", "web", spec={"ports": [{"port": 80}]}), manager="test"
        )
        await agent.until(lambda agent: agent.last_set is not None)
        assert agent.last_set is not None
        assert agent.last_set.revision >= ahead


async def test_an_empty_cache_sends_nothing(pki: ClusterPki, tmp_path: Path) -> None:
    """A server whose cache has not synced answers hello with silence, not with an empty set."""
    store = MemoryStore()
    cache = Cache(store, REGISTRY.all())
    objects = Operations(store, cache)
    dispatcher = DispatcherServer(
        cache,
        objects,
        recorder=EventRecorder(objects, cache, component="dispatcher"),
        pki=pki,
        figures=Figures(),
        election=Election(store, identity="test-server"),
        settings=settings(tmp_path),
    )
    async with running_tasks(dispatcher.run()):
        server = Server(store, cache, objects, pki, dispatcher, await dispatcher.port())
        async with open_session(server, "one", applied=("some", 5), running=("uid-1",)) as agent:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await agent.call.read()


async def test_a_restored_backup_removes_nothing_until_confirmed(server: Server) -> None:
    """Under another history the set is unconfirmed while it lacks a pod that runs; an operator confirms it."""
    await make_node(server, "one")
    async with open_session(server, "one", applied=("another history", 5_000_000), running=("lost-uid",)) as agent:
        await agent.until(lambda agent: agent.last_set is not None)
        assert agent.last_set is not None
        assert not agent.last_set.confirmed

        def confirm(node: KubeObject) -> KubeObject:
            node["metadata"].setdefault("annotations", {})[CONFIRMED_HISTORY] = server.cache.history_id
            return node

        await server.objects.mutate(NODES, "", "one", confirm, manager="test")
        await agent.until(lambda agent: agent.last_set is not None and agent.last_set.confirmed)


async def test_a_restored_backup_that_lacks_nothing_is_confirmed_at_once(server: Server) -> None:
    """Another history with all the pods that run is taken over without asking anybody."""
    await make_node(server, "one")
    pod = await add_pod(server, "pod", "one")
    await server.cache.barrier()
    running = (pod["metadata"]["uid"],)
    async with open_session(server, "one", applied=("another history", 5_000_000), running=running) as agent:
        await agent.until(lambda agent: agent.last_set is not None)
        assert agent.last_set is not None
        assert agent.last_set.confirmed


async def test_a_deleted_node_registers_again(server: Server) -> None:
    """Deleting the Node ends the session, so that the agent has to introduce itself anew."""
    async with open_session(server, "one") as agent:
        await agent.until(lambda agent: agent.last_set is not None)
        await server.objects.delete(NODES, "", "one", manager="test")
        assert await agent.ended() is grpc.StatusCode.ABORTED
    async with open_session(server, "one") as agent:
        await agent.until(lambda agent: agent.last_set is not None)


async def test_logs_flow_through_a_tunnel(server: Server) -> None:
    """The agent's frames reach the reader in order, and the end ends the stream."""
    await make_node(server, "one")
    pod = await add_pod(server, "pod", "one")
    async with open_session(server, "one") as agent:
        await agent.until(lambda agent: agent.last_set is not None)
        reading = asyncio.create_task(_read_log(server, pod))
        async with _tunnel(agent) as tunnel:
            assert decode(agent.tunnels[0].logs.options_json) == {"follow": True}
            for line in (b"one\n", b"two\n"):
                await tunnel.write(pb.TunnelFrame(data=line))
            await tunnel.write(pb.TunnelFrame(end=pb.TunnelEnd()))
            assert await reading == b"one\ntwo\n"
            assert await tunnel.code() is grpc.StatusCode.OK


async def test_an_error_at_the_node_reaches_the_reader(server: Server) -> None:
    """A Status in the end frame is raised as that error."""
    await make_node(server, "one")
    pod = await add_pod(server, "pod", "one")
    async with open_session(server, "one") as agent:
        await agent.until(lambda agent: agent.last_set is not None)
        reading = asyncio.create_task(_read_log(server, pod))
        async with _tunnel(agent) as tunnel:
            status = ApiError(400, "BadRequest", "container is waiting to start").status()
            await tunnel.write(pb.TunnelFrame(end=pb.TunnelEnd(error_json=encode(status).decode())))
            with pytest.raises(ApiError, match="waiting to start"):
                await reading


async def test_a_reader_that_leaves_ends_the_tunnel(server: Server) -> None:
    """When the HTTP client is gone the agent's call is cancelled, even while it waits for room."""
    await make_node(server, "one")
    pod = await add_pod(server, "pod", "one")
    async with open_session(server, "one") as agent:
        await agent.until(lambda agent: agent.last_set is not None)
        reading = asyncio.create_task(_read_first(server, pod))
        async with _tunnel(agent) as tunnel:
            await tunnel.write(pb.TunnelFrame(data=b"line\n"))
            assert await reading == b"line\n"
            async with asyncio.timeout(DEADLINE_S):
                assert await tunnel.code() is grpc.StatusCode.CANCELLED


async def test_logs_of_an_unconnected_node_are_an_error(server: Server) -> None:
    """Without a session of the pod's node the reader is told so at once."""
    await make_node(server, "one")
    pod = await add_pod(server, "pod", "one")
    await _eventually_disconnected(server, "one")
    with pytest.raises(ApiError, match="not connected"):
        await _read_log(server, pod)


async def _eventually_disconnected(server: Server, node: str) -> None:
    changes = server.dispatcher.sessions.changed()
    async with asyncio.timeout(DEADLINE_S):
        while server.dispatcher.sessions.connected(node):
            await anext(changes)


@asynccontextmanager
async def _tunnel(agent: Agent) -> AsyncIterator[Any]:
    await agent.until(lambda agent: bool(agent.tunnels))
    tunnel = agent.stub.Tunnel()
    await tunnel.write(pb.TunnelFrame(tunnel_id=agent.tunnels[0].tunnel_id))
    try:
        yield tunnel
    finally:
        tunnel.cancel()


async def _read_log(server: Server, pod: KubeObject) -> bytes:
    return b"".join([data async for data in server.dispatcher.tunnels.stream(pod, "app", {"follow": True})])


async def _read_first(server: Server, pod: KubeObject) -> bytes:
    stream = server.dispatcher.tunnels.stream(pod, "app", {"follow": True})
    first = await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    return first
