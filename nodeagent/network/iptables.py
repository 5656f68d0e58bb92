"""Our rules in the chains of iptables, in both of its back-ends, put there by iptables itself.

Rules that nft writes into iptables' tables can make iptables refuse to list them, and with that break the firewall
whose tables they are.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nodeagent.network.conntrack import table_exists

COMMENT = "flotilla"
_DOCKER_CHAIN = "DOCKER-USER"
_LEGACY_TABLES = Path("/proc/thread-self/net/ip_tables_names")


@dataclass(frozen=True, slots=True)
class _Rule:
    chain: str
    match: tuple[str, ...]

    def arguments(self) -> tuple[str, ...]:
        return (self.chain, *self.match, "-m", "comment", "--comment", COMMENT, "-j", "ACCEPT")

    def is_in(self, listing: Sequence[str]) -> bool:
        return any(
            line.startswith(f"-A {self.chain} ") and _is_ours(line) and set(self.match) <= set(line.split())
            for line in listing
        )


def admit(*, links: str, dns_address: str) -> list[str]:
    """Let pods through where iptables drops by policy; returns the chains that were changed. Idempotent.

    ``links`` is an nft interface pattern such as ``flt*``.
    """
    changed = []
    for tool in _tools():
        listing = _run(tool, "-S")
        for rule in _wanted(listing, links.replace("*", "+"), dns_address):
            if not rule.is_in(listing):
                _run(tool, "-I", *rule.arguments())
                changed.append(f"{tool} {rule.chain}")
    return changed


def withdraw() -> None:
    """Remove every rule of ours; idempotent."""
    for tool in _tools():
        for line in _run(tool, "-S"):
            if line.startswith("-A ") and _is_ours(line):
                _run(tool, "-D", *line.split()[1:])


def _tools() -> list[str]:
    """The iptables programs whose filter table is in use."""
    found = []
    if table_exists("filter"):
        found.append("iptables-nft")
    try:
        if "filter" in _LEGACY_TABLES.read_text().split():
            found.append("iptables-legacy")
    except OSError:
        pass
    return [tool for tool in found if shutil.which(tool)]


def _wanted(listing: Sequence[str], link: str, dns_address: str) -> list[_Rule]:
    rules = []
    if "-P FORWARD DROP" in listing:
        chain = _DOCKER_CHAIN if f"-N {_DOCKER_CHAIN}" in listing else "FORWARD"
        rules += [_Rule(chain, ("-i", link)), _Rule(chain, ("-o", link))]
    if "-P INPUT DROP" in listing:
        dns = ("-d", f"{dns_address}/32", "-i", link)
        rules += [_Rule("INPUT", (*dns, "-p", protocol, "--dport", "53")) for protocol in ("udp", "tcp")]
        rules.append(_Rule("INPUT", ("-i", link, "-m", "conntrack", "--ctstate", "DNAT")))
    return rules


def _is_ours(line: str) -> bool:
    return f"--comment {COMMENT} " in f"{line} "


def _run(tool: str, *arguments: str) -> list[str]:
    command = [tool, "-w", "2", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
