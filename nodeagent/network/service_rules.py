"""Service plans as nftables scripts: the whole table, or only what differs between two plans; pure.

A service port is a chain, reached through a map by address or node port; established connections follow conntrack and
never look here again, so a removed endpoint keeps the connections it has. A port without endpoints is not in the
maps, and what then still goes to a service address is refused at once instead of being left to time out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from nodeagent.network.nftables import replace_table
from nodeagent.network.service_plan import Endpoint, ServicePort

Plan = Mapping[str, ServicePort]


@dataclass(frozen=True, slots=True)
class ServiceRules:
    """The table's name and the addresses that its rules are about; ``links`` is an nft interface pattern."""

    table: str
    cluster_cidr: str
    service_cidr: str
    gateway: str
    links: str

    def whole(self, wanted: Plan) -> str:
        """A script that makes the table hold exactly ``wanted``."""
        return replace_table("ip", self.table, self._body()) + self.changes({}, wanted)

    def changes(self, applied: Plan, wanted: Plan) -> str:
        """A script that leads from ``applied`` to ``wanted``; empty where nothing differs."""
        gone = [port for key, port in applied.items() if wanted.get(key) != port]
        new = [port for key, port in wanted.items() if applied.get(key) != port]
        # In this order within one transaction: nothing is deleted while something still points to it.
        steps = (
            *self._elements("delete", _elements(gone), keep=_elements(new)),
            *self._chains(_chains(gone), _chains(new)),
            *self._elements("add", _elements(new), keep=_elements(gone)),
            *self._hairpins(applied, wanted),
        )
        return "".join(f"{step}\n" for step in steps)

    def _elements(self, verb: str, elements: set[tuple[str, str]], *, keep: set[tuple[str, str]]) -> Iterator[str]:
        for name, element in sorted(elements - keep):
            yield f"{verb} element ip {self.table} {name} {{ {element} }}"

    def _chains(self, gone: Mapping[str, list[str]], new: Mapping[str, list[str]]) -> Iterator[str]:
        """Endpoint chains (``to-``) first, because service chains (``svc-``) lead to them; removal in reverse."""
        for name in sorted(new, reverse=True):
            if name not in gone:
                yield from self._make_set(name, new[name])
                yield f"add chain ip {self.table} {name}"
        for name, rules in new.items():
            if gone.get(name) != rules:
                yield f"flush chain ip {self.table} {name}"
                yield from (f"add rule ip {self.table} {name} {rule}" for rule in rules)
        for name in sorted(gone):
            if name not in new:
                yield f"flush chain ip {self.table} {name}"
        for name in sorted(gone):
            if name not in new:
                yield f"delete chain ip {self.table} {name}"
                if name.startswith("to-"):
                    yield f"delete set ip {self.table} {_clients(name)}"

    def _make_set(self, chain: str, rules: list[str]) -> Iterator[str]:
        if chain.startswith("to-"):
            timeout = rules[0].rpartition("timeout ")[2].split()[0]
            yield (
                f"add set ip {self.table} {_clients(chain)} "
                f"{{ type ipv4_addr; flags dynamic,timeout; timeout {timeout}; size 65535; }}"
            )

    def _hairpins(self, applied: Plan, wanted: Plan) -> Iterator[str]:
        before, after = _endpoint_ips(applied.values()), _endpoint_ips(wanted.values())
        yield from (f"delete element ip {self.table} hairpin {{ {ip} . {ip} }}" for ip in sorted(before - after))
        yield from (f"add element ip {self.table} hairpin {{ {ip} . {ip} }}" for ip in sorted(after - before))

    def _body(self) -> str:
        return f"""
            map addresses {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
            map node_ports {{ type inet_proto . inet_service : verdict; }}
            set hairpin {{ type ipv4_addr . ipv4_addr; }}
            chain translate {{
                ip daddr . meta l4proto . th dport vmap @addresses
                fib daddr type local meta l4proto . th dport vmap @node_ports
            }}
            chain prerouting {{
                type nat hook prerouting priority dstnat; policy accept;
                jump translate
            }}
            chain output {{
                type nat hook output priority -100; policy accept;
                jump translate
            }}
            chain postrouting {{
                type nat hook postrouting priority srcnat; policy accept;
                ct status dnat ip saddr . ip daddr @hairpin snat to {self.gateway}
                ct status dnat ip saddr 127.0.0.0/8 oifname "{self.links}" snat to {self.gateway}
                ct status dnat ip saddr != {self.cluster_cidr} oifname != {{ "lo", "{self.links}" }} masquerade
            }}
            chain refuse {{
                meta l4proto tcp reject with tcp reset
                reject
            }}
            chain forward {{
                type filter hook forward priority filter; policy accept;
                ip daddr {self.service_cidr} goto refuse
            }}
            chain local {{
                type filter hook output priority filter; policy accept;
                ct status dnat accept
                oifname != "lo" ip daddr {self.service_cidr} goto refuse
            }}
        """


