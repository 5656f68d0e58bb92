"""Somebody who uses one kubectl, at a terminal too."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.cluster import Kubectl, until

DEADLINE_S = 30.0


class Terminal:
    """A terminal with a program that has it as its own, so that keys and changes of size reach the program."""

    def __init__(self, command: list[str], *, rows: int, columns: int) -> None:
        self._ours, theirs = pty.openpty()
        self.resize(rows, columns)
        own = ["setsid", "--ctty", *command]
        self.process = subprocess.Popen(own, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.seen = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def read_until(self, text: str) -> str:
        """What comes up to and with ``text``; what comes after it is kept."""
        deadline, wanted = time.monotonic() + DEADLINE_S, text.encode()
        while wanted not in self.seen:
            ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, self.seen
            self.seen += os.read(self._ours, 4096)
        shown, _, self.seen = self.seen.partition(wanted)
        return (shown + wanted).decode()

    def close(self) -> None:
        """End the program if it runs still."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(DEADLINE_S)
        os.close(self._ours)


class User:
    """One kubectl in a namespace."""

    def __init__(self, kubectl: Kubectl, namespace: str) -> None:
        self._kubectl, self._namespace = kubectl, namespace
        self.version, self.cluster = kubectl.version, kubectl.cluster

    def __call__(self, *arguments: str, code: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        result = self._kubectl("-n", self._namespace, *arguments, stdin=stdin, check=False)
        assert result.returncode == code, result.stderr
        return result

    def command(self, *arguments: str) -> list[str]:
        program = [str(self._kubectl.program), f"--kubeconfig={self.cluster.kubeconfig}", "-n", self._namespace]
        return self.cluster.command(*program, *arguments)

    @contextmanager
    def terminal(self, *arguments: str, rows: int = 24, columns: int = 80) -> Iterator[Terminal]:
        """kubectl with ``arguments`` at a terminal of its own."""
        terminal = Terminal(self.command(*arguments), rows=rows, columns=columns)
        try:
            yield terminal
        finally:
            terminal.close()

    @contextmanager
    def running(self, log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """kubectl with ``arguments`` beside the test, its output in ``log``; ended at the end."""
        with log.open("wb") as output:
            process = subprocess.Popen(self.command(*arguments), stdout=output, stderr=output)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(DEADLINE_S)

    def curl(self, port: int) -> subprocess.Popen[str]:
        """Ask what is forwarded to ``port``."""
        command = self.cluster.command("curl", "-s", "-m", "10", f"http://127.0.0.1:{port}/")
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def value(self, what: str, path: str) -> str:
        """A field of an object as text, empty where there is none."""
        return self("get", *what.split(), "-o", f"jsonpath={{{path}}}").stdout

    def until_ready(self, *pods: str) -> None:
        self("wait", "--for=condition=Ready", *(f"pod/{pod}" for pod in pods), f"--timeout={DEADLINE_S:.0f}s")

    def until_phase(self, pod: str, phase: str) -> None:
        until(lambda: self.value(f"pod {pod}", ".status.phase") == phase, what=f"pod {pod} has {phase.lower()}")
