"""What a node's agent has left on the machine, by kind, so that before and after can be compared."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from nodeagent.runtime.processes import ProcessIdentity, identify
from tests.integration.faults.node_lab import Lab

# What a node keeps without any pod: written whenever the agent pleases.
_STANDING = re.compile(
    r"^(checkpoint\.json|secrets\.json|zone\.json|node\.json|node\.new|boot-id|lifetime|node\.(key|crt|dates))(\.new)?$"
)


def remains(lab: Lab) -> dict[str, set[str]]:
    """Everything of the lab's node that the machine shows now: to be called where the node's network is."""
    directories = (str(lab.data_dir), str(lab.run_dir))
    return {
        "mounts": {
            fields[4] for fields in _mountinfo() if any(fields[4].startswith(f"{each}/") for each in directories)
        },
        "cgroups": _cgroups(lab),
        "links": set(_lines("ip", "-o", "link", column=1)),
        "routes": set(_lines("ip", "-o", "route")),
        "firewall": set(_lines("nft", "list", "ruleset")),
        "files": {str(path) for each in directories for path in _files(Path(each))},
        "processes": {f"{pid}: {command}" for pid, command in node_processes(lab).items()},
    }


def left_over(before: dict[str, set[str]], after: dict[str, set[str]]) -> dict[str, set[str]]:
    """What is there now and was not before, by kind; empty when there is nothing."""
    found = {kind: after[kind] - before[kind] for kind in after}
    return {kind: names for kind, names in found.items() if names}


def node_processes(lab: Lab) -> dict[int, str]:
    """Pid and command line of all that runs for the node: in its cgroups or started by its agents, except the agents.

    A process is told by its session, which it has from the agent, or by a path of the node in its command line.
    """
    inside = set(lab.cgroups.processes(lab.cgroups.parent))
    agents = {agent.pid for agent in lab.agents}
    found: dict[int, str] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal() or int(entry.name) in agents:
            continue
        pid = int(entry.name)
        try:
            command = Path(entry.path, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            session = os.getsid(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
        if command and (pid in inside or session in agents or str(lab.run_dir) in command):
            found[pid] = command
    return found


def container_processes(lab: Lab, uid: str) -> list[ProcessIdentity]:
    """First processes of a pod's containers: those whose parent is a conmon."""
    found = []
    for below in ("", "/burstable", "/besteffort"):
        for pid in lab.cgroups.processes(f"{lab.cgroups.parent}{below}/pod{uid}"):
            try:
                parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
                if Path(f"/proc/{parent}/comm").read_text().strip() == "conmon":
                    found.append(identify(pid))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def _mountinfo() -> list[list[str]]:
    return [line.split() for line in Path("/proc/thread-self/mountinfo").read_text().splitlines()]


def _cgroups(lab: Lab) -> set[str]:
    layout = lab.cgroups.layout
    tops = {*layout.directories(lab.cgroups.parent), Path("/sys/fs/cgroup/unified", lab.cgroups.parent.strip("/"))}
    return {directory for top in tops for directory, _, _ in os.walk(top)}


def _files(top: Path) -> list[Path]:
    found: list[Path] = []
    for directory, names, files in os.walk(top):
        here = Path(directory)
        if here == top / "images" / "layers":
            names.clear()
        found.extend(here / name for name in (*names, *files) if not _STANDING.match(name))
    return found


def _lines(*command: str, column: int | None = None) -> list[str]:
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = [re.sub(r"packets \d+ bytes \d+", "", line) for line in output.splitlines()]
    return lines if column is None else [line.split()[column] for line in lines]
