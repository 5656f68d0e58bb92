"""A server process on an etcd of its own, and a kubectl that talks to it, for tests of what users type.

Both processes are the real ones, started once for all tests of a worker: a kubectl takes a tenth of a second, a server
two. Every test works in a namespace of its own. No agent is connected, so Nodes are what tests create, and they last:
the server is told to wait for their agents for ever. What an agent would report, a test writes as a status.
"""

from __future__ import annotations

import http.client
import json
import os
import queue
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from controlplane.pki import ensure_cluster_pki, write_kubeconfig

T = TypeVar("T")

DEADLINE_S = 30.0
FOREVER_S = 1e6
KUBECTL_DIR = Path(os.environ.get("FLOTILLA_KUBECTL_DIR", Path(__file__).parents[3] / ".cache" / "kubectl"))


def until(what: str, condition: Callable[[], T | None], *, timeout_s: float = DEADLINE_S) -> T:
    """The first true value of ``condition``; fails by name when none comes within ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.02)
    return value


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Output:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


class RequestError(Exception):
    """The API has refused a request."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Server:
    """``flotilla server`` and its etcd, on ports and directories of their own."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="fk-"))
        self.port = free_port()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._connection = http.client.HTTPSConnection("127.0.0.1", self.port)

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start both and wait until the API is ready, with what every cluster has from the start."""
        self._spawn("etcd", self._etcd())
        pki = ensure_cluster_pki(self.directory / "pki", server_names=["127.0.0.1", "localhost"])
        write_kubeconfig(self.kubeconfig, server_url=self.url, pki=pki)
        self._spawn("server", self._server())
        trust = ssl.create_default_context(cafile=str(pki.ca_file))
        trust.load_cert_chain(pki.admin.certificate, pki.admin.key)
        self._connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=DEADLINE_S, context=trust)
        until("the API is ready", self._is_ready)

    def restart(self) -> None:
        """End the server as a user would, while etcd goes on, and wait until a new one is ready on the same port."""
        old = self._processes.pop()
        old.send_signal(signal.SIGTERM)
        assert old.wait(DEADLINE_S) == 0
        self._spawn("server", self._server())
        until("the API is ready again", self._is_ready)

    def stop(self) -> None:
        """End both, the last one first, and remove their files."""
        self._connection.close()
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.directory)

    def _spawn(self, name: str, command: Sequence[str]) -> None:
        with (self.directory / f"{name}.log").open("wb") as log:
            self._processes.append(subprocess.Popen(command, cwd=self.directory, stdout=log, stderr=log))

    def _etcd(self) -> list[str]:
        client, peer = "unix://client:0", "unix://peer:0"
        return [
            *("etcd", "--data-dir=etcd", "--unsafe-no-fsync", f"--initial-cluster=default={peer}"),
            *(f"--{role}-client-urls={client}" for role in ("listen", "advertise")),
            *(f"--{role}={peer}" for role in ("listen-peer-urls", "initial-advertise-peer-urls")),
        ]

    def _server(self) -> list[str]:
        return [
            *(sys.executable, "-m", "flotilla", "server", "--data-dir=data", "--pki-dir=pki"),
            f"--etcd=unix://{self.directory / 'client:0'}",
            f"--listen=127.0.0.1:{self.port}",
            "--dispatcher-listen=127.0.0.1:0",
            f"--node-grace={FOREVER_S}",
        ]

    def log(self) -> str:
        """What the server has written so far."""
        return (self.directory / "server.log").read_text()

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """What the API answers to the cluster's administrator, on a connection that is kept. OSError, RequestError."""
        data = None if body is None else json.dumps(body).encode()
        try:
            self._connection.request(method, path, data, {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        if response.status >= http.client.BAD_REQUEST:
            raise RequestError(response.status, content.decode())
        return json.loads(content)

    def replace(self, path: str, body: Any) -> None:
        """PUT ``body``, unless the object has changed or gone meanwhile."""
        try:
            self.request("PUT", path, body)
        except RequestError as error:
            if error.code not in (http.client.NOT_FOUND, http.client.CONFLICT):
                raise

    def _is_ready(self) -> bool:
        failed = [each.args for each in self._processes if each.poll() is not None]
        assert not failed, f"{failed} ended: {self.log()[-2000:]}"
        try:
            for path in ("", "/endpoints/kubernetes", "/serviceaccounts/default"):
                self.request("GET", f"/api/v1/namespaces/default{path}")
        except (OSError, http.client.HTTPException, RequestError):
            return False
        return True


class Running:
    """A command that is running, and the lines that it prints."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], directory: Path) -> None:
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=directory
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="reader of kubectl")
        self._reader.start()

    def line(self) -> str:
        """The next line, which has to come; without its end."""
        try:
            return self._lines.get(timeout=DEADLINE_S).rstrip("\n")
        except queue.Empty:
            raise AssertionError(f"nothing more from {self._process.args!r}") from None

    def words(self, count: int) -> list[str]:
        """The first words of the next line."""
        return self.line().split()[:count]

    def waiting(self) -> bool:
        """Whether there is a line that was not read yet."""
        return not self._lines.empty()

    def skip_to(self, expected: str) -> None:
        """Read lines up to the one that is ``expected``."""
        while self.line() != expected:
            pass

    def finish(self) -> Output:
        """Wait for the command to end by itself; the lines that were not read yet, and its errors."""
        assert self._process.stderr is not None
        errors = self._process.stderr.read()
        code = self._process.wait(DEADLINE_S)
        self._reader.join()
        out = "".join(self._lines.get() for _ in range(self._lines.qsize()))
        return Output(code, out, errors)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)


@dataclass(frozen=True, slots=True)
class Kubectl:
    """One kubectl, whose commands go to ``namespace``; ``environment`` is added to the process's own."""

    server: Server
    program: Path
    version: str
    home: Path
    namespace: str = "default"
    environment: dict[str, str] = field(default_factory=dict)

    def with_environment(self, **variables: str) -> Kubectl:
        return replace(self, environment=self.environment | variables)

    def with_editor(self, script: str) -> Kubectl:
        """With an editor that is a shell script; ``$1`` is the file to edit."""
        path = self.home / "editor"
        path.write_text(f"#!/bin/sh\nset -e\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return self.with_environment(KUBE_EDITOR=str(path))

    def run(self, *arguments: str, stdin: str | None = None) -> Output:
        """Run ``kubectl``. The first argument may be a whole command line: it is split as a shell would."""
        done = subprocess.run(
            self._command(arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S * 2,
            env=self._environment(),
            cwd=self.home,
            check=False,
        )
        return Output(done.returncode, done.stdout, done.stderr)

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """The output of a command that has to succeed, without a warning except of what Flotilla does not act upon."""
        done = self.run(*arguments, stdin=stdin)
        assert done.code == 0, f"kubectl {' '.join(arguments)}: {done.out}{done.err}"
        warnings = [line for line in done.err.splitlines() if line.startswith("Warning:")]
        assert all("this version of Flotilla" in line or "is deprecated in v" in line for line in warnings), done.err
        return done.out

    def fails(self, *arguments: str, stdin: str | None = None) -> str:
        """The errors of a command that has to fail."""
        done = self.run(*arguments, stdin=stdin)
        assert done.code != 0, f"kubectl {' '.join(arguments)} succeeded: {done.out}"
        return done.err

    def lines(self, *arguments: str, stdin: str | None = None) -> list[str]:
        return self(*arguments, stdin=stdin).splitlines()

    def json(self, *arguments: str) -> Any:
        """What ``kubectl ARGUMENTS -o json`` prints."""
        return json.loads(self(*arguments, "-o", "json"))

    def table(self, *arguments: str) -> list[list[str]]:
        """The words of each line; cells of one word each."""
        return [line.split() for line in self.lines(*arguments)]

    def apply(self, manifest: str, *arguments: str) -> str:
        return self("apply -f -", *arguments, stdin=manifest)

    def write(self, name: str, text: str) -> Path:
        """A file in the directory that kubectl runs in."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def set_status(self, kind: str, name: str, status: dict[str, Any]) -> None:
        """Write a status as the component would that watches over the object."""
        patch = json.dumps({"status": status})
        self("patch", kind, name, "--subresource=status", "--type=merge", "-p", patch)

    @contextmanager
    def started(self, *arguments: str) -> Iterator[Running]:
        """A command that goes on until it is ended here."""
        running = Running(self._command(arguments), self._environment(), self.home)
        try:
            yield running
        finally:
            running.end()

    def _command(self, arguments: Sequence[str]) -> list[str]:
        first, *rest = arguments
        return [str(self.program), f"--cache-dir={self.server.directory / 'cache'}", *shlex.split(first), *rest]

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "KUBECONFIG": str(self.home / "kubeconfig"),
            "KUBECTL_EXTERNAL_DIFF": "diff -u -N",
            **self.environment,
        }
