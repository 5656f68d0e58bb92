"""Writing a layer's archive entries below ``/`` of a process whose root is the layer's directory.

Paths are plain strings: a large image has hundreds of thousands of entries.
"""

# ruff: noqa: PTH101, PTH102, PTH108, PTH112, PTH114, PTH115, PTH118, PTH211

from __future__ import annotations

import errno
import math
import os
import shutil
import stat
import tarfile
from collections import deque
from collections.abc import Sequence

from nodeagent.images.file_writer import FileWriter, LayerError
from nodeagent.images.lower import OPAQUE_ATTRIBUTE, LowerLayers, is_whiteout

_WHITEOUT_PREFIX = ".wh."
_OPAQUE_NAME = ".wh..wh..opq"
_LINK_LIMIT = 40
_PATH_LIMIT = 4096
_ID_LIMIT = 2**32 - 2
_TIME_LIMIT_NS = 2**63 - 1
_DIRECTORY_BYTES = 4096
_SHOWN_LENGTH = 120
_XATTR_KEY = "SCHILY.xattr."
_XATTRS_KEPT = ("user.", "security.capability")
_XATTRS_REFUSED = ("user.overlay.",)
# A container gets its own /dev; only these have a place elsewhere in an image (Linux, admin-guide/devices).
_HARMLESS_DEVICES = frozenset({(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)})


