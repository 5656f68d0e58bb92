"""``flotilla agent`` that kills itself, as power or an operator would, right before a chosen effect on the machine.

Between two effects (a file made, renamed or removed, a mount, a program started, a signal, a netlink message, a change
of the firewall) nothing changes but the process's own memory, which a kill takes whole. So dying before each effect in
turn stands for dying at every instruction.

    python dying_agent.py COMMANDS TRACE agent OPTION...

COMMANDS is a named pipe: a line with a number arms a countdown to that effect, 0 counts without dying. Each effect from
then on is a line in TRACE, written before it happens; so is ``armed``.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
AUDITED = {
    "os.chmod",
    "os.chown",
    "os.link",
    "os.mkdir",
    "os.posix_spawn",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.setxattr",
    "os.symlink",
    "os.truncate",
    "os.utime",
    "os.kill",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
    "socket.sendto",
    "socket.sendmsg",
}


class Countdown:
    """Counts effects from ``arm`` on; the process dies before the one asked for."""

    def __init__(self, trace: Path) -> None:
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._write = os.write
        self._guard = threading.Lock()
        self._armed = False
        self._count = self._fatal = 0

    def arm(self, fatal: int) -> None:
        self._write(self._trace, b"armed\n")
        self._count, self._fatal, self._armed = 0, fatal, True

    def effect(self, what: str) -> None:
        if not self._armed:
            return
        with self._guard:
            self._count += 1
            self._write(self._trace, what.replace("\n", " ").encode(errors="replace")[:200] + b"\n")
            if self._count == self._fatal:
                os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._armed:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITING and str(path) != os.devnull:
                self.effect(f"open {path}")
        elif event in AUDITED and not (event == "os.kill" and arguments[0] == os.getpid()):
            self.effect(f"{event} {arguments[0]}")


def watch(countdown: Countdown) -> None:
    """Let the countdown see every effect; to be called before anything of the agent is imported."""
    sys.addaudithook(countdown.audit)
    for module, name in ((os, "write"), (os, "fsync"), (os, "mknod"), (signal, "pidfd_send_signal")):
        setattr(module, name, _counted(getattr(module, name), name, countdown))
    ctypes.CDLL = _library(countdown)  # type: ignore[misc]
    Path.write_bytes = _write_bytes(countdown)  # type: ignore[method-assign]
    Path.write_text = _write_text(countdown)  # type: ignore[method-assign]
    send = socket.socket.send

    def counted_send(self: socket.socket, *arguments: Any) -> int:
        if self.family == socket.AF_NETLINK:
            countdown.effect("netlink")
        return send(self, *arguments)

    socket.socket.send = counted_send  # type: ignore[assignment,method-assign]


def _counted(function: Callable[..., Any], name: str, countdown: Countdown) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        countdown.effect(f"{name} {arguments[0] if name == 'mknod' else ''}")
        return function(*arguments, **named)

    return call


def _write_bytes(countdown: Countdown) -> Callable[..., int]:
    """A file is there, and empty, before its content is."""

    def write_bytes(self: Path, data: bytes) -> int:
        with self.open("wb", buffering=0) as file:
            countdown.effect(f"content of {self}")
            return file.write(data) or 0

    return write_bytes


def _write_text(countdown: Countdown) -> Callable[..., int]:
    def write_text(self: Path, data: str, encoding: str | None = None, *_: Any) -> int:
        with self.open("w", encoding=encoding or "utf-8") as file:
            countdown.effect(f"content of {self}")
            return file.write(data)

    return write_text


def _library(countdown: Countdown) -> type[ctypes.CDLL]:
    class Library(ctypes.CDLL):
        """A library whose every call is an effect."""

        def __init__(self, name: str | None, *arguments: Any, **named: Any) -> None:
            super().__init__(name, *arguments, **named)
            plain: Any = self._FuncPtr

            class Counted(plain):  # type: ignore[misc]
                _flags_, _restype_ = plain._flags_, plain._restype_

                def __call__(self, *arguments: Any) -> Any:
                    text = next((each for each in arguments if isinstance(each, bytes)), b"")
                    countdown.effect(f"{self.__name__} {text.decode(errors='replace')}")
                    return super().__call__(*arguments)

            self._FuncPtr = Counted

    return Library


def obey(commands: Path, countdown: Countdown) -> None:
    """Arm the countdown for each number that comes through the pipe."""
    while True:
        with commands.open(encoding="ascii") as lines:
            for line in lines:
                countdown.arm(int(line))


if __name__ == "__main__":
    the_countdown = Countdown(Path(sys.argv[2]))
    watch(the_countdown)
    threading.Thread(target=obey, args=(Path(sys.argv[1]), the_countdown), daemon=True).start()
    from flotilla.cli.main import main

    sys.argv = ["flotilla", *sys.argv[3:]]
    main()
