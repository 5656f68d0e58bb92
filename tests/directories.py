"""A temporary directory that other users may pass through, as a node's are; pytest's own let only their owner in."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nodeagent.volumes.mounts import unmount_below


@contextmanager
def passable_directory() -> Iterator[Path]:
    """An empty directory, removed afterwards with all that has been left mounted below it."""
    directory = Path(tempfile.mkdtemp(prefix="flotilla-test-", dir="/var/tmp"))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        unmount_below(directory)
        shutil.rmtree(directory)
