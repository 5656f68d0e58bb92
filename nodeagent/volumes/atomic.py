"""Directories whose files all change at once, in the kubelet's layout, which applications know how to watch.

Visible names are links through ``..data``, a link to a directory that is never changed after it has been written; an
update writes a new directory and moves ``..data`` over by one rename.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_DATA = "..data"
_STAGED_LINK = "..data_tmp"


@dataclass(frozen=True, slots=True)
class ProjectedFile:
    """One file's content and permission bits."""

    content: bytes
    mode: int


def write_files(directory: Path, files: Mapping[str, ProjectedFile], *, group: int | None = None) -> bool:
    """Make ``directory`` show exactly ``files`` (relative paths); False where it already did. Raises OSError.

    With ``group`` everything belongs to it and is readable by it (a pod's ``fsGroup``).
    """
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    directory.chmod(0o755)
    wanted = {path: ProjectedFile(file.content, _mode(file.mode, group)) for path, file in files.items()}
    data = directory / _DATA
    before = data.readlink().name if data.is_symlink() else ""
    if before and _current(directory / before) == wanted:
        return False
    stamp = datetime.now(UTC).strftime("..%Y_%m_%d_%H_%M_%S.")
    fresh = Path(tempfile.mkdtemp(prefix=stamp, dir=directory))
    _fill(fresh, wanted, group)
    staged = directory / _STAGED_LINK
    staged.unlink(missing_ok=True)
    staged.symlink_to(fresh.name)
    staged.rename(data)
    _link_names(directory, wanted)
    for old in directory.glob("..[0-9]*"):
        if old != fresh:
            shutil.rmtree(old)
    return True


def is_written(directory: Path) -> bool:
    """Whether the directory has been filled before."""
    return (directory / _DATA).exists()


def _mode(mode: int, group: int | None) -> int:
    return mode if group is None else mode | 0o440


def _current(directory: Path) -> dict[str, ProjectedFile]:
    found = {}
    for path in directory.rglob("*"):
        if path.is_file():
            mode = path.stat().st_mode & 0o7777
            found[str(path.relative_to(directory))] = ProjectedFile(path.read_bytes(), mode)
    return found


def _fill(directory: Path, files: Mapping[str, ProjectedFile], group: int | None) -> None:
    for name, file in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        if group is not None:
            os.chown(path, -1, group)
        path.chmod(file.mode)
    for inner in (directory, *(path for path in directory.rglob("*") if path.is_dir())):
        inner.chmod(0o755 if group is None else 0o2755)
        if group is not None:
            os.chown(inner, -1, group)


def _link_names(directory: Path, files: Mapping[str, ProjectedFile]) -> None:
    """One link for each first component; those of files that are gone are taken away after the switch."""
    wanted = {name.partition("/")[0] for name in files}
    for name in wanted:
        link = directory / name
        if not link.is_symlink():
            link.symlink_to(f"{_DATA}/{name}")
    for link in directory.iterdir():
        if link.is_symlink() and link.name != _DATA and link.name not in wanted:
            link.unlink()
