"""A node's network in a namespace of its own, for tests that would otherwise touch the machine's."""

from __future__ import annotations

import ctypes
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")


class Node:
    """Runs functions in one thread that has a network namespace to itself, as has all that it starts."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, initializer=self._enter)
        self.run(lambda: self.command("ip link set lo up"))

    @staticmethod
    def _enter() -> None:
        assert _libc.unshare(_CLONE_NEWNET) == 0

    def run(self, function: Callable[[], T]) -> T:
        return self._thread.submit(function).result()

    def command(self, *lines: str) -> str:
        """Shell lines in the node; for use inside ``run`` and outside."""
        script = "\n".join(lines)
        if threading.current_thread().name.startswith("ThreadPoolExecutor"):
            return subprocess.run(script, shell=True, check=True, capture_output=True, text=True).stdout
        return self.run(lambda: self.command(script))

    def close(self) -> None:
        self._thread.shutdown()


@contextmanager
def new_node() -> Iterator[Node]:
    node = Node()
    try:
        yield node
    finally:
        node.close()


def in_pod(namespace: Path, function: Callable[[], T]) -> T:
    """Run ``function`` in the network namespace pinned at ``namespace``, in a thread of its own."""
    outcome: list[T | BaseException] = []

    def enter() -> None:
        try:
            with namespace.open("rb") as pin:
                assert _libc.setns(pin.fileno(), _CLONE_NEWNET) == 0
            outcome.append(function())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


class Greeter:
    """A server that greets each connection with its name and the client's address, then echoes.

    The sockets belong to the namespace where the greeter is made.
    """

    def __init__(self, name: str, address: str = "0.0.0.0", port: int = 8080) -> None:
        self._name = name
        self._socket = socket.create_server((address, port))
        self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._datagrams.bind((address, port))
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept), threading.Thread(target=self._receive)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        for each in (self._socket, self._datagrams, *self._connections):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, client = self._socket.accept()
            except OSError:
                return
            self._connections.append(connection)
            connection.sendall(f"{self._name} {client[0]}\n".encode())
            echo = threading.Thread(target=self._echo, args=(connection,))
            echo.start()
            self._threads.append(echo)

    @staticmethod
    def _echo(connection: socket.socket) -> None:
        try:
            while data := connection.recv(1024):
                connection.sendall(data)
        except OSError:
            pass

    def _receive(self) -> None:
        while True:
            try:
                _, client = self._datagrams.recvfrom(1024)
                if self._datagrams.fileno() < 0 or client is None:
                    return
                self._datagrams.sendto(f"{self._name} {client[0]}\n".encode(), client)
            except (OSError, TypeError):
                return


def greet(address: str, port: int, *, timeout_s: float = 2.0) -> str:
    """What the server behind an address greets with. Raises OSError."""
    with socket.create_connection((address, port), timeout=timeout_s) as connection:
        return connection.makefile().readline().strip()


def greet_by_datagram(client: socket.socket, address: str, port: int) -> str:
    """What the server answers to a datagram from ``client``. Raises OSError."""
    client.settimeout(2.0)
    client.sendto(b"hello", (address, port))
    return client.recv(1024).decode().strip()
