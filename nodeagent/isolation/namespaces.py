"""Making a user namespace, and a network namespace that belongs to it.

A process with threads can't enter another user namespace, and what the kernel lets the root of a pod do to a network
depends on whose it is. So both are made by a small process that does nothing else: ``unshare`` (util-linux), which then
becomes a ``cat`` that answers one byte. It is gone 2 ms later; the namespaces live by what has been opened or pinned.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nodeagent.isolation.ranges import RANGE_SIZE
from nodeagent.runtime.processes import spawn

_READY = b"\0"
_MESSAGE_BYTES = 4096


@contextmanager
def own_namespaces(first_id: int) -> Iterator[Path]:
    """``/proc/<pid>/ns`` of a process with new user and network namespaces, whose ids begin at ``first_id``.

    It ends with the context. Raises OSError where the kernel refuses.
    """
    asking, ours = os.pipe2(os.O_CLOEXEC)
    answers, telling = os.pipe2(os.O_CLOEXEC)
    pid = 0
    try:
        try:
            command = [_program("unshare"), "--user", "--net", "--", _program("cat")]
            pid = spawn(command, descriptors={0: asking, 1: telling, 2: telling})
        finally:
            os.close(asking)
            os.close(telling)
        _await_ready(ours, answers)
        process = Path(f"/proc/{pid}")
        for name in ("uid_map", "gid_map"):
            (process / name).write_text(f"0 {first_id} {RANGE_SIZE}", encoding="ascii")
        yield process / "ns"
    finally:
        os.close(ours)
        os.close(answers)
        if pid:
            os.waitpid(pid, 0)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    return found


def _await_ready(ours: int, answers: int) -> None:
    try:
        os.write(ours, _READY)
    except BrokenPipeError:
        pass
    answer = os.read(answers, _MESSAGE_BYTES)
    if answer != _READY:
        message = answer.decode("utf-8", errors="replace").strip() or "unshare ended"
        raise OSError(errno.EPERM, f"cannot make a user namespace: {message}")
