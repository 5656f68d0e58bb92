"""Living with a firewall that was here first.

Docker and ufw set the policy of the ``FORWARD`` (and ufw of the ``INPUT``) chain to drop, and in netfilter a drop in
any table is final: only an accept in that very chain helps. Rules for the pods' links are put at its head, marked by
a comment and taken out again by a purge: in ``DOCKER-USER``, which Docker documents for this and keeps across its own
restarts, where it exists, else in the chain itself. Both of iptables' back-ends are looked at.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodeagent.network.nftables import Nftables, NftablesError

logger = logging.getLogger(__name__)

COMMENT = "flotilla"
_LEGACY_TABLES = Path("/proc/net/ip_tables_names")
_DOCKER_CHAIN = "DOCKER-USER"


@dataclass(frozen=True, slots=True)
class _Chain:
    family: str
    table: str
    name: str

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.name}"


def admit_pods(nftables: Nftables, *, links: str, dns_address: str) -> list[str]:
    """Add what is missing for pods' traffic to pass; returns the chains that were changed. Idempotent."""
    changed = []
    chains = _dropping_chains(nftables)
    for hook, chain in chains:
        rules = _forward_rules(links) if hook == "forward" else _input_rules(links, dns_address)
        present = _own_handles(nftables, chain)
        if len(present) != len(rules):
            script = "".join(f"delete rule {chain} handle {handle}\n" for handle in present)
            script += "".join(f'insert rule {chain} {rule} comment "{COMMENT}"\n' for rule in rules)
            nftables.run(script)
            changed.append(str(chain))
    changed += _admit_legacy(links, dns_address)
    if changed:
        logger.warning("foreign_firewall_admits_pods", extra={"chains": changed, "links": links})
    return changed


def withdraw(nftables: Nftables) -> None:
    """Remove every rule that :func:`admit_pods` added; idempotent."""
    for item in nftables.query("list chains"):
        if "chain" in item:
            chain = _Chain(item["chain"]["family"], item["chain"]["table"], item["chain"]["name"])
            if chain.family in ("ip", "inet"):
                handles = _own_handles(nftables, chain)
                nftables.run("".join(f"delete rule {chain} handle {handle}\n" for handle in handles))
    _withdraw_legacy()


def _forward_rules(links: str) -> list[str]:
    return [f'iifname "{links}" accept', f'oifname "{links}" accept']


def _input_rules(links: str, dns_address: str) -> list[str]:
    dns = f'iifname "{links}" ip daddr {dns_address}'
    return [f"{dns} udp dport 53 accept", f"{dns} tcp dport 53 accept", f'iifname "{links}" ct status dnat accept']


def _dropping_chains(nftables: Nftables) -> list[tuple[str, _Chain]]:
    """Base chains that drop by policy, as (hook, chain to add rules to)."""
    chains: list[dict[str, Any]] = [item["chain"] for item in nftables.query("list chains") if "chain" in item]
    names = {(chain["family"], chain["table"], chain["name"]) for chain in chains}
    found = []
    for chain in chains:
        if chain.get("policy") != "drop" or chain["family"] not in ("ip", "inet"):
            continue
        family, table, hook = chain["family"], chain["table"], chain.get("hook")
        if hook == "forward" and (family, table, _DOCKER_CHAIN) in names:
            found.append((hook, _Chain(family, table, _DOCKER_CHAIN)))
        elif hook in ("forward", "input"):
            found.append((hook, _Chain(family, table, chain["name"])))
    return found


def _own_handles(nftables: Nftables, chain: _Chain) -> list[int]:
    try:
        items = nftables.query(f"list chain {chain}")
    except NftablesError:
        # Chains of an extension that this libnftables can't show hold no rule of ours.
        return []
    rules: Iterable[dict[str, Any]] = (item["rule"] for item in items if "rule" in item)
    return [rule["handle"] for rule in rules if rule.get("comment") == COMMENT]


def _legacy(*arguments: str) -> str:
    command = shutil.which("iptables-legacy")
    if command is None:
        return ""
    finished = subprocess.run([command, "-w", "2", *arguments], capture_output=True, text=True, check=False)
    return finished.stdout


def _legacy_in_use() -> bool:
    try:
        return "filter" in _LEGACY_TABLES.read_text().split()
    except OSError:
        return False


def _admit_legacy(links: str, dns_address: str) -> list[str]:
    if not _legacy_in_use():
        return []
    rules = _legacy("-S").splitlines()
    link = links.replace("*", "+")
    comment = ("-m", "comment", "--comment", COMMENT)
    wanted: list[tuple[str, Sequence[str]]] = []
    if "-P FORWARD DROP" in rules:
        chain = _DOCKER_CHAIN if f"-N {_DOCKER_CHAIN}" in rules else "FORWARD"
        wanted += [(chain, ("-i", link)), (chain, ("-o", link))]
    if "-P INPUT DROP" in rules:
        dns = ("-i", link, "-d", f"{dns_address}/32")
        wanted += [("INPUT", (*dns, "-p", protocol, "--dport", "53")) for protocol in ("udp", "tcp")]
        wanted.append(("INPUT", ("-i", link, "-m", "conntrack", "--ctstate", "DNAT")))
    changed = []
    for chain, match in wanted:
        if not any(rule.startswith(f"-A {chain} ") and _same_rule(rule, match) for rule in rules):
            _legacy("-I", chain, *match, *comment, "-j", "ACCEPT")
            changed.append(f"legacy {chain}")
    return changed


def _same_rule(rule: str, match: Sequence[str]) -> bool:
    return f"--comment {COMMENT} " in rule and all(word in rule.split() for word in match)


def _withdraw_legacy() -> None:
    if _legacy_in_use():
        for rule in _legacy("-S").splitlines():
            if rule.startswith("-A ") and f"--comment {COMMENT} " in rule:
                _legacy("-D", *rule.split()[1:])
