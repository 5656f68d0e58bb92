"""The size of a terminal that an OCI runtime made inside of a container for ``exec``.

The runtime copies between that terminal and the one that it was given, and only runc carries a changed size over. So
the size is set on the runtime's own end, of which pidfd_getfd(2) gives us a copy; the call has the same number on all
architectures.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import struct
import termios
from pathlib import Path

from nodeagent.runtime.processes import ProcessIdentity

_PIDFD_GETFD = 438
_CONTROLLING_END = "ptmx"
_libc = ctypes.CDLL(None, use_errno=True)


def set_size(terminal: int, *, width: int, height: int) -> None:
    """Set the size of a terminal that we have, in characters; its foreground processes are told. Raises OSError."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


def copy_size(terminal: int, runtime: ProcessIdentity) -> bool:
    """Give the terminal that the runtime has made the size of ours; whether there was one. Raises OSError."""
    size = fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8))
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for link in Path(f"/proc/{runtime.pid}/fd").iterdir():
            if link.readlink().name == _CONTROLLING_END:
                inner = _descriptor_of(runtime.pid, int(link.name))
                try:
                    fcntl.ioctl(inner, termios.TIOCSWINSZ, size)
                finally:
                    os.close(inner)
                return True
    return False


def _descriptor_of(pid: int, number: int) -> int:
    process = os.pidfd_open(pid)
    try:
        copied: int = _libc.syscall(_PIDFD_GETFD, process, number, 0)
        if copied < 0:
            failure = ctypes.get_errno()
            raise OSError(failure, os.strerror(failure))
        return copied
    finally:
        os.close(process)
