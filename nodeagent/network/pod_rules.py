"""The nftables table that every pod needs whether services exist or not: host ports, masquerade, a guard.

Translation to the outside hides pod addresses only where they leave the cluster; pods see each other's real ones.
The guard keeps packets for 127.0.0.0/8 from entering by a link: ``route_localnet``, which lets NodePorts answer on
127.0.0.1, would otherwise open the host's loopback services to pods (CVE-2020-8558).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nodeagent.network.nftables import replace_table
from nodeagent.network.records import HostPort, PodRecord


@dataclass(frozen=True, slots=True)
class PodRules:
    """The table's name and what its rules are about; ``links`` is an nft interface pattern such as ``flt*``."""

    table: str
    cluster_cidr: str
    gateway: str
    links: str

    def script(self, records: Iterable[PodRecord]) -> str:
        """The whole table with the host ports of ``records``."""
        elements = "".join(self.host_ports(record, verb="add") for record in records)
        return replace_table("ip", self.table, self._body()) + elements

    def host_ports(self, record: PodRecord, *, verb: str) -> str:
        """``add`` or ``delete`` a pod's host ports."""
        return "".join(self._elements(record.ip, record.host_ports, verb))

    def _elements(self, ip: str, ports: Sequence[HostPort], verb: str) -> Iterable[str]:
        for port in ports:
            protocol = port.protocol.lower()
            target = f"{protocol} . {port.host_port} : {ip} . {port.container_port}"
            if port.host_ip in ("", "0.0.0.0"):
                yield f"{verb} element ip {self.table} host_ports {{ {target} }}\n"
            else:
                yield f"{verb} element ip {self.table} host_address_ports {{ {port.host_ip} . {target} }}\n"
        if ports:
            yield f"{verb} element ip {self.table} hairpin {{ {ip} . {ip} }}\n"

    def _body(self) -> str:
        known = "meta l4proto { tcp, udp, sctp }"
        return f"""
            map host_ports {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
            map host_address_ports {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
            set hairpin {{ type ipv4_addr . ipv4_addr; }}
            chain translate {{
                {known} dnat ip to ip daddr . meta l4proto . th dport map @host_address_ports
                fib daddr type local {known} dnat ip to meta l4proto . th dport map @host_ports
            }}
            chain prerouting {{
                type nat hook prerouting priority dstnat + 5; policy accept;
                jump translate
            }}
            chain output {{
                type nat hook output priority -95; policy accept;
                jump translate
            }}
            chain postrouting {{
                type nat hook postrouting priority srcnat + 5; policy accept;
                ct status dnat ip saddr 127.0.0.0/8 oifname "{self.links}" snat to {self.gateway}
                ct status dnat ip saddr . ip daddr @hairpin snat to {self.gateway}
                ip saddr {self.cluster_cidr} ip daddr != {self.cluster_cidr} oifname != "{self.links}" masquerade
            }}
            chain guard {{
                type filter hook prerouting priority raw; policy accept;
                iifname != "lo" ip daddr 127.0.0.0/8 drop
            }}
        """
