"""Living with a firewall that was here first.

Docker and ufw set the policy of the ``FORWARD`` (and ufw of the ``INPUT``) chain to drop, and in netfilter a drop in
any table is final: only an accept in that very chain helps. Rules for the pods' links are put at its head, marked by
a comment and taken out again by a purge: in ``DOCKER-USER``, which Docker documents for this and keeps across its own
restarts, where it exists, else in the chain itself. iptables' chains are :mod:`nodeagent.network.iptables`'s matter;
this module sees to those that were made with nft.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nodeagent.network import iptables
from nodeagent.network.nftables import Nftables, NftablesError

logger = logging.getLogger(__name__)

COMMENT = "flotilla"
_IPTABLES_TABLE = ("ip", "filter")


@dataclass(frozen=True, slots=True)
class _Chain:
    family: str
    table: str
    name: str
    hook: str
    policy: str

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.name}"


def admit_pods(nftables: Nftables, *, links: str, dns_address: str) -> list[str]:
    """Add what is missing for pods' traffic to pass; returns the chains that were changed. Idempotent."""
    changed = iptables.admit(links=links, dns_address=dns_address)
    rules = {"forward": _forward_rules(links), "input": _input_rules(links, dns_address)}
    for chain in _chains(nftables):
        if chain.policy == "drop" and chain.hook in rules:
            present = _own_handles(nftables, chain)
            if len(present) != len(rules[chain.hook]):
                script = _deletions(chain, present)
                script += "".join(f'insert rule {chain} {rule} comment "{COMMENT}"\n' for rule in rules[chain.hook])
                nftables.run(script)
                changed.append(str(chain))
    if changed:
        logger.warning("foreign_firewall_admits_pods", extra={"chains": changed, "links": links})
    return changed


def withdraw(nftables: Nftables) -> None:
    """Remove every rule that :func:`admit_pods` added; idempotent."""
    iptables.withdraw()
    for chain in _chains(nftables):
        nftables.run(_deletions(chain, _own_handles(nftables, chain)))


def _forward_rules(links: str) -> list[str]:
    return [f'iifname "{links}" accept', f'oifname "{links}" accept']


def _input_rules(links: str, dns_address: str) -> list[str]:
    dns = f'iifname "{links}" ip daddr {dns_address}'
    return [f"{dns} udp dport 53 accept", f"{dns} tcp dport 53 accept", f'iifname "{links}" ct status dnat accept']


def _chains(nftables: Nftables) -> Iterator[_Chain]:
    """The base chains that see IPv4, but for iptables' own."""
    for item in nftables.query("list chains"):
        chain: dict[str, Any] = item.get("chain") or {}
        if chain.get("hook") and chain["family"] in ("ip", "inet"):
            family, table = chain["family"], chain["table"]
            if (family, table) != _IPTABLES_TABLE:
                yield _Chain(family, table, chain["name"], chain["hook"], chain.get("policy", ""))


def _own_handles(nftables: Nftables, chain: _Chain) -> list[int]:
    try:
        items = nftables.query(f"list chain {chain}")
    except NftablesError:
        # A chain that this libnftables can't show holds no rule of ours.
        return []
    rules: list[dict[str, Any]] = [item["rule"] for item in items if "rule" in item]
    return [rule["handle"] for rule in rules if rule.get("comment") == COMMENT]


def _deletions(chain: _Chain, handles: list[int]) -> str:
    return "".join(f"delete rule {chain} handle {handle}\n" for handle in handles)