def _short(*parts: object) -> str:
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:16]


def _chain(port: ServicePort) -> str:
    return f"svc-{_short(port.key)}"


def _node_chain(port: ServicePort) -> str:
    return _chain(port) if port.node_endpoints == port.endpoints else f"svc-{_short(port.key, 'node')}"


def _endpoint_chain(port: ServicePort, endpoint: Endpoint) -> str:
    return f"to-{_short(port.key, port.affinity_s, endpoint)}"


def _clients(endpoint_chain: str) -> str:
    return f"of-{endpoint_chain.removeprefix('to-')}"


def _endpoint_ips(ports: Iterable[ServicePort]) -> set[str]:
    return {endpoint.ip for port in ports for endpoint in (*port.endpoints, *port.node_endpoints)}


def _elements(ports: Iterable[ServicePort]) -> set[tuple[str, str]]:
    """Map elements that lead to chains, as (map, element)."""
    found = set()
    for port in ports:
        if port.endpoints:
            for address in port.addresses:
                element = f"{address.ip} . {port.protocol} . {address.port} : goto {_chain(port)}"
                found.add(("addresses", element))
        if port.node_port and port.node_endpoints:
            found.add(("node_ports", f"{port.protocol} . {port.node_port} : goto {_node_chain(port)}"))
    return found


def _chains(ports: Iterable[ServicePort]) -> dict[str, list[str]]:
    """The rules of every chain that the ports need."""
    chains: dict[str, list[str]] = {}
    for port in ports:
        if port.endpoints:
            chains[_chain(port)] = _rules(port, port.endpoints)
        if port.node_port and port.node_endpoints:
            chains[_node_chain(port)] = _rules(port, port.node_endpoints)
        for endpoint in {*port.endpoints, *port.node_endpoints} if port.affinity_s else ():
            name = _endpoint_chain(port, endpoint)
            remember = f"update @{_clients(name)} {{ ip saddr timeout {port.affinity_s}s }}"
            chains[name] = [remember, f"meta l4proto {port.protocol} dnat ip to {endpoint.ip}:{endpoint.port}"]
    return chains


def _rules(port: ServicePort, endpoints: tuple[Endpoint, ...]) -> list[str]:
    choose = f"numgen random mod {len(endpoints)}"
    if not port.affinity_s:
        targets = ", ".join(f"{number} : {each.ip} . {each.port}" for number, each in enumerate(endpoints))
        return [f"meta l4proto {port.protocol} dnat ip to {choose} map {{ {targets} }}"]
    names = [_endpoint_chain(port, endpoint) for endpoint in endpoints]
    rules = [f"ip saddr @{_clients(name)} goto {name}" for name in names]
    verdicts = ", ".join(f"{number} : goto {name}" for number, name in enumerate(names))
    return [*rules, f"{choose} vmap {{ {verdicts} }}"]
