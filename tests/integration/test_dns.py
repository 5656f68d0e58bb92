"""The DNS process as it is started, asked over real sockets."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dnslib import QTYPE, RCODE, RR, SOA, A, DNSRecord

from nodeagent.dns.zone import write_zone
from nodeagent.network.pod_network import PodNetwork
from tests.integration.network_lab import Node, in_pod, new_node

DEADLINE_S = 5.0
PROCESS = """
import sys
from pathlib import Path
from nodeagent.dns.server import run
from nodeagent.dns.settings import DnsSettings
run(DnsSettings(run_dir=Path(sys.argv[1]), listen=sys.argv[2], resolv_conf=Path(sys.argv[3])))
"""


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


WEB = service("web", clusterIP="10.43.0.5", ports=[{"name": "http", "port": 80}])
WEB_NAME = "web.default.svc.cluster.local"


def ask(
    address: tuple[str, int], name: str, kind: str = "A", *, tcp: bool = False, timeout_s: float = DEADLINE_S
) -> DNSRecord:
    """The answer to one question. Raises OSError."""
    query = DNSRecord.question(name, kind)
    answer = DNSRecord.parse(query.send(*address, tcp=tcp, timeout=timeout_s))
    assert answer.header.id == query.header.id
    return answer


def texts(answer: DNSRecord) -> list[str]:
    return [str(record.rdata) for record in answer.rr]


def eventually(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, "not in time"
        time.sleep(0.01)


class Upstream:
    """A resolver that knows example.com, on UDP and TCP port 53 of a loopback address."""

    def __init__(self, address: str) -> None:
        self.questions: list[str] = []
        self.big = False
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((address, 53))
        self._tcp = socket.create_server((address, 53))
        self._threads = [threading.Thread(target=self._serve_udp), threading.Thread(target=self._serve_tcp)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        for each in (self._udp, self._tcp):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()
        for thread in self._threads:
            thread.join()

    def _answer(self, data: bytes, *, tcp: bool) -> bytes:
        query = DNSRecord.parse(data)
        self.questions.append(str(query.q.qname))
        reply = query.reply()
        if str(query.q.qname) == "example.com." and query.q.qtype == QTYPE.A:
            reply.header.tc = self.big and not tcp
            count = 1 if not self.big else 0 if reply.header.tc else 60
            numbers = range(1, count + 1)
            reply.add_answer(*(RR("example.com", QTYPE.A, rdata=A(f"192.0.2.{n}"), ttl=60) for n in numbers))
        else:
            reply.header.rcode = RCODE.NXDOMAIN
            reply.add_auth(RR("com", QTYPE.SOA, rdata=SOA("a.", "b.", (1, 2, 3, 4, 30)), ttl=60))
        return bytes(reply.pack())

    def _serve_udp(self) -> None:
        while True:
            try:
                data, client = self._udp.recvfrom(4096)
                if not client:
                    return
                self._udp.sendto(self._answer(data, tcp=False), client)
            except (OSError, TypeError):
                return

    def _serve_tcp(self) -> None:
        while True:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                return
            with connection:
                length = int.from_bytes(connection.recv(2))
                answer = self._answer(connection.recv(length), tcp=True)
                connection.sendall(len(answer).to_bytes(2) + answer)


class Server:
    """The process, in the network namespace of whoever starts it.

    Without ``host`` it gets a loopback address that nobody else uses, so that its port is free for TCP as for UDP.
    """

    def __init__(self, run_dir: Path, *, host: str = "", resolvers: str = "") -> None:
        port = 53
        if not host:
            host = f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.{random.randint(1, 254)}"
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind((host, 0))
                port = probe.getsockname()[1]
        self.address = (host, port)
        resolv_conf = run_dir / "resolv.conf"
        resolv_conf.write_text(resolvers)
        arguments = [str(run_dir), f"{host}:{port}", str(resolv_conf)]
        self.process = subprocess.Popen([sys.executable, "-c", PROCESS, *arguments])

    def wait_for(self, name: str) -> None:
        """Until the process answers ``name`` with an address."""
        eventually(lambda: self._answers(name))

    def _answers(self, name: str) -> bool:
        try:
            return bool(ask(self.address, name, timeout_s=0.1).rr)
        except OSError:
            return False

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(DEADLINE_S)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    write_zone(tmp_path / "dns" / "zone.json", [WEB], [], domain="cluster.local")
    started = Server(tmp_path)
    try:
        started.wait_for(WEB_NAME)
        yield started
    finally:
        started.stop()


@pytest.fixture
def node() -> Iterator[Node]:
    with new_node() as made:
        yield made


@pytest.fixture
def forwarding(node: Node, tmp_path: Path) -> Iterator[tuple[Server, Upstream]]:
    """A server on 10.43.0.10 of a node of its own, whose resolver is an upstream on 127.0.0.2."""
    node.command("ip addr add 10.43.0.10/32 dev lo")
    services = [WEB, service("ext", type="ExternalName", externalName="example.com")]
    write_zone(tmp_path / "dns" / "zone.json", services, [], domain="cluster.local")
    upstream = node.run(lambda: Upstream("127.0.0.2"))
    resolvers = "search example\nnameserver 10.43.0.10\nnameserver 127.0.0.2\n"
    started = node.run(lambda: Server(tmp_path, host="10.43.0.10", resolvers=resolvers))
    try:
        node.run(lambda: started.wait_for(WEB_NAME))
        yield started, upstream
    finally:
        started.stop()
        upstream.close()


def test_names_over_udp_and_tcp(server: Server) -> None:
    """A service's name is answered on both transports, authoritatively, and in whatever case it is asked."""
    for tcp in (False, True):
        answer = ask(server.address, "WEB.default.svc.cluster.local", tcp=tcp)
        assert (texts(answer), answer.header.aa) == (["10.43.0.5"], 1)


