"""Stopping and removing everything that the agent made on this machine, while no agent runs.

``flotilla down`` stops the containers; ``--purge`` then removes what the kernel holds: mounts, network namespaces,
links, nftables tables and cgroups. It works from what the machine shows (mounts below the node's directories, the
cgroup tree), not from the agent's records, so that it also cleans up after an agent that never finished what it began.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from nodeagent.cgroups.layout import detect
from nodeagent.cgroups.pods import PodCgroups
from nodeagent.lifetime import end_lifetime
from nodeagent.mounts import read_mounts
from nodeagent.network.pod_network import PodNetwork
from nodeagent.network.services import ServiceTable
from nodeagent.volumes.mounts import unmount_below

_POLL_S = 0.05
_KILL_TIMEOUT_S = 10.0


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
    for directory in (data_dir, run_dir):
        try:
            unmount_below(directory)
        except OSError as error:
            raise PurgeError(str(error)) from error
    PodCgroups(cgroup_parent, detect()).purge()
    # On a hybrid machine runc makes directories in cgroup2 too, which nobody else looks after.
    for mount in read_mounts():
        if mount.kind == "cgroup2":
            _remove_empty_tree(Path(mount.point) / cgroup_parent.strip("/"))


def _remove_empty_tree(top: Path) -> None:
    for directory, _, _ in os.walk(top, topdown=False):
        Path(directory).rmdir()


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