class LayerWriter:
    """Applies archive entries in their order. Directory times are set last, when nothing changes them any more."""

    def __init__(self, lowers: LowerLayers, files: FileWriter, *, limit_entries: int) -> None:
        self._lowers, self._files = lowers, files
        self._limit_entries = limit_entries
        self._opaque: set[str] = set()
        self._parents: dict[tuple[str, ...], str] = {}
        self._directory_times: dict[str, int] = {}

    def write(self, tar: tarfile.TarFile) -> None:
        """Apply all entries of ``tar``. Raises :class:`LayerError`, with the entry's name where it is about one."""
        status = self._lowers.root_status()
        _apply_status("/", status) if status else os.chmod("/", 0o755)
        for position, member in enumerate(tar):
            tar.members = []  # type: ignore[attr-defined]
            if position >= self._limit_entries:
                raise LayerError(f"the layer has more than {self._limit_entries} entries")
            try:
                self._write_member(tar, member)
            except OSError as error:
                raise LayerError(f"{_shown(member.name)}: {_explained(error)}") from error
        while self._opaque:
            self._finish_opaque(self._opaque.pop())
        for path, time_ns in self._directory_times.items():
            if os.path.isdir(path) and not os.path.islink(path):
                os.utime(path, ns=(time_ns, time_ns))

    def _write_member(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        parts = _clean(member.name)
        if not parts:
            if member.isdir():
                self._apply("/", member)
            return
        parent = self._parent(parts[:-1], member.name)
        name = parts[-1]
        if name == _OPAQUE_NAME:
            self._opaque.add(parent)
        elif name.startswith(_WHITEOUT_PREFIX):
            self._whiteout(parent, name.removeprefix(_WHITEOUT_PREFIX), member.name)
        else:
            self._create(tar, member, os.path.join(parent, name))

    def _whiteout(self, parent: str, name: str, entry: str) -> None:
        """Hide ``name`` of the layers below; what this layer itself puts there stays."""
        if name in ("", ".", ".."):
            raise LayerError(f"{entry!r} deletes no file")
        path = os.path.join(parent, name)
        status = _lstat(path)
        if status is None:
            # A mark with nothing below it to hide would itself be seen in directories that are not merged.
            if self._lowers.status(path.strip("/").split("/")) is not None:
                os.mknod(path, stat.S_IFCHR, 0)
        elif stat.S_ISDIR(status.st_mode):
            self._opaque.add(path)

    def _create(self, tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
        before = _lstat(path)
        if member.isdir():
            self._create_directory(member, path, before)
            return
        if member.islnk() and self._resolve(member.linkname, member.name) == path:
            return
        if before is not None:
            self._remove(path, before)
        if member.isreg():
            self._files.write_member(path, tar, member)
        elif member.issym():
            os.symlink(member.linkname, path)
        elif member.islnk():
            os.link(self._link_source(member), path, follow_symlinks=False)
            return
        elif not self._create_special(member, path):
            return
        self._apply(path, member)

    def _finish_opaque(self, path: str) -> None:
        """Hide all that the layers below have in a directory, now that it is known what this layer has there.

        overlayfs does not look for its mark at the root of a layer: there each name is hidden by itself.
        """
        if path == "/":
            for name in self._lowers.root_names():
                self._whiteout("/", name, "/" + _OPAQUE_NAME)
        elif (status := _lstat(path)) is not None and stat.S_ISDIR(status.st_mode):
            os.setxattr(path, OPAQUE_ATTRIBUTE, b"y")
            for directory, _, names in os.walk(path):
                for found in (os.path.join(directory, name) for name in names):
                    if is_whiteout(os.lstat(found)):
                        os.unlink(found)

    def _create_directory(self, member: tarfile.TarInfo, path: str, before: os.stat_result | None) -> None:
        self._files.take(_DIRECTORY_BYTES)
        if before is not None and not stat.S_ISDIR(before.st_mode):
            self._remove(path, before)
            before = None
            os.mkdir(path)
            self._opaque.add(path)
        elif before is None:
            os.mkdir(path)
        self._apply(path, member)

    def _create_special(self, member: tarfile.TarInfo, path: str) -> bool:
        if member.isfifo():
            os.mkfifo(path)
            return True
        if not (member.ischr() or member.isblk()):
            raise LayerError(f"{member.name!r} has the unknown type {member.type!r}")
        if path.startswith("/dev/"):
            return False
        if member.isblk() or (member.devmajor, member.devminor) not in _HARMLESS_DEVICES:
            raise LayerError(f"{member.name!r} is a device ({member.devmajor}:{member.devminor}), which is refused")
        os.mknod(path, stat.S_IFCHR, os.makedev(member.devmajor, member.devminor))
        return True

    def _remove(self, path: str, status: os.stat_result) -> None:
        self._parents.clear()
        if stat.S_ISDIR(status.st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)

    def _resolve(self, name: str, entry: str) -> str:
        parts = _clean(name)
        if not parts:
            raise LayerError(f"{entry!r} links to no file")
        return os.path.join(self._parent(parts[:-1], entry), parts[-1])

    def _link_source(self, member: tarfile.TarInfo) -> str:
        """The path of a hard link's target, copied from below if the layer itself does not hold it."""
        source = self._resolve(member.linkname, member.name)
        here = _lstat(source)
        parts = source.strip("/").split("/")
        status = here or self._lowers.status(parts)
        if status is None or is_whiteout(status):
            raise LayerError(f"{member.name!r} links to {member.linkname!r}, which does not exist")
        if stat.S_ISDIR(status.st_mode):
            raise LayerError(f"{member.name!r} is a hard link to the directory {member.linkname!r}")
        if here is None:
            self._copy_up(source, parts, status)
        return source

    def _copy_up(self, path: str, parts: Sequence[str], status: os.stat_result) -> None:
        """Make ``path`` what it is in the layers below."""
        if stat.S_ISLNK(status.st_mode):
            os.symlink(self._lowers.read_link(parts), path)
            os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)
        elif stat.S_ISREG(status.st_mode):
            with os.fdopen(self._lowers.open_file(parts), "rb") as content:
                self._files.write_copy(path, content)
                _apply_status(path, status)
                for attribute in os.listxattr(content.fileno()):
                    if attribute.startswith(_XATTRS_KEPT):
                        os.setxattr(path, attribute, os.getxattr(content.fileno(), attribute))
        else:
            os.mknod(path, status.st_mode, status.st_rdev)
            _apply_status(path, status)
        os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns), follow_symlinks=False)

    def _parent(self, parts: Sequence[str], entry: str) -> str:
        """The real directory, inside this layer, that ``parts`` lead to; copied from below where missing."""
        key = tuple(parts)
        known = self._parents.get(key)
        if known is None:
            known = self._parents[key] = self._walk(parts, entry)
        return known

    def _walk(self, parts: Sequence[str], entry: str) -> str:
        resolved: list[str] = []
        pending = deque(parts)
        links = 0
        while pending:
            name = pending.popleft()
            if name == "..":
                del resolved[-1:]
            elif name not in ("", "."):
                status = self._ensure([*resolved, name])
                path = "/" + "/".join([*resolved, name])
                if stat.S_ISLNK(status.st_mode):
                    links += 1
                    target = os.readlink(path)
                    if target.startswith("/"):
                        resolved.clear()
                    pending.extendleft(reversed(target.split("/")))
                elif stat.S_ISDIR(status.st_mode):
                    resolved.append(name)
                else:
                    raise LayerError(f"{entry!r}: {path} is not a directory")
            if links > _LINK_LIMIT:
                raise LayerError(f"{entry!r}: too many links on the way")
        return "/" + "/".join(resolved)

    def _ensure(self, parts: Sequence[str]) -> os.stat_result:
        """What is at the path, made a directory (or the link that the layers below have) if nothing is."""
        path = "/" + "/".join(parts)
        status = _lstat(path)
        if status is not None and not is_whiteout(status):
            return status
        if status is not None:
            os.unlink(path)
            os.mkdir(path, 0o755)
            self._opaque.add(path)
            return os.lstat(path)
        below = self._lowers.status(parts)
        if below is not None and stat.S_ISLNK(below.st_mode):
            os.symlink(self._lowers.read_link(parts), path)
        else:
            os.mkdir(path, 0o755)
            if below is not None and stat.S_ISDIR(below.st_mode):
                _apply_status(path, below)
                self._directory_times[path] = below.st_mtime_ns
        return os.lstat(path)

    def _apply(self, path: str, member: tarfile.TarInfo) -> None:
        if not (0 <= member.uid <= _ID_LIMIT and 0 <= member.gid <= _ID_LIMIT):
            raise LayerError(f"{member.name!r} has an impossible owner {member.uid}:{member.gid}")
        os.chown(path, member.uid, member.gid, follow_symlinks=False)
        if not member.issym():
            # After chown, which clears set-id bits.
            os.chmod(path, member.mode & 0o7777)
        for key, value in member.pax_headers.items():
            attribute = key.removeprefix(_XATTR_KEY)
            if attribute != key and not member.issym():
                _set_attribute(path, attribute, value.encode("utf-8", "surrogateescape"))
        time_ns = _time_ns(member)
        if member.isdir():
            self._directory_times[path] = time_ns
        else:
            os.utime(path, ns=(time_ns, time_ns), follow_symlinks=False)


