"""Forgetting UDP flows to endpoints that are gone (ctnetlink).

A UDP client keeps its port, so conntrack would send it to the dead endpoint for as long as it keeps trying. TCP
connections are left alone: they end by themselves, and removed endpoints finish what they have.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Collection

from nodeagent.network.netlink import NETLINK_NETFILTER, Message, Netlink, NetlinkError, attribute, attributes
from nodeagent.network.service_plan import Endpoint

_CONNTRACK_GET, _CONNTRACK_DELETE, _TABLE_GET = 1 << 8 | 1, 1 << 8 | 2, 10 << 8 | 1
_HEADER = struct.pack("=BBH", socket.AF_INET, 0, 0)
_ORIGINAL, _REPLY, _ZONE = 1, 2, 18
_IP, _PROTOCOL, _SOURCE, _NUMBER, _SOURCE_PORT = 1, 2, 1, 1, 2
_TABLE_NAME = 1


def forget_udp_flows(endpoints: Collection[Endpoint]) -> int:
    """Delete the conntrack entries of UDP flows that are answered by ``endpoints``; returns how many."""
    with Netlink(NETLINK_NETFILTER) as netlink:
        doomed = []
        for _, body in netlink.dump(Message(_CONNTRACK_GET, 0, _HEADER)):
            values = dict(attributes(body[len(_HEADER) :]))
            if _udp_source(values.get(_REPLY, b"")) in endpoints:
                zone = attribute(_ZONE, values[_ZONE]) if _ZONE in values else b""
                original = attribute(_ORIGINAL | 0x8000, values[_ORIGINAL])
                doomed.append(Message(_CONNTRACK_DELETE, 0, _HEADER + original + zone))
        for message in doomed:
            netlink.request([message], tolerate=[errno.ENOENT])
        return len(doomed)


def table_exists(name: str) -> bool:
    """Whether the nftables table ``ip <name>`` exists, asked without loading the ruleset."""
    with Netlink(NETLINK_NETFILTER) as netlink:
        try:
            netlink.request([Message(_TABLE_GET, 0, _HEADER + attribute(_TABLE_NAME, name.encode() + b"\0"))])
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True


def _udp_source(reply: bytes) -> Endpoint | None:
    tuple_parts = dict(attributes(reply))
    address = dict(attributes(tuple_parts.get(_IP, b""))).get(_SOURCE)
    protocol = dict(attributes(tuple_parts.get(_PROTOCOL, b"")))
    if address is None or protocol.get(_NUMBER) != bytes((socket.IPPROTO_UDP,)) or _SOURCE_PORT not in protocol:
        return None
    return Endpoint(str(ipaddress.IPv4Address(address)), struct.unpack("!H", protocol[_SOURCE_PORT])[0])
