"""Locks that tell whether another process has ended."""

from __future__ import annotations

from pathlib import Path

from controlplane.store.process_lock import ProcessLock


def test_a_lock_is_outlived_once_its_holder_has_given_it_up(tmp_path: Path) -> None:
    """Not before, and by nobody but who has the same file."""
    first, second = ProcessLock(tmp_path / "a" / "lock"), ProcessLock(tmp_path / "a" / "lock")
    mark = first.mark
    assert mark
    assert second.mark == ""
    assert not second.outlived(mark)
    first.close()
    assert second.outlived(mark)
    assert not first.outlived(mark)
    second.close()


def test_other_locks_say_nothing(tmp_path: Path) -> None:
    """Neither another file nor one that was made anew under the same name, nor a server that had none."""
    first, other = ProcessLock(tmp_path / "lock"), ProcessLock(tmp_path / "other")
    mark = first.mark
    assert not other.outlived(mark)
    assert not other.outlived("")
    (tmp_path / "lock").unlink()
    again = ProcessLock(tmp_path / "lock")
    assert again.mark
    assert not again.outlived(mark)
    for lock in (first, other, again):
        lock.close()
