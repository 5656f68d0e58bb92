"""Network namespaces pinned by bind mounts, and how this process reaches into them.

A thread that changes its namespace can't safely go back to other work (Python 3.11 has no ``setns`` either): each
entry is made by a thread of its own that ends right after it has opened what is needed. The network of a pod with
users of its own belongs to their user namespace, which only another process can make.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from nodeagent.isolation.namespaces import own_namespaces
from nodeagent.isolation.ranges import PodUsers
from nodeagent.mounts import MS_BIND, mount, unmount
from nodeagent.network.netlink import Netlink

Opened = TypeVar("Opened")

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def create_namespace(pin: Path) -> Netlink:
    """A new network namespace, pinned at ``pin``; returns a netlink socket inside it. Raises OSError."""

    def enter() -> Netlink:
        _check(_libc.unshare(_CLONE_NEWNET), "unshare")
        _pin(Path("/proc/thread-self/ns/net"), pin)
        return Netlink()

    return _in_own_thread(enter)


def create_owned_namespace(pin: Path, users: PodUsers) -> Netlink:
    """Like :func:`create_namespace`, for a pod whose user namespace is made with it and pinned where ``users`` says."""
    with own_namespaces(users.first_id) as made:
        _pin(made / "user", Path(users.namespace))
        _pin(made / "net", pin)

    def enter() -> Netlink:
        _enter(pin)
        return Netlink()

    return _in_own_thread(enter)


def open_socket(pin: Path, family: socket.AddressFamily) -> socket.socket:
    """A TCP socket of the namespace pinned at ``pin``; it stays in there whoever uses it. Raises OSError."""

    def enter() -> socket.socket:
        _enter(pin)
        return socket.socket(family, socket.SOCK_STREAM)

    return _in_own_thread(enter)


def _pin(namespace: Path, pin: Path) -> None:
    pin.touch()
    mount(namespace, pin, flags=MS_BIND)


def _enter(pin: Path) -> None:
    with pin.open("rb") as namespace:
        _check(_libc.setns(namespace.fileno(), _CLONE_NEWNET), f"enter {pin}")


def is_pinned(pin: Path) -> bool:
    """Whether a namespace is mounted at ``pin`` (a bare file is left after a reboot)."""
    try:
        return pin.stat().st_dev != pin.parent.stat().st_dev
    except FileNotFoundError:
        return False


def unpin(pin: Path) -> None:
    """Take the pin away: the namespace, a network with its links, goes with the last process in it. Idempotent."""
    while is_pinned(pin):
        unmount(pin)
    pin.unlink(missing_ok=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)} ({errno.errorcode.get(number, number)})")


def _in_own_thread(enter: Callable[[], Opened]) -> Opened:
    outcome: list[Opened | BaseException] = []

    def run() -> None:
        try:
            outcome.append(enter())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, name="namespace-entry")
    thread.start()
    thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]