def test_absence_is_proved(server: Server) -> None:
    """An unknown name is NXDOMAIN and a missing type is empty, both with the SOA that lets clients remember it."""
    for name, kind, code in (("no.default.svc.cluster.local", "A", RCODE.NXDOMAIN), (WEB_NAME, "AAAA", RCODE.NOERROR)):
        answer = ask(server.address, name, kind)
        assert (answer.header.rcode, answer.rr) == (code, [])
        assert [record.rtype for record in answer.auth] == [QTYPE.SOA]


def test_reload(server: Server, tmp_path: Path) -> None:
    """A changed zone file is answered from within moments, a broken one changes nothing."""
    zone = tmp_path / "dns" / "zone.json"
    moved = service("web", clusterIP="10.43.0.6", ports=[{"port": 80}])
    write_zone(zone, [moved], [], domain="cluster.local")
    eventually(lambda: texts(ask(server.address, WEB_NAME)) == ["10.43.0.6"])
    zone.write_text("{ broken")
    write_zone(tmp_path / "dns" / "other.json", [], [], domain="cluster.local")
    assert texts(ask(server.address, WEB_NAME)) == ["10.43.0.6"]
    write_zone(zone, [moved, service("new", clusterIP="10.43.0.7")], [], domain="cluster.local")
    eventually(lambda: texts(ask(server.address, "new.default.svc.cluster.local")) == ["10.43.0.7"])


def test_long_answers_are_truncated_over_udp(server: Server, tmp_path: Path) -> None:
    """An answer that does not fit is marked truncated over UDP and whole over TCP."""
    endpoints = [{"addresses": [f"10.42.0.{number}"]} for number in range(2, 102)]
    many = {
        "metadata": {"name": "db", "namespace": "default", "labels": {"kubernetes.io/service-name": "db"}},
        "endpoints": endpoints,
    }
    write_zone(tmp_path / "dns" / "zone.json", [service("db", clusterIP="None")], [many], domain="cluster.local")
    eventually(lambda: len(ask(server.address, "db.default.svc.cluster.local", tcp=True).rr) == 100)
    short = ask(server.address, "db.default.svc.cluster.local")
    assert (short.header.tc, short.rr) == (1, [])


