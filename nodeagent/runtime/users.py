"""Which user a container runs as, by the image's own user and group files.

Names belong to the image, so they are looked up in its ``/etc/passwd`` and ``/etc/group``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodeagent.isolation.ranges import RANGE_SIZE
from nodeagent.runtime.errors import ContainerConfigError
from nodeagent.runtime.image_files import read_image_file

_LIMIT_BYTES = 1 << 20
_IMAGE_IS_ROOT = "container has runAsNonRoot and image will run as root"


@dataclass(frozen=True, slots=True)
class User:
    """Numbers the container's first process gets, and its home directory."""

    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    home: str = "/"


@dataclass(frozen=True, slots=True)
class _Account:
    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True)
class _Group:
    name: str
    gid: int
    members: tuple[str, ...]


def _lines(rootfs: Path, name: str) -> list[list[str]]:
    text = (read_image_file(rootfs, f"etc/{name}", limit_bytes=_LIMIT_BYTES) or b"").decode("utf-8", errors="replace")
    return [line.split(":") for line in text.splitlines() if line and not line.startswith("#")]


def _accounts(rootfs: Path) -> list[_Account]:
    return [
        _Account(fields[0], int(fields[2]), int(fields[3]), fields[5] or "/")
        for fields in _lines(rootfs, "passwd")
        if len(fields) >= 6 and fields[2].isdecimal() and fields[3].isdecimal()
    ]


def _groups(rootfs: Path) -> list[_Group]:
    return [
        _Group(fields[0], int(fields[2]), tuple(filter(None, fields[3].split(","))))
        for fields in _lines(rootfs, "group")
        if len(fields) >= 4 and fields[2].isdecimal()
    ]


def _account(accounts: Sequence[_Account], name: str) -> _Account:
    for account in accounts:
        if account.name == name:
            return account
    if name.isdecimal():
        uid = int(name)
        return next((each for each in accounts if each.uid == uid), _Account("", uid, 0, "/"))
    raise ContainerConfigError(f"unable to find user {name}: no matching entries in the image's passwd file")


def _group_id(groups: Sequence[_Group], name: str) -> int:
    for group in groups:
        if group.name == name:
            return group.gid
    if name.isdecimal():
        return int(name)
    raise ContainerConfigError(f"unable to find group {name}: no matching entries in the image's group file")


def resolve_user(
    rootfs: Path, image_user: str, pod_context: Mapping[str, Any], context: Mapping[str, Any], *, whose: str = ""
) -> User:
    """The user of a container: its security context, else its pod's, else the image's (``user[:group]``).

    ``whose`` names pod and container in messages. Raises ContainerConfigError for unknown names, and for root where
    ``runAsNonRoot`` is set.
    """
    merged = {**pod_context, **{key: value for key, value in context.items() if value is not None}}
    accounts, groups = _accounts(rootfs), _groups(rootfs)
    name, _, group = image_user.partition(":")
    if merged.get("runAsUser") is not None:
        name, group = str(merged["runAsUser"]), ""
    account = _account(accounts, name or "0")
    gid = _group_id(groups, group) if group else account.gid
    if merged.get("runAsGroup") is not None:
        gid = int(merged["runAsGroup"])
    if merged.get("runAsNonRoot") and account.uid == 0:
        asked = merged.get("runAsUser") is not None
        why = "container's runAsUser breaks non-root policy" if asked else _IMAGE_IS_ROOT
        raise ContainerConfigError(f"{why} ({whose})" if whose else why)
    return User(account.uid, gid, _additional(pod_context, account, groups, gid), account.home)


def require_mapped(user: User) -> None:
    """Raise ContainerConfigError for ids that a pod with users of its own does not have."""
    outside = [number for number in (user.uid, user.gid, *user.additional_gids) if number >= RANGE_SIZE]
    if outside:
        message = f"id {outside[0]} is not below {RANGE_SIZE}, which the pod's own users are: set hostUsers: true"
        raise ContainerConfigError(message)


def _additional(
    pod_context: Mapping[str, Any], account: _Account, groups: Sequence[_Group], gid: int
) -> tuple[int, ...]:
    found: set[int] = set(pod_context.get("supplementalGroups") or ())
    if pod_context.get("supplementalGroupsPolicy") != "Strict" and account.name:
        found.update(group.gid for group in groups if account.name in group.members)
    if pod_context.get("fsGroup") is not None:
        found.add(int(pod_context["fsGroup"]))
    return tuple(sorted(found - {gid}))
