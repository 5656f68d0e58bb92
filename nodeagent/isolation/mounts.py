"""Mounts of what is mounted already, with owners translated to a pod's own users (mount_setattr(2), idmapped mounts).

On disk, owners are the ids that a container sees: image layers stay shared between pods of different ranges, and a
volume can go from one pod to the next. runc 1.1 passes over mappings of single mounts, so the mount that a container is
given, or that its root file system is stacked from, has been made beforehand and from here. The calls have the same
numbers on all architectures.

Through such a mount the node's own root can't create anything: it is nobody there. What has to be made is made by
the path below.
"""

from __future__ import annotations

import ctypes
import os
import stat
from pathlib import Path

from nodeagent.isolation.ranges import PodUsers
from nodeagent.mounts import MS_PRIVATE

_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC, _MOVE_MOUNT_F_EMPTY_PATH = 1, os.O_CLOEXEC, 4
_MOUNT_ATTR_READ_ONLY, _MOUNT_ATTR_IDMAP = 1, 0x0010_0000
_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("namespace", ctypes.c_uint64),
    )


def bind(
    source: Path | int, target: Path, *, users: PodUsers | None, propagate: bool = False, readonly: bool = False
) -> None:
    """Mount ``source``, a path or an open descriptor, on ``target``, which is made; with ``users`` as theirs.

    With ``propagate``, mounts that appear below the source later appear here too; with ``readonly``, neither it nor
    what is mounted below it can be written. Raises OSError; EINVAL where the file system can't translate owners, ENOSYS
    where the kernel can't change mounts together (before Linux 5.12).
    """
    tree = _clone(source)
    try:
        if stat.S_ISDIR(os.fstat(tree).st_mode):
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        namespace = os.open(users.namespace, os.O_RDONLY | os.O_CLOEXEC) if users else -1
        try:
            _set(tree, namespace, private=not propagate, readonly=readonly)
        finally:
            if namespace >= 0:
                os.close(namespace)
        _call(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(tree)


def require_mappable(path: Path, namespace: int, *, with_mounts: bool) -> None:
    """Raise OSError if ``path``, ``with_mounts`` also what is mounted below it, can't be mounted as other users'."""
    tree = _clone(path, recursive=with_mounts)
    try:
        _set(tree, namespace, private=True)
    finally:
        os.close(tree)


def _clone(source: Path | int, *, recursive: bool = True) -> int:
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    if isinstance(source, int):
        return _call(_OPEN_TREE, source, b"", flags | _AT_EMPTY_PATH)
    return _call(_OPEN_TREE, _AT_FDCWD, os.fsencode(source), flags, path=source)


def _set(tree: int, namespace: int, *, private: bool, readonly: bool = False) -> None:
    attributes = _MountAttributes(propagation=MS_PRIVATE if private else 0)
    if readonly:
        attributes.set = _MOUNT_ATTR_READ_ONLY
    if namespace >= 0:
        attributes.set, attributes.namespace = attributes.set | _MOUNT_ATTR_IDMAP, namespace
    size = ctypes.sizeof(attributes)
    _call(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, ctypes.byref(attributes), size)


def _call(number: int, *arguments: object, path: Path | None = None) -> int:
    result: int = _libc.syscall(number, *arguments)
    if result < 0:
        failure = ctypes.get_errno()
        raise OSError(failure, os.strerror(failure), str(path) if path else None)
    return result
