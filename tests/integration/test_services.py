"""Services by nftables with real sockets, on a node that is a network namespace of its own."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nodeagent.network.pod_network import PodAddress, PodNetwork
from nodeagent.network.services import ServiceTable
from tests.integration.network_lab import Greeter, Node, greet, greet_by_datagram, in_pod, new_node

pytestmark = pytest.mark.root

CLUSTER_IP = "10.43.0.50"


def service(*, protocol: str = "TCP", **spec: Any) -> dict[str, Any]:
    port = {"port": 80, "protocol": protocol, "nodePort": 30080}
    return {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"type": "NodePort", "clusterIP": CLUSTER_IP, "ports": [port], **spec},
    }


def endpoints(*pods: PodAddress, protocol: str = "TCP", ready: bool = True) -> dict[str, Any]:
    return {
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"port": 8080, "protocol": protocol, "name": ""}],
        "endpoints": [{"addresses": [pod.ip], "conditions": {"ready": ready}} for pod in pods],
    }


class Cluster:
    """One node with three serving pods (``pod-0`` to ``pod-2``), a client pod and a service table."""

    def __init__(self, node: Node, run_dir: Path) -> None:
        self.node, self._run_dir = node, run_dir
        self.network = node.run(lambda: PodNetwork("10.42.0.0/24", run_dir=run_dir))
        node.run(self.network.ensure_bridge)
        self.table = node.run(ServiceTable)
        names = ("pod-0", "pod-1", "pod-2", "client")
        *self.pods, self.client = node.run(lambda: [self.network.setup(name) for name in names])
        self._greeters = [
            in_pod(pod.netns_path, lambda number=number: Greeter(f"pod-{number}"))  # type: ignore[misc]
            for number, pod in enumerate(self.pods)
        ]

    def sync(self, services: list[dict[str, Any]], *slices: dict[str, Any]) -> bool:
        return self.node.run(lambda: self.table.sync(services, list(slices)))

    def ask(self, address: str = CLUSTER_IP, port: int = 80) -> str:
        """Which pod answers the client, and the address it sees."""
        return in_pod(self.client.netns_path, lambda: greet(address, port))

    def answering(self, times: int = 30) -> set[str]:
        return {self.ask().split()[0] for _ in range(times)}

    def close(self) -> None:
        for greeter in self._greeters:
            greeter.close()
        self.node.run(self.table.purge)
        self.table.close()
        self.network.close()
        self.node.run(lambda: PodNetwork.purge(self._run_dir))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with new_node() as node:
        made = Cluster(node, tmp_path)
        yield made
        made.close()


def refused(ask: Callable[[], Any]) -> bool:
    try:
        ask()
    except OSError as error:
        return error.errno == errno.ECONNREFUSED
    return False


def test_cluster_ip_balances(cluster: Cluster) -> None:
    """A pod that asks the cluster IP is answered by every endpoint in turn, which sees the pod's own address."""
    cluster.sync([service()], endpoints(*cluster.pods))
    assert cluster.answering(40) == {"pod-0", "pod-1", "pod-2"}
    assert cluster.ask().split()[1] == cluster.client.ip


def test_node_reaches_services(cluster: Cluster) -> None:
    """The node reaches the cluster IP, and the node port on all of its addresses, 127.0.0.1 too."""
    cluster.sync([service()], endpoints(*cluster.pods))
    for address, port in ((CLUSTER_IP, 80), ("127.0.0.1", 30080), (cluster.network.gateway, 30080)):
        assert cluster.node.run(lambda: greet(address, port)).startswith("pod-")  # noqa: B023
    assert cluster.ask(cluster.network.gateway, 30080).split()[1] == cluster.client.ip


def test_outside_reaches_the_node_port(cluster: Cluster) -> None:
    """A client outside the cluster is answered on the node port, and the pod sees the client's own address."""
    outside = cluster.node.run(lambda: cluster.network.setup("outside"))
    cluster.node.command(
        "ip link add up0 type veth peer name up1",
        "ip addr add 198.51.100.1/24 dev up0",
        "ip link set up0 up",
        f"ip link set up1 netns {outside.netns_path}",
        f"nsenter --net={outside.netns_path} ip addr add 198.51.100.2/24 dev up1",
        f"nsenter --net={outside.netns_path} ip link set up1 up",
        f"nsenter --net={outside.netns_path} ip route del default",
        "ip route add default via 198.51.100.2 dev up0",
    )
    cluster.sync([service()], endpoints(*cluster.pods))
    answer = in_pod(outside.netns_path, lambda: greet("198.51.100.1", 30080))
    assert answer.split()[1] == "198.51.100.2"


