"""Pods' namespaces and addresses, with the real kernel, on a node that is a network namespace of its own."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nodeagent.network.pod_network import (
    AddressesExhaustedError,
    HostPort,
    PodAddress,
    PodNetwork,
    PodNetworkError,
    pod_link_name,
)
from tests.integration.network_lab import Greeter, Node, greet, in_pod, new_node

pytestmark = pytest.mark.root


@pytest.fixture
def node() -> Iterator[Node]:
    with new_node() as made:
        yield made


@pytest.fixture
def network(node: Node, tmp_path: Path) -> Iterator[PodNetwork]:
    made = node.run(lambda: PodNetwork("10.42.0.0/24", run_dir=tmp_path))
    node.run(made.ensure_bridge)
    yield made
    made.close()
    node.run(lambda: PodNetwork.purge(tmp_path))


@pytest.fixture
def greeters() -> Iterator[list[Greeter]]:
    made: list[Greeter] = []
    yield made
    for greeter in made:
        greeter.close()


def serve(greeters: list[Greeter], pod: PodAddress, name: str) -> None:
    greeters.append(in_pod(pod.netns_path, lambda: Greeter(name)))


def test_pods_reach_each_other_and_the_node(node: Node, network: PodNetwork, greeters: list[Greeter]) -> None:
    """Pods reach pods and the node, and the node reaches pods, all by their own addresses."""
    first, second = node.run(lambda: (network.setup("first"), network.setup("second")))
    serve(greeters, first, "first")
    greeters.append(node.run(lambda: Greeter("node", port=9000)))
    assert in_pod(second.netns_path, lambda: greet(first.ip, 8080)) == f"first {second.ip}"
    assert in_pod(second.netns_path, lambda: greet(network.gateway, 9000)) == f"node {second.ip}"
    assert node.run(lambda: greet(first.ip, 8080)) == f"first {network.gateway}"
    assert in_pod(first.netns_path, lambda: greet("127.0.0.1", 8080)) == "first 127.0.0.1"


def test_setup_is_idempotent(node: Node, network: PodNetwork) -> None:
    """Setting a pod up again gives the same address and namespace; teardown can be repeated."""
    first = node.run(lambda: network.setup("pod"))
    assert node.run(lambda: network.setup("pod")) == first
    node.run(lambda: network.teardown("pod"))
    node.run(lambda: network.teardown("pod"))
    assert not first.netns_path.exists()
    assert network.existing() == {}


def test_restarted_agent_finds_its_pods(
    node: Node, network: PodNetwork, tmp_path: Path, greeters: list[Greeter]
) -> None:
    """A new PodNetwork knows the pods of the one before, keeps their addresses theirs and disturbs no traffic."""
    pod = node.run(lambda: network.setup("pod"))
    serve(greeters, pod, "pod")
    with node.run(lambda: socket.create_connection((pod.ip, 8080), timeout=2)) as open_connection:
        open_connection.recv(100)
        again = node.run(lambda: PodNetwork("10.42.0.0/24", run_dir=tmp_path))
        node.run(again.ensure_bridge)
        assert again.existing() == {"pod": pod}
        assert node.run(lambda: again.setup("pod")) == pod
        assert node.run(lambda: again.setup("other")).ip != pod.ip
        open_connection.sendall(b"still there")
        assert open_connection.recv(100) == b"still there"
    again.close()


def test_half_made_pod_is_made_whole(node: Node, network: PodNetwork) -> None:
    """A pod whose namespace has vanished (a crash, a reboot) is made again, with the address it had."""
    pod = node.run(lambda: network.setup("pod"))
    node.command(f"umount {pod.netns_path}")
    assert network.existing() == {}
    assert network.leftovers() == {"pod"}
    assert node.run(lambda: network.setup("pod")) == pod
    assert network.existing() == {"pod": pod}


def test_addresses_return(node: Node, tmp_path: Path) -> None:
    """Addresses run out with a clear error, come back on teardown, and a freed one waits while others are free."""
    network = node.run(lambda: PodNetwork("10.42.7.0/29", run_dir=tmp_path))
    node.run(network.ensure_bridge)
    pods = [node.run(lambda name=name: network.setup(name)) for name in "abc"]  # type: ignore[misc]
    assert [pod.ip for pod in pods] == ["10.42.7.2", "10.42.7.3", "10.42.7.4"]
    node.run(lambda: network.teardown("a"))
    assert node.run(lambda: network.setup("d")).ip == "10.42.7.5"
    node.run(lambda: network.setup("e"))
    assert node.run(lambda: network.setup("f")).ip == "10.42.7.2"
    with pytest.raises(AddressesExhaustedError, match=r"10\.42\.7\.0/29"):
        node.run(lambda: network.setup("g"))
    network.close()
    node.run(lambda: PodNetwork.purge(tmp_path))


def test_host_ports(node: Node, network: PodNetwork, greeters: list[Greeter]) -> None:
    """A host port leads to the pod from the node's addresses, from 127.0.0.1, from pods and from the pod itself."""
    node.command("ip link add up0 type veth peer name up1", "ip addr add 192.0.2.1/24 dev up0", "ip link set up0 up")
    pod, other = node.run(lambda: (network.setup("pod", host_ports=[HostPort(8000, 8080)]), network.setup("other")))
    serve(greeters, pod, "pod")
    assert node.run(lambda: greet("127.0.0.1", 8000)) == f"pod {network.gateway}"
    assert node.run(lambda: greet("192.0.2.1", 8000)).startswith("pod ")
    assert in_pod(other.netns_path, lambda: greet("192.0.2.1", 8000)) == f"pod {other.ip}"
    assert in_pod(pod.netns_path, lambda: greet("192.0.2.1", 8000)) == f"pod {network.gateway}"
    node.run(lambda: network.teardown("pod"))
    with pytest.raises(ConnectionRefusedError):
        node.run(lambda: greet("127.0.0.1", 8000))


