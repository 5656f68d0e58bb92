"""Records of pods: the newest wins, the disk follows."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from pathlib import Path

import pytest

from nodeagent.pod_state import ContainerRecord, Ended, PodRecord, Run, Sandbox, Stop, Waiting
from nodeagent.pod_store import PodStore
from nodeagent.runtime.processes import ProcessIdentity

DEADLINE_S = 5.0
RUN = Run("id", 3, "i", "sha", 1.0, ProcessIdentity(1, 2), ProcessIdentity(3, 4), 5.0, "SIGQUIT")
RECORD = PodRecord(
    pod={"metadata": {"name": "p"}},
    boot_id="b",
    start_time_unix_s=1.5,
    sandbox=Sandbox("10.0.0.1", "/ns"),
    initialized=True,
    containers={
        "a": ContainerRecord(RUN, replace(RUN, ended=Ended(1, "Error", 2.0, "m", 9)), 2, 9.0, None, True, True),
        "b": ContainerRecord(waiting=Waiting("ErrImagePull", "m", 3.0)),
    },
    stop=Stop("deleted", 4.0, 5.0),
    status={"phase": "Running"},
)


@pytest.fixture
def store(tmp_path: Path) -> PodStore:
    return PodStore(tmp_path / "disk", tmp_path / "memory")


def appeared(file: Path) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not file.exists():
        assert time.monotonic() < deadline_s, f"{file} did not appear"
        time.sleep(0.005)


async def copied(store: PodStore, file: Path) -> None:
    task = asyncio.create_task(store.run())
    await asyncio.to_thread(appeared, file)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def test_a_record_survives_whole(store: PodStore) -> None:
    """Everything that is written is read again."""
    store.save("u", RECORD)
    assert store.load() == {"u": RECORD}


async def test_the_disk_serves_after_a_reboot(store: PodStore, tmp_path: Path) -> None:
    """When the tmpfs is empty the copy on disk is what is left."""
    store.save("u", RECORD)
    await copied(store, tmp_path / "disk/u/record.json")
    assert PodStore(tmp_path / "disk", tmp_path / "another-boot").load() == {"u": RECORD}


async def test_a_removed_pod_does_not_come_back(store: PodStore, tmp_path: Path) -> None:
    """A copy under way does not outlive the pod."""
    store.save("u", RECORD)
    store.save("other", RECORD)
    store.remove("u")
    await copied(store, tmp_path / "disk/other/record.json")
    assert not (tmp_path / "disk/u").exists()
    assert store.known() == {"other"}


def test_damage_costs_one_record(store: PodStore, tmp_path: Path) -> None:
    """An unreadable record is left out, the others are there."""
    store.save("good", RECORD)
    (tmp_path / "memory/bad.json").write_bytes(b"{")
    assert set(store.load()) == {"good"}
    assert store.known() == {"good", "bad"}
