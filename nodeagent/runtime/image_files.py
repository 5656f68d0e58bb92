"""Reading files of an image's root file system, whatever the image has put in their place.

An image decides what a link in it points to and what kind of file a name is: nothing outside of the root is opened, and
a named pipe, at which an ordinary open waits for ever, is no file.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def read_image_file(rootfs: Path, path: str, *, limit_bytes: int) -> bytes | None:
    """The beginning of the regular file at ``path``, relative or absolute in the image; None where there is none."""
    try:
        file = (rootfs / path.lstrip("/")).resolve(strict=True)
        if not file.is_relative_to(rootfs.resolve()):
            return None
        descriptor = os.open(file, _FLAGS)
    except (OSError, RuntimeError):
        return None
    try:
        return os.read(descriptor, limit_bytes) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    except OSError:
        return None
    finally:
        os.close(descriptor)