def test_host_port_of_one_address(node: Node, network: PodNetwork, greeters: list[Greeter]) -> None:
    """A host port with a hostIP answers on that address only."""
    pod = node.run(lambda: network.setup("pod", host_ports=[HostPort(8000, 8080, host_ip="127.0.0.1")]))
    serve(greeters, pod, "pod")
    assert node.run(lambda: greet("127.0.0.1", 8000)).startswith("pod ")
    with pytest.raises(ConnectionRefusedError):
        node.run(lambda: greet(network.gateway, 8000))


def test_taken_host_port_is_an_error(node: Node, network: PodNetwork) -> None:
    """A host port that another pod has is refused, and the refused pod holds nothing."""
    node.run(lambda: network.setup("one", host_ports=[HostPort(8000, 80)]))
    with pytest.raises(PodNetworkError):
        node.run(lambda: network.setup("two", host_ports=[HostPort(8000, 81)]))
    assert network.leftovers() == {"one"}


def test_outside_sees_the_node(node: Node, network: PodNetwork, greeters: list[Greeter]) -> None:
    """What leaves the cluster carries the node's address, and answers find their way back to the pod."""
    pod = node.run(lambda: network.setup("pod"))
    outside = node.run(lambda: network.setup("outside"))
    node.command(
        "ip link add up0 type veth peer name up1",
        "ip addr add 198.51.100.1/24 dev up0",
        "ip link set up0 up",
        f"ip link set up1 netns {outside.netns_path}",
        f"nsenter --net={outside.netns_path} ip addr add 198.51.100.2/24 dev up1",
        f"nsenter --net={outside.netns_path} ip link set up1 up",
        f"nsenter --net={outside.netns_path} ip route del default",
    )
    serve(greeters, outside, "outside")
    assert in_pod(pod.netns_path, lambda: greet("198.51.100.2", 8080)) == "outside 198.51.100.1"


def test_loopback_services_stay_closed(node: Node, network: PodNetwork, greeters: list[Greeter]) -> None:
    """A pod that sends packets for 127.0.0.1 to the node does not reach the node's loopback services."""
    pod = node.run(lambda: network.setup("pod"))
    greeters.append(node.run(lambda: Greeter("private", address="127.0.0.1", port=9000)))
    node.command(
        f"nsenter --net={pod.netns_path} sh -c 'ip addr del 127.0.0.1/8 dev lo; "
        f"ip route add 127.0.0.1/32 via {network.gateway} dev eth0 onlink; "
        "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet'"
    )
    with pytest.raises(TimeoutError):
        in_pod(pod.netns_path, lambda: greet("127.0.0.1", 9000, timeout_s=0.5))


def test_unused_address_is_unreachable(node: Node, network: PodNetwork) -> None:
    """An address of the pod network that nobody has fails at once."""
    pod = node.run(lambda: network.setup("pod"))
    with pytest.raises(OSError, match="No route to host"):
        in_pod(pod.netns_path, lambda: greet("10.42.0.200", 80))


