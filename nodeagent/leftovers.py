"""Clearing away what no pod of this node claims: half-made containers, mounts, addresses, cgroups, files.

Run once when the agent starts, after the records have been read and before pods go on: whatever a record names is left
alone, everything else was being made or removed when the agent before died.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nodeagent.cgroups import PodCgroups
from nodeagent.images.rootfs import unmount_rootfs
from nodeagent.pod_state import PodRecord
from nodeagent.pod_store import PodStore
from nodeagent.runtime.containers import Containers
from nodeagent.sandbox import Sandboxes

logger = logging.getLogger(__name__)


class VolumeKeeper(Protocol):
    """Removes a pod's volumes."""

    def teardown(self, pod_uid: str) -> None: ...


class NetworkKeeper(Protocol):
    """Knows and removes pods' networks."""

    def leftovers(self) -> set[str]: ...

    def teardown(self, pod_uid: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Claims:
    """What the records name: pods by uid, containers by id, and log directories by name."""

    pods: frozenset[str]
    containers: frozenset[str]
    logs: frozenset[str]

    @classmethod
    def of(cls, records: Mapping[str, PodRecord]) -> Claims:
        """The claims of all records."""
        containers = {
            run.id
            for record in records.values()
            for each in record.containers.values()
            for run in (each.run, each.last)
            if run is not None
        }
        logs = {
            f"{record.pod['metadata'].get('namespace', '')}_{record.pod['metadata']['name']}_{uid}"
            for uid, record in records.items()
        }
        return cls(frozenset(records), frozenset(containers), frozenset(logs))


async def clear_containers(claims: Claims, containers: Containers) -> None:
    """End what still works for an agent that is gone, and remove containers that no record names."""
    orphans = await asyncio.to_thread(containers.end_orphans)
    if orphans:
        logger.info("orphans_ended", extra={"count": orphans})
    strays = containers.known() - claims.containers
    if strays:
        logger.info("stray_containers", extra={"count": len(strays)})
        await containers.purge(strays)


def clear_node(
    claims: Claims,
    *,
    data_dir: Path,
    store: PodStore,
    cgroups: PodCgroups,
    sandboxes: Sandboxes,
    volumes: VolumeKeeper,
    network: NetworkKeeper | None,
) -> None:
    """Remove everything else that no record names. Blocks. What cannot be removed is logged and left."""
    steps: list[tuple[str, Callable[[str], None]]] = []
    steps += [
        (name, lambda name: unmount_rootfs(data_dir / "rootfs" / name))
        for name in _names(data_dir / "rootfs") - claims.containers
    ]
    if network is not None:
        steps += [(uid, network.teardown) for uid in network.leftovers() - claims.pods]
    steps += [(uid, cgroups.remove_stray) for uid in cgroups.existing() - claims.pods]
    steps += [(uid, sandboxes.remove_files) for uid in sandboxes.known() - claims.pods]
    steps += [(uid, sandboxes.remove_binds) for uid in sandboxes.known() & claims.pods]
    for uid in store.known() - claims.pods:
        steps += [(uid, volumes.teardown), (uid, store.remove)]
    steps += [
        (name, lambda name: shutil.rmtree(data_dir / "logs" / name)) for name in _names(data_dir / "logs") - claims.logs
    ]
    for name, step in steps:
        try:
            step(name)
        except Exception as error:
            logger.warning("leftover_not_removed", extra={"what": name, "error": str(error)})


def _names(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()} if directory.is_dir() else set()


def forget_boot(run_dir: Path) -> None:
    """After a reboot, remove what only a tmpfs would have forgotten: runtime state, exit codes, bundles.

    For machines whose run directory is on a disk.
    """
    for name in ("runc", "crun", "exits", "private", "pods", "shutdown", "handlers"):
        shutil.rmtree(run_dir / name, ignore_errors=True)
