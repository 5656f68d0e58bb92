"""What an agent without a server goes on with."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from flotilla.api.objects import encode
from nodeagent.assigned import Assignments, Held, Moment, ObjectKey
from nodeagent.checkpoint import Checkpoint
from nodeagent.sandbox import ClusterFacts

POD, SECRET = ObjectKey("pods", "n", "p"), ObjectKey("secrets", "n", "s")
FACTS = ClusterFacts("cluster.local", "10.43.0.10", "10.42.0.0/24", "10.43.0.0/16", "10.42.0.0/16")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    (tmp_path / "run").mkdir()
    return Checkpoint(tmp_path / "checkpoint.json", secrets_path=tmp_path / "run/secrets.json")


def written(checkpoint: Checkpoint) -> Assignments:
    assignments = Assignments()
    objects = {POD: Held(3, encode({"kind": "Pod"})), SECRET: Held(4, encode({"data": {"password": "aHVudGVyMg=="}}))}
    assignments.replace(objects, Moment("h", 9), confirmed=True)
    checkpoint.write(checkpoint.encode(assignments, FACTS))
    return assignments


def test_what_was_written_is_read_again(checkpoint: Checkpoint) -> None:
    """Objects, revision and the cluster's networks survive."""
    before = written(checkpoint)
    after, facts = checkpoint.load()
    assert (after.objects, after.applied, facts) == (before.objects, before.applied, FACTS)


def test_nothing_secret_is_on_the_disk(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Secrets are in the file on the tmpfs only, and both files are private."""
    written(checkpoint)
    assert b"aHVudGVyMg" not in (tmp_path / "checkpoint.json").read_bytes()
    for path in (tmp_path / "checkpoint.json", tmp_path / "run/secrets.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("damage", [b"", b"{", b'{"history_id": 1}'])
def test_a_damaged_file_counts_as_absent(checkpoint: Checkpoint, tmp_path: Path, damage: bytes) -> None:
    """The agent starts anyway; the server sends everything again."""
    written(checkpoint)
    (tmp_path / "checkpoint.json").write_bytes(damage)
    assignments, facts = checkpoint.load()
    assert (assignments.objects, facts) == ({}, ClusterFacts())


def test_secrets_may_be_missing(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """After a reboot the tmpfs is empty; the rest is still good."""
    written(checkpoint)
    (tmp_path / "run/secrets.json").unlink()
    assert set(checkpoint.load()[0].objects) == {POD}
