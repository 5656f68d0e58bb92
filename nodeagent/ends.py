"""What is said of an ended container: reason, exit code and last words.

``OOMKilled`` comes from the cgroup's own counter, whichever process of the container the kernel chose; exit code 137
alone says only that somebody sent SIGKILL.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nodeagent.pod_state import Ended
from nodeagent.runtime.exits import ContainerExit

MESSAGE_LIMIT_BYTES = 4096
LOG_MESSAGE_LIMIT_BYTES = 2048
LOG_MESSAGE_LINES = 80
UNKNOWN_EXIT_CODE = 137
UNKNOWN_END = "ContainerStatusUnknown"
_SIGNALLED = 128
_LAST_SIGNAL = 64


def ended_of(exit_: ContainerExit, *, oom_kills: int, message: str) -> Ended:
    """The end of a run from its exit and its cgroup's count of out-of-memory kills."""
    if exit_.code is None:
        lost = "The container's supervisor ended before it could record the exit code"
        return Ended(UNKNOWN_EXIT_CODE, UNKNOWN_END, exit_.finished_unix_s, lost)
    reason = "OOMKilled" if oom_kills else "Completed" if exit_.code == 0 else "Error"
    signal = exit_.code - _SIGNALLED if _SIGNALLED < exit_.code <= _SIGNALLED + _LAST_SIGNAL else 0
    return Ended(exit_.code, reason, exit_.finished_unix_s, message, signal)


def last_words(container: Mapping[str, Any], *, termination: Path, log: Path, failed: bool) -> str:
    """The termination message: the container's file, or with ``FallbackToLogsOnError`` the end of its log."""
    message = _head(termination)
    if message or not failed or container.get("terminationMessagePolicy") != "FallbackToLogsOnError":
        return message
    lines = [line.split(" ", 3)[3] for line in _tail(log).splitlines() if line.count(" ") >= 3]
    text = "\n".join(lines[-LOG_MESSAGE_LINES:])
    return text.encode()[-LOG_MESSAGE_LIMIT_BYTES:].decode("utf-8", errors="ignore")


def _head(file: Path) -> str:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(descriptor, MESSAGE_LIMIT_BYTES).decode("utf-8", errors="replace")
    finally:
        os.close(descriptor)


def _tail(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            opened.seek(max(0, size - 4 * LOG_MESSAGE_LIMIT_BYTES))
            return opened.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