def _clean(name: str) -> list[str]:
    """The components of an entry's name. Raises :class:`LayerError` where it would leave the layer."""
    if len(name) > _PATH_LIMIT or "\0" in name:
        raise LayerError(f"an entry's name is not a path: {_shown(name)}")
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if not parts:
                raise LayerError(f"{name!r} leads out of the layer")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return parts


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def _set_attribute(path: str, attribute: str, value: bytes) -> None:
    """Set an attribute that images may have. One of ``user`` is left out where the file system has none of these."""
    if not attribute.startswith(_XATTRS_KEPT) or attribute.startswith(_XATTRS_REFUSED):
        return
    try:
        os.setxattr(path, attribute, value, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.ENOTSUP or not attribute.startswith("user."):
            raise


def _time_ns(member: tarfile.TarInfo) -> int:
    """The entry's time in nanoseconds, as far as a file can have it."""
    if not math.isfinite(member.mtime):
        raise LayerError(f"{_shown(member.name)} has the impossible time {member.mtime}")
    return min(max(0, int(member.mtime * 1_000_000_000)), _TIME_LIMIT_NS)


def _shown(name: str) -> str:
    return repr(name if len(name) <= _SHOWN_LENGTH else name[:_SHOWN_LENGTH] + "...")


def _explained(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full: make room on the node, or remove images that nothing uses (flotilla image prune)"
    return error.strerror or str(error)


def _apply_status(path: str, status: os.stat_result) -> None:
    os.chown(path, status.st_uid, status.st_gid)
    os.chmod(path, stat.S_IMODE(status.st_mode))
