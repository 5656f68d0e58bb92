"""The commit that the server reports is that of the checkout it runs from, whatever form that has."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from controlplane.api.version import commit_of


def git(where: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    done = subprocess.run(["git", *identity, "-C", where, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one commit on the branch ``main``."""
    place = tmp_path / "checkout"
    place.mkdir()
    git(place, "init", "-q", "-b", "main")
    git(place, "commit", "-q", "--allow-empty", "-m", "first")
    return place


def test_a_branch_a_worktree_and_a_detached_head(checkout: Path, tmp_path: Path) -> None:
    """A worktree has a file in the place of ``.git``, with a head of its own and the branches of the checkout."""
    first = git(checkout, "rev-parse", "HEAD")
    assert commit_of(checkout) == first
    git(checkout, "worktree", "add", "-q", "-b", "other", str(tmp_path / "other"))
    git(tmp_path / "other", "commit", "-q", "--allow-empty", "-m", "second")
    second = git(tmp_path / "other", "rev-parse", "HEAD")
    assert second != first
    assert (commit_of(checkout), commit_of(tmp_path / "other")) == (first, second)
    git(checkout, "pack-refs", "--all")
    assert (commit_of(checkout), commit_of(tmp_path / "other")) == (first, second)
    git(tmp_path / "other", "checkout", "-q", "--detach", first)
    assert commit_of(tmp_path / "other") == first


def test_no_checkout_has_no_commit(tmp_path: Path) -> None:
    """An installed program has none, and neither has what only looks like a checkout."""
    assert commit_of(tmp_path) == ""
    (tmp_path / ".git").write_text("gitdir: nowhere\n")
    assert commit_of(tmp_path) == ""
