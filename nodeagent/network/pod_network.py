"""Network namespaces, links and addresses of the pods on one node.

The node has one device of ours, a bridge without ports (``flt0``): it carries the pods' gateway address and the
cluster's DNS address, which so stay while the agent is away, and swallows what goes to services that do not exist.

Each pod has a veth pair: in the pod ``eth0`` with a /32 and a default route, on the node a link ``flt<hash>`` and a
route. Neighbours are fixed entries, so the first packet waits for no ARP.
"""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import json
import logging
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flotilla.api.objects import KubeObject
from nodeagent.isolation.ranges import PodUsers, RangesExhaustedError
from nodeagent.network import links
from nodeagent.network.foreign_firewall import admit_pods, withdraw
from nodeagent.network.namespaces import create_namespace, create_owned_namespace, is_pinned, unpin
from nodeagent.network.netlink import Message, Netlink, NetlinkError
from nodeagent.network.nftables import Nftables, NftablesError, delete_table
from nodeagent.network.pod_rules import PodRules
from nodeagent.network.records import AddressesExhaustedError, HostPort, PodRecord, PodRecords, read_records
from nodeagent.network.sysctls import apply_sysctls, restore_sysctls

__all__ = [
    "AddressesExhaustedError",
    "HostPort",
    "PodAddress",
    "PodNetwork",
    "PodNetworkError",
    "host_ports_of",
    "pod_link_name",
]

logger = logging.getLogger(__name__)

_POD_LINK = "eth0"
_LOOPBACK_INDEX = 1
_DEFAULT_MTU = 1500
_HASH_LENGTH = 10
_SYSCTLS = {"net/ipv4/ip_forward": "1"}


class PodNetworkError(Exception):
    """The kernel refused a part of a pod's network; trying again may succeed."""


@dataclass(frozen=True, slots=True)
class PodAddress:
    """A pod's IPv4 address, the pinned network namespace that has it, and the users whose it is, if not the node's."""

    ip: str
    netns_path: Path
    users: PodUsers | None = None


def host_ports_of(pod: KubeObject) -> tuple[HostPort, ...]:
    """The host ports that a pod's containers ask for."""
    spec = pod["spec"]
    containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
    return tuple(
        HostPort(port["hostPort"], port["containerPort"], port.get("protocol") or "TCP", port.get("hostIP") or "")
        for container in containers
        for port in container.get("ports") or ()
        if port.get("hostPort")
    )


def pod_link_name(pod_uid: str, *, device: str = "flt0") -> str:
    """The name of the node's end of a pod's link."""
    return device.rstrip("0123456789") + hashlib.sha256(pod_uid.encode()).hexdigest()[:_HASH_LENGTH]