@pytest.mark.parametrize(
    "message", [b"", b"x", bytes(11), bytes(12), b"\0\1\1\0\0\1\0\0\0\0\0\0\xff\xff\xff", os.urandom(200)]
)
def test_garbage_does_no_harm(server: Server, message: bytes) -> None:
    """Bytes that are no question are passed over, and the next question is answered."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(message, server.address)
    with socket.create_connection(server.address) as connection:
        connection.sendall(len(message).to_bytes(2) + message)
    assert texts(ask(server.address, WEB_NAME)) == ["10.43.0.5"]


def test_unsupported_operations_are_told(server: Server) -> None:
    """An operation other than a query is answered as not implemented."""
    query = DNSRecord.question(WEB_NAME)
    query.header.opcode = 5
    answer = DNSRecord.parse(query.send(*server.address, timeout=DEADLINE_S))
    assert answer.header.rcode == RCODE.NOTIMP


def test_speed_and_size(server: Server) -> None:
    """Thousands of questions a second are answered within 30 MiB."""
    query = DNSRecord.question(WEB_NAME).pack()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(server.address)
        client.settimeout(DEADLINE_S)
        started_s = time.perf_counter()
        for _ in range(100):
            for _ in range(50):
                client.send(query)
            for _ in range(50):
                client.recv(4096)
        assert 5000 / (time.perf_counter() - started_s) > 2000
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    resident_kib = int(status.partition("VmRSS:")[2].split()[0])
    assert resident_kib < 30 * 1024


def test_stops_when_told(server: Server) -> None:
    """SIGTERM ends the process at once and cleanly."""
    assert server.stop() == 0


@pytest.mark.root
def test_forwarding(node: Node, forwarding: tuple[Server, Upstream]) -> None:
    """Other names go to the host's resolvers, leaving out the server itself, and answers are remembered."""
    server, upstream = forwarding
    assert texts(node.run(lambda: ask(server.address, "example.com"))) == ["192.0.2.1"]
    assert texts(node.run(lambda: ask(server.address, "example.com"))) == ["192.0.2.1"]
    assert node.run(lambda: ask(server.address, "none.com")).header.rcode == RCODE.NXDOMAIN
    assert node.run(lambda: ask(server.address, "none.com")).header.rcode == RCODE.NXDOMAIN
    assert upstream.questions == ["example.com.", "none.com."]


@pytest.mark.root
def test_forwarding_over_tcp(node: Node, forwarding: tuple[Server, Upstream]) -> None:
    """A truncated answer stays truncated over UDP, and the whole is had over TCP."""
    server, upstream = forwarding
    upstream.big = True
    assert node.run(lambda: ask(server.address, "example.com")).header.tc == 1
    assert len(node.run(lambda: ask(server.address, "example.com", tcp=True)).rr) == 60


@pytest.mark.root
def test_external_name_is_followed(node: Node, forwarding: tuple[Server, Upstream]) -> None:
    """An ExternalName service's answer holds the alias and what it leads to."""
    server, _ = forwarding
    answer = node.run(lambda: ask(server.address, "ext.default.svc.cluster.local"))
    assert texts(answer) == ["example.com.", "192.0.2.1"]


@pytest.mark.root
def test_without_resolvers(node: Node, forwarding: tuple[Server, Upstream], tmp_path: Path) -> None:
    """Where no resolver can be asked, the answer is a failure at once, and cluster names still work."""
    server, _ = forwarding
    (tmp_path / "resolv.conf").write_text("nameserver 10.43.0.10\n")
    eventually(lambda: node.run(lambda: ask(server.address, f"{time.time()}.com")).header.rcode == RCODE.SERVFAIL)
    assert texts(node.run(lambda: ask(server.address, WEB_NAME))) == ["10.43.0.5"]


@pytest.mark.root
def test_pods_resolve_by_search_domain(node: Node, tmp_path: Path) -> None:
    """busybox in a pod's namespace resolves the short name of a service through the search domains."""
    network = node.run(lambda: PodNetwork("10.42.0.0/24", run_dir=tmp_path))
    node.run(network.ensure_bridge)
    pod = node.run(lambda: network.setup("pod"))
    write_zone(tmp_path / "dns" / "zone.json", [WEB], [], domain="cluster.local")
    server = node.run(lambda: Server(tmp_path, host="10.43.0.10"))
    try:
        in_pod(pod.netns_path, lambda: server.wait_for(WEB_NAME))
        config = tmp_path / "pod-resolv.conf"
        config.write_text(
            "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.43.0.10\noptions ndots:5\n"
        )
        for name in ("web", "web.default", "web.default.svc.cluster.local"):
            resolve = f"import socket; print(socket.gethostbyname('{name}'))"
            script = f'mount --bind {config} /etc/resolv.conf && {sys.executable} -c "{resolve}"'
            command = ["nsenter", f"--net={pod.netns_path}", "unshare", "-m", "sh", "-c", script]
            assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "10.43.0.5"
    finally:
        server.stop()
        network.close()
        node.run(lambda: PodNetwork.purge(tmp_path))