def test_pod_reaches_itself(cluster: Cluster) -> None:
    """A pod that is the only endpoint of a service reaches itself through it."""
    cluster.sync([service()], endpoints(cluster.pods[0]))
    assert in_pod(cluster.pods[0].netns_path, lambda: greet(CLUSTER_IP, 80)).startswith("pod-0")
    gateway = cluster.network.gateway
    assert in_pod(cluster.pods[0].netns_path, lambda: greet(gateway, 30080)).startswith("pod-0")


def test_no_endpoints_refuses_at_once(cluster: Cluster) -> None:
    """A service without endpoints, and an address that is no service, refuse instead of hanging."""
    cluster.sync([service()])
    assert refused(cluster.ask)
    assert refused(lambda: cluster.ask("10.43.7.7", 80))
    assert refused(lambda: cluster.node.run(lambda: greet(CLUSTER_IP, 80)))
    assert refused(lambda: cluster.node.run(lambda: greet("127.0.0.1", 30080)))


def test_endpoints_follow_changes(cluster: Cluster) -> None:
    """Endpoints that come and go are asked and not asked from the next connection on; unready ones never."""
    cluster.sync([service()], endpoints(cluster.pods[0]))
    assert cluster.answering(5) == {"pod-0"}
    cluster.sync([service()], endpoints(cluster.pods[1], cluster.pods[2]))
    assert cluster.answering() == {"pod-1", "pod-2"}
    late = endpoints(cluster.pods[0], ready=False)
    late["metadata"]["name"] = "web-2"
    late["endpoints"][0]["conditions"]["serving"] = False
    cluster.sync([service()], endpoints(cluster.pods[2]), late)
    assert cluster.answering(5) == {"pod-2"}
    cluster.sync([])
    assert refused(cluster.ask)


def test_unchanged_services_are_left_alone(cluster: Cluster) -> None:
    """Syncing the same again changes nothing, and changing one service leaves the chains of others as they are."""
    other = service()
    other["metadata"]["name"] = "other"
    other["spec"] |= {"clusterIP": "10.43.0.51", "ports": [{"port": 80}]}
    its_endpoints = endpoints(cluster.pods[0])
    its_endpoints["metadata"]["labels"]["kubernetes.io/service-name"] = "other"
    cluster.sync([service(), other], endpoints(cluster.pods[1]), its_endpoints)
    assert not cluster.sync([service(), other], endpoints(cluster.pods[1]), its_endpoints)
    before = cluster.node.command("nft -a list table ip flotilla | grep -A1 'chain svc' | grep 10.42.0.2")
    assert cluster.sync([service(), other], endpoints(cluster.pods[2]), its_endpoints)
    assert cluster.node.command("nft -a list table ip flotilla | grep -A1 'chain svc' | grep 10.42.0.2") == before
    assert cluster.ask("10.43.0.51", 80).startswith("pod-0")


def test_open_connections_survive(cluster: Cluster) -> None:
    """A connection to an endpoint that was removed goes on, through later syncs and a restart of the agent."""
    cluster.sync([service()], endpoints(cluster.pods[0]))
    with in_pod(cluster.client.netns_path, lambda: socket.create_connection((CLUSTER_IP, 80), timeout=2)) as client:
        assert client.recv(100).startswith(b"pod-0")
        cluster.sync([service()], endpoints(cluster.pods[1]))
        restarted = cluster.node.run(ServiceTable)
        cluster.node.run(lambda: restarted.sync([service()], [endpoints(cluster.pods[1])]))
        client.sendall(b"still")
        assert client.recv(100) == b"still"
        assert cluster.answering(5) == {"pod-1"}
        restarted.close()


