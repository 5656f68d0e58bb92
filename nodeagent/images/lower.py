"""Looking up paths in the layers below the one that is being unpacked.

The layers are reached through directory descriptors opened before the change of root, one component at a time and
never through a link, so that a lookup can't leave them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

OPAQUE_ATTRIBUTE = "trusted.overlay.opaque"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def is_whiteout(status: os.stat_result) -> bool:
    """Overlayfs's mark for a name that is deleted from the layers below: a character device 0:0."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


@dataclass(frozen=True, slots=True)
class _Found:
    """A visible entry: its directory's descriptor, valid during the lookup, its name and what it is."""

    parent: int
    name: str
    status: os.stat_result


class LowerLayers:
    """The stack below a layer, top first. Paths are sequences of components without ``..``."""

    def __init__(self, directories: Sequence[str]) -> None:
        self._roots = [os.open(directory, _DIRECTORY) for directory in directories]

    def close(self) -> None:
        for descriptor in self._roots:
            os.close(descriptor)

    def root_names(self) -> set[str]:
        """All names in the roots of the stack; some may be hidden by a layer above theirs."""
        return {name for root in self._roots for name in os.listdir(root)}

    def root_status(self) -> os.stat_result | None:
        return os.fstat(self._roots[0]) if self._roots else None

    def status(self, parts: Sequence[str]) -> os.stat_result | None:
        """What the path is in the merged stack, or None where nothing is visible."""
        with self._lookup(parts) as found:
            return found.status if found else None

    def read_link(self, parts: Sequence[str]) -> str:
        """The target of the symbolic link at the path. Raises FileNotFoundError."""
        with self._lookup(parts) as found:
            if found is None:
                raise FileNotFoundError("/".join(parts))
            return os.readlink(found.name, dir_fd=found.parent)

    def open_file(self, parts: Sequence[str]) -> int:
        """A descriptor to read the regular file at the path. Raises FileNotFoundError."""
        with self._lookup(parts) as found:
            if found is None:
                raise FileNotFoundError("/".join(parts))
            return os.open(found.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=found.parent)

    @contextmanager
    def _lookup(self, parts: Sequence[str]) -> Iterator[_Found | None]:
        opened: list[int] = []
        try:
            for root in self._roots:
                found, hidden = _find_in(root, parts, opened=opened)
                if found or hidden:
                    yield found
                    return
            yield None
        finally:
            for descriptor in opened:
                os.close(descriptor)


def _find_in(root: int, parts: Sequence[str], *, opened: list[int]) -> tuple[_Found | None, bool]:
    """The entry in one layer, and whether this layer hides what lies below it at that path."""
    current, hidden = root, False
    for position, name in enumerate(parts):
        try:
            status = os.stat(name, dir_fd=current, follow_symlinks=False)
        except FileNotFoundError:
            return None, hidden
        if is_whiteout(status):
            return None, True
        if position == len(parts) - 1:
            return _Found(current, name, status), hidden
        if not stat.S_ISDIR(status.st_mode):
            return None, True
        current = os.open(name, _DIRECTORY, dir_fd=current)
        opened.append(current)
        hidden = hidden or _is_opaque(current)
    return None, hidden


def _is_opaque(directory: int) -> bool:
    try:
        return os.getxattr(directory, OPAQUE_ATTRIBUTE) == b"y"
    except OSError:
        return False
