"""Stopping and removing everything that the agent made on this machine, while no agent runs.

``flotilla down`` stops the containers; ``--purge`` then removes what the kernel holds: mounts, network namespaces,
links, nftables tables and cgroups. It works from what the machine shows (mounts below the node's directories, the
cgroup tree), not from the agent's records, so that it also cleans up after an agent that never finished what it began.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import time
from pathlib import Path

from nodeagent.cgroups.layout import detect
from nodeagent.cgroups.pods import PodCgroups
from nodeagent.lifetime import end_lifetime
from nodeagent.network.pod_network import PodNetwork
from nodeagent.network.services import ServiceTable

_POLL_S = 0.05
_KILL_TIMEOUT_S = 10.0
_MNT_DETACH = 2
_OCTAL = re.compile(r"\\([0-7]{3})")


class PurgeError(Exception):
    """Something of the node could not be removed; the message names it."""


def stop_containers(run_dir: Path, *, cgroup_parent: str, grace_s: float) -> int:
    """End all containers: SIGTERM, after ``grace_s`` SIGKILL, then their monitors; how many processes there were.

    Monitors (conmon) get no SIGTERM: they write the exit codes and end by themselves. Raises PurgeError.
    """
    cgroups = PodCgroups(cgroup_parent, detect())
    monitors = set(cgroups.processes(f"{cgroups.parent}/supervise"))
    containers = set(cgroups.processes(cgroups.parent)) - monitors
    for pid in containers:
        _signal(pid, signal.SIGTERM)
    _wait_until_empty(cgroups, monitors, timeout_s=grace_s)
    cgroups.kill(cgroups.parent)
    if not _wait_until_empty(cgroups, set(), timeout_s=_KILL_TIMEOUT_S):
        left = ", ".join(map(str, cgroups.processes(cgroups.parent)))
        raise PurgeError(f"processes in cgroup {cgroups.parent} survive SIGKILL: {left}")
    end_lifetime(run_dir)
    return len(containers) + len(monitors)


def purge_node(data_dir: Path, run_dir: Path, *, cgroup_parent: str) -> None:
    """Remove mounts, network and cgroups of the node; files are the caller's to remove. Raises PurgeError."""
    services = ServiceTable()
    try:
        services.purge()
    finally:
        services.close()
    PodNetwork.purge(run_dir)
    for target in mounts_below([data_dir, run_dir], Path("/proc/self/mountinfo").read_text(encoding="utf-8")):
        _unmount(target)
    PodCgroups(cgroup_parent, detect()).purge()
    mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    for mount in cgroup2_mounts(mountinfo):
        _remove_empty_tree(Path(mount) / cgroup_parent.strip("/"))


def cgroup2_mounts(mountinfo: str) -> list[str]:
    """Where cgroup2 is mounted. On a hybrid machine runc makes directories there too that nobody else looks after."""
    mounts = [line.split() for line in mountinfo.splitlines() if " - cgroup2 " in line]
    return [_unescape(fields[4]) for fields in mounts]


def _remove_empty_tree(top: Path) -> None:
    for directory, _, _ in os.walk(top, topdown=False):
        Path(directory).rmdir()


def mounts_below(directories: list[Path], mountinfo: str) -> list[str]:
    """Mount points at or below any of ``directories``, the innermost first, from the text of mountinfo (proc(5))."""
    targets = [_unescape(fields[4]) for line in mountinfo.splitlines() if len(fields := line.split()) > 4]
    inside = [each for each in targets if any(Path(each).is_relative_to(directory) for directory in directories)]
    return inside[::-1]


def _unescape(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def _unmount(target: str) -> None:
    if ctypes.CDLL(None, use_errno=True).umount2(os.fsencode(target), _MNT_DETACH) != 0:
        number = ctypes.get_errno()
        raise PurgeError(f"can't unmount {target}: {os.strerror(number)}")


def _wait_until_empty(cgroups: PodCgroups, except_for: set[int], *, timeout_s: float) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while set(cgroups.processes(cgroups.parent)) - except_for:
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S)
    return True


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