class PodNetwork:
    """The pods' networking on this node. Methods block for milliseconds; any thread may call them."""

    def __init__(
        self,
        pod_cidr: str,
        *,
        run_dir: Path,
        cluster_cidr: str = "10.42.0.0/16",
        service_cidr: str = "10.43.0.0/16",
        dns_address: str = "10.43.0.10",
        device: str = "flt0",
        table: str = "flotilla-pods",
        mtu: int | None = None,
    ) -> None:
        self._cidr = ipaddress.IPv4Network(pod_cidr)
        self._service_cidr = ipaddress.IPv4Network(service_cidr)
        self._dns_address = ipaddress.IPv4Address(dns_address)
        self._device = device
        self._prefix = device.rstrip("0123456789")
        self._mtu = mtu
        self._run_dir = run_dir
        self._pins = run_dir / "netns"
        self._user_pins = run_dir / "userns"
        for directory in (self._pins, self._user_pins):
            directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._records = PodRecords(run_dir / "network" / "pods", self._cidr)
        self._rules = PodRules(
            table=table, cluster_cidr=cluster_cidr, gateway=str(self._cidr[1]), links=f"{self._prefix}*"
        )
        self._nftables = Nftables()
        self._netlink = Netlink()
        self._guard = threading.Lock()
        # Rules and records change together: the whole table is made of the records of complete pods.
        self._rules_guard = threading.Lock()

    @property
    def gateway(self) -> str:
        """The address by which pods see this node."""
        return str(self._cidr[1])

    def ensure_bridge(self) -> None:
        """Everything that the node itself needs: device, addresses, routes, settings, rules. Idempotent.

        Safe to repeat at any time; it also admits pods through a firewall that has come up since.
        Raises :class:`PodNetworkError`.
        """
        try:
            with self._guard:
                known = links.link_names(self._netlink)
                if self._mtu is None:
                    self._mtu = _uplink_mtu(self._netlink, known)
                if self._device not in known:
                    self._netlink.request([links.add_bridge(self._device)], tolerate=[errno.EEXIST])
                self._netlink.request(self._node_messages(socket.if_nametoindex(self._device)))
            self._remember(apply_sysctls(_SYSCTLS))
            with self._rules_guard:
                complete = [record for record in self._records.all().values() if record.ready]
                self._nftables.run(self._rules.script(complete))
            admit_pods(self._nftables, links=self._rules.links, dns_address=str(self._dns_address))
        except (OSError, NftablesError) as error:
            raise PodNetworkError(f"node network: {error}") from error

    def setup(self, pod_uid: str, *, host_ports: Sequence[HostPort] = (), own_users: bool = False) -> PodAddress:
        """The pod's namespace, wired and addressed; the same answer when called again.

        With ``own_users`` it belongs to a user namespace of the pod's own. Raises :class:`PodNetworkError`,
        :class:`AddressesExhaustedError`.
        """
        pin = self._pins / pod_uid
        known = self._records.get(pod_uid)
        if known and self._is_complete(known) and bool(known.first_id) == own_users:
            return self._address(known)
        if known:
            self._unwire(known)
        try:
            record = self._records.allocate(pod_uid, host_ports, own_users=own_users)
        except RangesExhaustedError as error:
            raise PodNetworkError(str(error)) from error
        try:
            self._wire(record, pin)
            with self._rules_guard:
                if record.host_ports:
                    self._nftables.run(self._rules.host_ports(record, verb="add"))
                self._records.complete(record)
        except (OSError, NftablesError) as error:
            self.teardown(pod_uid)
            raise PodNetworkError(f"network of pod {pod_uid}: {error}") from error
        return self._address(record)

    def teardown(self, pod_uid: str) -> None:
        """Give the pod's address and namespace back; idempotent, also for half-made pods."""
        record = self._records.get(pod_uid)
        if record is None:
            self._unpin(pod_uid)
            return
        self._unwire(record)
        self._records.release(pod_uid)

    def existing(self) -> dict[str, PodAddress]:
        """Every pod whose network is complete, by its uid."""
        records = self._records.all()
        return {uid: self._address(record) for uid, record in records.items() if self._is_complete(record)}

    def leftovers(self) -> set[str]:
        """Uids that hold something here, complete or not; what no pod claims is for :meth:`teardown`."""
        pins = [*self._pins.iterdir(), *self._user_pins.iterdir()]
        return set(self._records.all()) | {pin.name for pin in pins}

    def close(self) -> None:
        self._netlink.close()
        self._nftables.close()

    @staticmethod
    def purge(run_dir: Path) -> None:
        """Remove all that a PodNetwork with this run directory has made on the machine; no agent may run."""
        for pin in (*(run_dir / "netns").glob("*"), *(run_dir / "userns").glob("*")):
            unpin(pin)
        nftables = Nftables()
        try:
            notes = _read_notes(run_dir)
            device = notes.get("device", "flt0")
            prefix = device.rstrip("0123456789")
            with Netlink() as netlink:
                routes = links.own_routes(netlink)
                netlink.request([links.delete_route(route) for route in routes], tolerate=[errno.ESRCH])
                names = [name for name in links.link_names(netlink) if name == device or _is_pod_link(name, prefix)]
                netlink.request([links.delete_link(name) for name in names], tolerate=[errno.ENODEV])
            nftables.run(delete_table("ip", notes.get("table", "flotilla-pods")))
            withdraw(nftables)
            restore_sysctls(notes.get("sysctls", {}))
        finally:
            nftables.close()
        for record in read_records(run_dir / "network" / "pods"):
            (run_dir / "network" / "pods" / f"{record.uid}.json").unlink(missing_ok=True)
        (run_dir / "network" / "node.json").unlink(missing_ok=True)

    def _node_messages(self, index: int) -> list[Message]:
        gateway = self._cidr[1]
        return [
            links.set_up(index),
            links.add_address(index, gateway),
            links.add_address(index, self._dns_address),
            links.add_route(self._service_cidr, index, source=gateway),
            links.add_unreachable(self._cidr),
        ]

    def _is_complete(self, record: PodRecord) -> bool:
        pinned = is_pinned(self._pins / record.uid)
        return record.ready and pinned and (not record.first_id or is_pinned(self._user_pins / record.uid))

    def _address(self, record: PodRecord) -> PodAddress:
        return PodAddress(record.ip, self._pins / record.uid, self._users(record))

    def _users(self, record: PodRecord) -> PodUsers | None:
        return PodUsers(record.first_id, str(self._user_pins / record.uid)) if record.first_id else None

    def _unpin(self, pod_uid: str) -> None:
        for directory in (self._pins, self._user_pins):
            unpin(directory / pod_uid)

    def _wire(self, record: PodRecord, pin: Path) -> None:
        self._unpin(record.uid)
        users = self._users(record)
        address = ipaddress.IPv4Address(record.ip)
        name = pod_link_name(record.uid, device=self._device)
        pod_mac, node_mac = b"\x0a\x58" + address.packed, b"\x0a\x59" + address.packed
        made = create_owned_namespace(pin, users) if users else create_namespace(pin)
        with made as inside, pin.open("rb") as namespace:
            veth = links.add_veth(
                name,
                mac=node_mac,
                peer=_POD_LINK,
                peer_mac=pod_mac,
                namespace=namespace.fileno(),
                mtu=self._mtu or _DEFAULT_MTU,
            )
            with self._guard:
                self._add_link(name, veth)
                index = socket.if_nametoindex(name)
                self._netlink.request(self._node_end(index, address, pod_mac), tolerate=[errno.EAFNOSUPPORT])
            inner = links.link_names(inside)[_POD_LINK][0]
            inside.request(self._pod_end(inner, address, node_mac), tolerate=[errno.EAFNOSUPPORT])

    def _add_link(self, name: str, veth: Message) -> None:
        try:
            self._netlink.request([veth])
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise
            # The pod's former link: its namespace is gone, but the kernel has not come round to the link yet.
            self._netlink.request([links.delete_link(name)], tolerate=[errno.ENODEV])
            self._netlink.request([veth])

    def _node_end(self, index: int, address: links.Address, pod_mac: bytes) -> list[Message]:
        settings = {links.RP_FILTER: 1, links.SEND_REDIRECTS: 0, links.ROUTE_LOCALNET: 1}
        return [
            links.configure_ipv4(index, settings),
            links.without_ipv6_address(index),
            links.set_up(index),
            links.add_neighbour(index, address, pod_mac),
            links.add_route(ipaddress.IPv4Network(address), index, source=self._cidr[1]),
        ]

    def _pod_end(self, index: int, address: links.Address, node_mac: bytes) -> list[Message]:
        gateway = self._cidr[1]
        return [
            links.set_up(_LOOPBACK_INDEX),
            links.without_ipv6_address(index),
            links.set_up(index),
            links.add_address(index, address),
            links.add_neighbour(index, gateway, node_mac),
            links.add_default_route(index, gateway),
        ]

    def _unwire(self, record: PodRecord) -> None:
        """Undo :meth:`_wire`. The kernel deletes the links with the namespace, many at a time, in the background."""
        if record.host_ports:
            self._close_ports(record)
        with self._guard:
            route = links.delete_route(ipaddress.IPv4Network(record.ip))
            self._netlink.request([route], tolerate=[errno.ESRCH])
        self._unpin(record.uid)

    def _close_ports(self, record: PodRecord) -> None:
        with self._rules_guard:
            self._records.incomplete(record)
            try:
                self._nftables.run(self._rules.host_ports(record, verb="delete"))
            except NftablesError as error:
                if not error.missing:
                    raise PodNetworkError(f"host ports of pod {record.uid}: {error}") from error

    def _remember(self, changed: dict[str, str]) -> None:
        """Note what a purge has to undo; the first value seen is the one to go back to."""
        notes = _read_notes(self._run_dir)
        notes = {"device": self._device, "table": self._rules.table, "sysctls": changed | notes.get("sysctls", {})}
        staged = self._run_dir / "network" / "node.new"
        staged.write_text(json.dumps(notes))
        staged.rename(staged.with_suffix(".json"))


def _read_notes(run_dir: Path) -> dict[str, Any]:
    try:
        notes: dict[str, Any] = json.loads((run_dir / "network" / "node.json").read_bytes())
    except FileNotFoundError:
        return {}
    return notes


def _is_pod_link(name: str, prefix: str) -> bool:
    suffix = name.removeprefix(prefix)
    return suffix != name and len(suffix) == _HASH_LENGTH and set(suffix) <= set("0123456789abcdef")


def _uplink_mtu(netlink: Netlink, known: dict[str, tuple[int, int]]) -> int:
    """The MTU of the link that the node reaches the outside by."""
    uplink = links.default_route_link(netlink)
    return next((mtu for index, mtu in known.values() if index == uplink), _DEFAULT_MTU)
