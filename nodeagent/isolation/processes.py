"""Process namespaces that the containers of a pod share: made when first needed, and again if their first process dies.

Which process is the first one of which pod is kept in a file, so that an agent started again, or one that only clears
up, knows it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nodeagent.isolation import first_process
from nodeagent.isolation.ranges import PodUsers
from nodeagent.runtime.processes import ProcessIdentity

_TIMEOUT_S = 10.0
_DEATH_TIMEOUT_MILLIS = 2000


def shares_processes(pod: Mapping[str, Any]) -> bool:
    """Whether the pod's containers see each other's processes."""
    return bool(pod["spec"].get("shareProcessNamespace"))


def outlives_its_first(pod: Mapping[str, Any], container: Mapping[str, Any]) -> bool:
    """Whether processes of a container may go on when its first has ended, because they are in another's namespace."""
    return bool(shares_processes(pod) or pod["spec"].get("hostPID") or container.get("targetContainerName"))


class ProcessNamespaces:
    """The shared process namespaces of a node's pods; ``place(uid)`` is a pod's file. Methods block."""

    def __init__(self, place: Callable[[str], Path], *, supervise: Callable[[str, int], None]) -> None:
        self._place, self._supervise = place, supervise
        self._guard = threading.Lock()
        self._supervised: set[ProcessIdentity] = set()

    def ensure(self, uid: str, *, users: PodUsers | None, netns: str) -> Path:
        """The pod's process namespace. Raises OSError."""
        with self._guard:
            first = self._first(uid)
            if first is None or not first.alive:
                file = self._place(uid)
                file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                _make(users.namespace if users else "", netns, file)
                first = self._first(uid)
            if first is None:
                raise OSError("cannot make a process namespace for the pod: its first process is gone")
            if first not in self._supervised:
                self._supervise(uid, first.pid)
                self._supervised.add(first)
            return Path(f"/proc/{first.pid}/ns/pid")

    def end(self, uid: str) -> None:
        """End the first process, and with it all that are left in the namespace; repeatable."""
        first = self._first(uid)
        if first is not None:
            with contextlib.suppress(OSError):
                descriptor = os.pidfd_open(first.pid)
                try:
                    if first.send(signal.SIGKILL):
                        waiting = select.poll()
                        waiting.register(descriptor, select.POLLIN)
                        waiting.poll(_DEATH_TIMEOUT_MILLIS)
                finally:
                    os.close(descriptor)
            self._place(uid).unlink(missing_ok=True)
            self._supervised.discard(first)

    def _first(self, uid: str) -> ProcessIdentity | None:
        try:
            pid, ticks = self._place(uid).read_text(encoding="ascii").split()
        except (FileNotFoundError, ValueError):
            return None
        return ProcessIdentity(int(pid), int(ticks))


def _make(users: str, netns: str, note: Path) -> None:
    command = [sys.executable, "-I", "-S", first_process.__file__, users, netns, str(note)]
    try:
        subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    except subprocess.CalledProcessError as error:
        raise OSError(f"cannot make a process namespace for the pod: {error.stderr.strip()}") from error
    except subprocess.TimeoutExpired as error:
        raise OSError(f"cannot make a process namespace for the pod: {error}") from error