@pytest.mark.parametrize("tool", ["iptables-nft", "iptables-legacy"])
def test_foreign_firewall(node: Node, tmp_path: Path, greeters: list[Greeter], tool: str) -> None:
    """Pods reach each other and the node's DNS although a firewall drops what it does not know; a purge undoes it."""
    rules = (f"{tool} -P FORWARD DROP", f"{tool} -P INPUT DROP", f"{tool} -A INPUT -i lo -j ACCEPT")
    try:
        node.command(*rules)
    except Exception:
        pytest.skip(f"{tool} does not work on this kernel")
    before = node.command(f"{tool} -S")
    network = node.run(lambda: PodNetwork("10.42.0.0/24", run_dir=tmp_path))
    node.run(network.ensure_bridge)
    node.run(network.ensure_bridge)
    assert node.command(f"{tool} -S").count("flt+") == 5
    first, second = node.run(lambda: (network.setup("first"), network.setup("second")))
    serve(greeters, first, "first")
    greeters.append(node.run(lambda: Greeter("dns", address="10.43.0.10", port=53)))
    assert in_pod(second.netns_path, lambda: greet(first.ip, 8080)) == f"first {second.ip}"
    assert in_pod(second.netns_path, lambda: greet("10.43.0.10", 53)).startswith("dns")
    network.close()
    node.run(lambda: PodNetwork.purge(tmp_path))
    assert node.command(f"{tool} -S") == before


def test_foreign_nft_table(node: Node, tmp_path: Path, greeters: list[Greeter]) -> None:
    """A firewall written in nft that drops by policy lets pods through too, and gets its rules back as they were."""
    node.command(
        "nft add table inet firewall",
        "nft 'add chain inet firewall forward { type filter hook forward priority 0; policy drop; }'",
        "nft add rule inet firewall forward ct state invalid drop",
    )
    before = node.command("nft list table inet firewall")
    network = node.run(lambda: PodNetwork("10.42.0.0/24", run_dir=tmp_path))
    node.run(network.ensure_bridge)
    node.run(network.ensure_bridge)
    assert node.command("nft list table inet firewall").count("flt*") == 2
    first, second = node.run(lambda: (network.setup("first"), network.setup("second")))
    serve(greeters, first, "first")
    assert in_pod(second.netns_path, lambda: greet(first.ip, 8080)) == f"first {second.ip}"
    network.close()
    node.run(lambda: PodNetwork.purge(tmp_path))
    assert node.command("nft list table inet firewall") == before


def test_docker_chain_is_used(node: Node, tmp_path: Path) -> None:
    """Where Docker has made its chain for users, the rules go there, which survives Docker's restarts."""
    try:
        node.command(
            "iptables-nft -N DOCKER-USER",
            "iptables-nft -A DOCKER-USER -j RETURN",
            "iptables-nft -A FORWARD -j DOCKER-USER",
            "iptables-nft -P FORWARD DROP",
        )
    except Exception:
        pytest.skip("iptables-nft does not work on this kernel")
    network = node.run(lambda: PodNetwork("10.42.0.0/24", run_dir=tmp_path))
    node.run(network.ensure_bridge)
    shown = node.command("iptables-nft -S")
    assert "-A DOCKER-USER -i flt+" in shown
    assert shown.index("-A DOCKER-USER -i flt+") < shown.index("-A DOCKER-USER -j RETURN")
    assert "-A FORWARD -i flt+" not in shown
    network.close()
    node.run(lambda: PodNetwork.purge(tmp_path))
    assert "flt+" not in node.command("iptables-nft -S")


def test_purge_leaves_nothing(node: Node, tmp_path: Path) -> None:
    """After a purge the links, routes, tables, mounts and settings are what they were before."""

    def state() -> str:
        shown = node.command(
            "ip -o link", "ip -o addr", "ip route", "nft list ruleset", "cat /proc/sys/net/ipv4/ip_forward"
        )
        return shown + "".join(
            line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(tmp_path) in line
        )

    before = state()
    network = node.run(lambda: PodNetwork("10.42.0.0/24", run_dir=tmp_path))
    node.run(network.ensure_bridge)
    node.run(lambda: [network.setup(name, host_ports=[HostPort(8000 + n, 80)]) for n, name in enumerate("abc")])
    network.close()
    assert state() != before
    node.run(lambda: PodNetwork.purge(tmp_path))
    node.run(lambda: PodNetwork.purge(tmp_path))
    assert state() == before
    assert list((tmp_path / "netns").iterdir()) == []


def test_fifty_pods_at_once(node: Node, network: PodNetwork) -> None:
    """Fifty pods set up concurrently all work, each in a few milliseconds."""

    def burst() -> tuple[float, list[PodAddress]]:
        with ThreadPoolExecutor(16) as threads:
            started_s = time.perf_counter()
            pods = list(threads.map(lambda number: network.setup(f"pod-{number}"), range(50)))
            return time.perf_counter() - started_s, pods

    took_s, pods = node.run(burst)
    assert len({pod.ip for pod in pods}) == 50
    assert took_s / 50 < 0.02
    assert node.command("ip -o link").count(pod_link_name("pod-7")) == 1
