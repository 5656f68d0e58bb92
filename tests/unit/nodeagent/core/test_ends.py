"""What is said of an ended container."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodeagent.ends import ended_of, last_words
from nodeagent.runtime.exits import ContainerExit


@pytest.mark.parametrize(
    ("code", "kills", "reason", "signal"),
    [
        (0, 0, "Completed", 0),
        (3, 0, "Error", 0),
        (137, 0, "Error", 9),
        (137, 1, "OOMKilled", 9),
        (5, 2, "OOMKilled", 0),
    ],
)
def test_reasons(code: int, kills: int, reason: str, signal: int) -> None:
    """Memory is blamed when the cgroup counted a kill, and only then."""
    ended = ended_of(ContainerExit(code, 1.0), oom_kills=kills, message="")
    assert (ended.exit_code, ended.reason, ended.signal) == (code, reason, signal)


def test_a_lost_exit_code_is_said_to_be_lost() -> None:
    """Nothing is guessed when the supervisor died."""
    assert ended_of(ContainerExit(None, 1.0), oom_kills=0, message="").reason == "ContainerStatusUnknown"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    log = tmp_path / "0.log"
    log.write_text("".join(f"2026-01-01T00:00:00Z stderr F line {number}\n" for number in range(200)))
    return tmp_path / "termination", log


def test_the_containers_own_message_wins(files: tuple[Path, Path]) -> None:
    """What the container wrote for the purpose is shown, cut to 4 KiB."""
    termination, log = files
    termination.write_text("x" * 5000)
    container = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    assert last_words(container, termination=termination, log=log, failed=True) == "x" * 4096


def test_the_log_speaks_for_a_silent_container(files: tuple[Path, Path]) -> None:
    """Only if the policy says so and the container failed; 80 lines at most."""
    termination, log = files
    container = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    words = last_words(container, termination=termination, log=log, failed=True).splitlines()
    assert (words[0], words[-1]) == ("line 120", "line 199")
    assert last_words(container, termination=termination, log=log, failed=False) == ""
    assert last_words({}, termination=termination, log=log, failed=True) == ""


def test_a_link_in_place_of_the_message_is_not_followed(files: tuple[Path, Path], tmp_path: Path) -> None:
    """A container cannot make the agent read a file of the node for it."""
    termination, log = files
    (tmp_path / "secret").write_text("of the node")
    termination.symlink_to(tmp_path / "secret")
    assert last_words({}, termination=termination, log=log, failed=True) == ""