def test_session_affinity(cluster: Cluster) -> None:
    """With ClientIP affinity a client keeps its endpoint when others come or go, and moves only when it goes."""
    sticky = service(sessionAffinity="ClientIP")
    cluster.sync([sticky], endpoints(*cluster.pods))
    (chosen,) = cluster.answering(10)
    number = int(chosen[-1])
    cluster.sync([sticky], endpoints(cluster.pods[number], cluster.pods[number - 1]))
    assert cluster.answering(10) == {chosen}
    cluster.sync([sticky], endpoints(cluster.pods[number - 1], cluster.pods[number - 2]))
    (moved,) = cluster.answering(10)
    assert moved != chosen
    cluster.sync([service()], endpoints(*cluster.pods))
    assert cluster.answering(40) == {"pod-0", "pod-1", "pod-2"}
    cluster.sync([])
    assert "set of-" not in cluster.node.command("nft list table ip flotilla")


def test_udp_flows_move_to_living_endpoints(cluster: Cluster) -> None:
    """A UDP client that keeps its port is sent to a new endpoint once its former one is removed."""
    datagrams = service(protocol="UDP")
    cluster.sync([datagrams], endpoints(cluster.pods[0], protocol="UDP"))
    with in_pod(cluster.client.netns_path, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        assert greet_by_datagram(client, CLUSTER_IP, 80) == f"pod-0 {cluster.client.ip}"
        cluster.sync([datagrams], endpoints(cluster.pods[1], protocol="UDP"))
        assert greet_by_datagram(client, CLUSTER_IP, 80) == f"pod-1 {cluster.client.ip}"


def test_flushed_table_comes_back(cluster: Cluster) -> None:
    """A table that someone else has removed is made again by the next sync, although nothing had changed."""
    cluster.sync([service()], endpoints(cluster.pods[0]))
    cluster.node.command("nft delete table ip flotilla")
    assert cluster.sync([service()], endpoints(cluster.pods[0]))
    assert cluster.ask().startswith("pod-0")


def test_broken_table_is_mended(cluster: Cluster) -> None:
    """A table that someone has changed, so that a difference no longer fits, is made anew in the same sync."""
    cluster.sync([service()], endpoints(cluster.pods[0]))
    cluster.node.command("nft flush map ip flotilla addresses")
    cluster.sync([])
    cluster.sync([service()], endpoints(cluster.pods[1]))
    assert cluster.answering(5) == {"pod-1"}


def test_dns_address_is_the_nodes_own(cluster: Cluster) -> None:
    """The DNS service's address is answered by the node, not translated or refused."""
    dns = service()
    dns["metadata"] = {"name": "kube-dns", "namespace": "kube-system"}
    dns["spec"] = {"clusterIP": "10.43.0.10", "ports": [{"port": 53, "protocol": "TCP"}]}
    cluster.sync([dns, service()], endpoints(cluster.pods[0]))
    greeter = cluster.node.run(lambda: Greeter("dns", address="10.43.0.10", port=53))
    assert cluster.ask("10.43.0.10", 53) == f"dns {cluster.client.ip}"
    assert cluster.node.run(lambda: greet("10.43.0.10", 53)).startswith("dns")
    greeter.close()


def test_purge(cluster: Cluster) -> None:
    """Purging removes the table and can be repeated."""
    cluster.sync([service()], endpoints(cluster.pods[0]))
    cluster.node.run(cluster.table.purge)
    cluster.node.run(cluster.table.purge)
    assert "table ip flotilla {" not in cluster.node.command("nft list ruleset")


def test_thousand_services(cluster: Cluster) -> None:
    """A thousand services are taken at once, and one more change stays small."""
    many, slices = [], []
    for number in range(1000):
        each, its_endpoints = service(), endpoints(*cluster.pods)
        each["metadata"]["name"] = its_endpoints["metadata"]["labels"]["kubernetes.io/service-name"] = f"s{number}"
        each["spec"] |= {"clusterIP": f"10.43.{1 + number // 250}.{1 + number % 250}", "ports": [{"port": 80}]}
        many.append(each)
        slices.append(its_endpoints)
    cluster.sync(many, *slices)
    cluster.sync([*many, service()], *slices, endpoints(cluster.pods[0]))
    assert cluster.ask().startswith("pod-0")
    assert cluster.ask("10.43.4.250", 80).startswith("pod-")
