"""Link, address, route and neighbour requests as netlink messages; numbers are those of the kernel's uapi headers."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Mapping

from nodeagent.network.netlink import (
    CREATE,
    EXCLUSIVE,
    REPLACE,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_GETLINK,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    Message,
    Netlink,
    attribute,
    attributes,
    nested,
)

_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")

_IFF_UP = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_AF_SPEC, _IFLA_NET_NS_FD = 1, 3, 4, 18, 26, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_INET_CONF, _INET6_ADDR_GEN_MODE, _GENERATE_NONE = 1, 8, b"\x01"
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_METRICS, _RTAX_MTU = 1, 4, 5, 7, 8, 2
_TABLE_MAIN, _SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_ANY, _UNICAST, _UNREACHABLE, _ONLINK = 254, 0, 253, 255, 1, 7, 4
_NDA_DST, _NDA_LLADDR, _NUD_PERMANENT = 1, 2, 0x80

# Marks our routes, so that they are known again (ip route show proto 70).
ROUTE_PROTOCOL = 70

# IPV4_DEVCONF_* of linux/ip.h
SEND_REDIRECTS, RP_FILTER, ROUTE_LOCALNET = 6, 8, 26

Address = ipaddress.IPv4Address
Network = ipaddress.IPv4Network


def _name(name: str) -> bytes:
    return attribute(_IFLA_IFNAME, name.encode() + b"\0")


def _integer(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def add_veth(name: str, *, mac: bytes, peer: str, peer_mac: bytes, namespace: int, mtu: int) -> Message:
    """A veth pair, both ends still down: ``name`` here, ``peer`` in the namespace of that descriptor."""
    peer_link = _IFINFO.pack(0, 0, 0, 0, 0) + _name(peer) + _integer(_IFLA_MTU, mtu)
    peer_link += attribute(_IFLA_ADDRESS, peer_mac) + _integer(_IFLA_NET_NS_FD, namespace)
    kind = attribute(_INFO_KIND, b"veth") + nested(_INFO_DATA, attribute(_VETH_PEER, peer_link))
    payload = _IFINFO.pack(0, 0, 0, 0, 0) + _name(name) + _integer(_IFLA_MTU, mtu)
    payload += attribute(_IFLA_ADDRESS, mac) + nested(_IFLA_LINKINFO, kind)
    return Message(RTM_NEWLINK, CREATE | EXCLUSIVE, payload)


def add_bridge(name: str) -> Message:
    payload = _IFINFO.pack(0, 0, 0, _IFF_UP, _IFF_UP) + _name(name)
    return Message(RTM_NEWLINK, CREATE | EXCLUSIVE, payload + nested(_IFLA_LINKINFO, attribute(_INFO_KIND, b"bridge")))


def delete_link(name: str) -> Message:
    return Message(RTM_DELLINK, 0, _IFINFO.pack(0, 0, 0, 0, 0) + _name(name))


def set_up(index: int) -> Message:
    return Message(RTM_NEWLINK, 0, _IFINFO.pack(0, 0, index, _IFF_UP, _IFF_UP))


def configure_ipv4(index: int, settings: Mapping[int, int]) -> Message:
    """Set ``net.ipv4.conf.<link>`` values by their IPV4_DEVCONF number."""
    values = (_integer(number, value) for number, value in settings.items())
    family = nested(socket.AF_INET, nested(_INET_CONF, *values))
    return Message(RTM_NEWLINK, 0, _IFINFO.pack(0, 0, index, 0, 0) + nested(_IFLA_AF_SPEC, family))


def without_ipv6_address(index: int) -> Message:
    """Keep the kernel from giving the link an IPv6 address when it comes up, which would only make traffic.

    A kernel without IPv6 answers EAFNOSUPPORT.
    """
    family = nested(socket.AF_INET6, attribute(_INET6_ADDR_GEN_MODE, _GENERATE_NONE))
    return Message(RTM_NEWLINK, 0, _IFINFO.pack(0, 0, index, 0, 0) + nested(_IFLA_AF_SPEC, family))


def add_address(index: int, address: Address) -> Message:
    payload = _IFADDR.pack(socket.AF_INET, 32, 0, _SCOPE_UNIVERSE, index)
    payload += attribute(_IFA_LOCAL, address.packed) + attribute(_IFA_ADDRESS, address.packed)
    return Message(RTM_NEWADDR, CREATE | REPLACE, payload)


def add_neighbour(index: int, address: Address, mac: bytes) -> Message:
    """A permanent entry: no ARP between the two ends of a veth pair."""
    payload = _NEIGHBOUR.pack(socket.AF_INET, index, _NUD_PERMANENT, 0, 0)
    payload += attribute(_NDA_DST, address.packed) + attribute(_NDA_LLADDR, mac)
    return Message(RTM_NEWNEIGH, CREATE | REPLACE, payload)


def add_route(network: Network, index: int, *, source: Address | None = None) -> Message:
    """``network`` is directly behind the link."""
    payload = _route(network, scope=_SCOPE_LINK, kind=_UNICAST) + _integer(_RTA_OIF, index)
    if source:
        payload += attribute(_RTA_PREFSRC, source.packed)
    return Message(RTM_NEWROUTE, CREATE | REPLACE, payload)


def add_default_route(index: int, gateway: Address) -> Message:
    """Everything goes to ``gateway``, which is behind the link although no network of the link holds it."""
    payload = _ROUTE.pack(socket.AF_INET, 0, 0, 0, _TABLE_MAIN, ROUTE_PROTOCOL, _SCOPE_UNIVERSE, _UNICAST, _ONLINK)
    payload += _integer(_RTA_OIF, index) + attribute(_RTA_GATEWAY, gateway.packed)
    return Message(RTM_NEWROUTE, CREATE | REPLACE, payload)


def add_unreachable(network: Network) -> Message:
    """Refuse what has no more exact route in ``network``."""
    return Message(RTM_NEWROUTE, CREATE | REPLACE, _route(network, scope=_SCOPE_UNIVERSE, kind=_UNREACHABLE))


def delete_route(network: Network) -> Message:
    payload = _ROUTE.pack(
        socket.AF_INET, network.prefixlen, 0, 0, _TABLE_MAIN, ROUTE_PROTOCOL, _SCOPE_ANY, 0, 0
    ) + attribute(_RTA_DST, network.network_address.packed)
    return Message(RTM_DELROUTE, 0, payload)


def _route(network: Network, *, scope: int, kind: int) -> bytes:
    header = _ROUTE.pack(socket.AF_INET, network.prefixlen, 0, 0, _TABLE_MAIN, ROUTE_PROTOCOL, scope, kind, 0)
    return header + attribute(_RTA_DST, network.network_address.packed)


def link_names(netlink: Netlink) -> dict[str, tuple[int, int]]:
    """Every link's index and MTU by its name."""
    found = {}
    for _, body in netlink.dump(Message(RTM_GETLINK, 0, _IFINFO.pack(0, 0, 0, 0, 0))):
        index = _IFINFO.unpack_from(body)[2]
        values = dict(attributes(body[_IFINFO.size :]))
        name = values[_IFLA_IFNAME].rstrip(b"\0").decode()
        found[name] = (index, struct.unpack("=I", values[_IFLA_MTU])[0])
    return found


def default_route_link(netlink: Netlink) -> int:
    """The index of the link that the default route leaves by, 0 where there is none."""
    for _, body in netlink.dump(Message(RTM_GETROUTE, 0, _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0))):
        fields = _ROUTE.unpack_from(body)
        values = dict(attributes(body[_ROUTE.size :]))
        if fields[1] == 0 and fields[4] == _TABLE_MAIN and _RTA_OIF in values:
            index: int = struct.unpack("=I", values[_RTA_OIF])[0]
            return index
    return 0


def own_routes(netlink: Netlink) -> list[Network]:
    """The destinations of all routes that carry our protocol number."""
    found = []
    for _, body in netlink.dump(Message(RTM_GETROUTE, 0, _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0))):
        fields = _ROUTE.unpack_from(body)
        values = dict(attributes(body[_ROUTE.size :]))
        if fields[5] == ROUTE_PROTOCOL and _RTA_DST in values:
            found.append(Network((values[_RTA_DST], fields[1])))
    return found
