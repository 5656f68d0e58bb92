"""What kubectl does through streams: exec, attach, cp, port-forward, run."""

from __future__ import annotations

import fcntl
import filecmp
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

import pytest

from tests.e2e.cluster import Kubectl, until

pytestmark = [pytest.mark.e2e, pytest.mark.root]

DEADLINE_S = 30.0
PODS = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: web, image: "flotilla.dev/sample:v1", readinessProbe: {httpGet: {path: /healthz, port: 8080}}}
---
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  terminationGracePeriodSeconds: 0
  restartPolicy: Never
  containers:
  - name: reader
    image: flotilla.dev/sample:v1
    stdin: true
    stdinOnce: true
    command: ["sh", "-c", "while read line; do echo got $line; done"]
"""


class User:
    """Somebody who uses one kubectl in a namespace with two pods."""

    def __init__(self, kubectl: Kubectl, namespace: str) -> None:
        self._kubectl, self._namespace = kubectl, namespace

    def __call__(self, *arguments: str, code: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        result = self._kubectl("-n", self._namespace, *arguments, stdin=stdin, check=False)
        assert result.returncode == code, result.stderr
        return result

    def command(self, *arguments: str) -> list[str]:
        cluster = self._kubectl.cluster
        program = [str(self._kubectl.program), f"--kubeconfig={cluster.kubeconfig}", "-n", self._namespace]
        return cluster.command(*program, *arguments)

    def curl(self, port: int) -> subprocess.Popen[str]:
        """Ask what is forwarded to ``port``."""
        command = self._kubectl.cluster.command("curl", "-s", "-m", "10", f"http://127.0.0.1:{port}/")
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def user(kubectl: Kubectl, namespace: str) -> User:
    found = User(kubectl, namespace)
    found("apply", "-f", "-", stdin=PODS)
    found("wait", "--for=condition=Ready", "pod/web", "pod/reader", f"--timeout={DEADLINE_S:.0f}s")
    return found


def test_exec(user: User) -> None:
    """Output, error output, input and the exit code of a command; one that does not exist is named."""
    result = user("exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 3", code=3)
    assert result.stdout == "out\n"
    assert result.stderr == "err\ncommand terminated with exit code 3\n"
    assert user("exec", "-i", "web", "--", "sh", "-c", "cat; echo end", stdin="input\n").stdout == "input\nend\n"
    assert "no-such-program" in user("exec", "web", "--", "no-such-program", code=1).stderr
    assert 'pods "none" not found' in user("exec", "none", "--", "true", code=1).stderr


def test_exec_in_a_terminal(user: User) -> None:
    """A terminal's size and type reach the command, whose exit code comes back."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    command = user.command("exec", "-it", "web", "--", "sh")
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    output = _read_until(ours, b"# ")
    os.write(ours, b"stty size; echo $TERM; exit 5\n")
    output += _read_until(ours, b"exit code 5")
    assert process.wait(DEADLINE_S) == 5
    os.close(ours)
    assert b"\r\n33 77\r\nxterm\r\n" in output


def _read_until(descriptor: int, text: bytes) -> bytes:
    output, deadline = b"", time.monotonic() + DEADLINE_S
    while text not in output:
        ready, _, _ = select.select([descriptor], [], [], deadline - time.monotonic())
        assert ready, output
        output += os.read(descriptor, 4096)
    return output


def test_attach(user: User) -> None:
    """An attached user feeds the first process and reads it; the end of the input ends both."""
    assert user("attach", "-i", "reader", stdin="one\ntwo\n").stdout.endswith("got one\ngot two\n")
    user("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/reader", f"--timeout={DEADLINE_S:.0f}s")


def test_run_and_remove(user: User) -> None:
    """``run -i --rm`` feeds a pod of its own, shows its output and exit code, and removes it."""
    image = ["--image=flotilla.dev/sample:v1", "--restart=Never", "--command"]
    script = "read word; echo got $word; exit 4"
    result = user("run", "one", "-i", "--rm", *image, "--", "sh", "-c", script, stdin="word\n", code=4)
    assert "got word" in result.stdout
    assert user("get", "pods", "one", "--ignore-not-found").stdout == ""


def test_debug(user: User) -> None:
    """``debug`` adds a container that sees the processes of its target, and feeds it."""
    image = ["--image=flotilla.dev/sample:v1", "--target=web", "-c", "looking"]
    script = "read word; ps; echo said $word"
    result = user("debug", "-i", "web", *image, "--", "sh", "-c", script, stdin="so\n")
    log = user("logs", "web", "-c", "looking").stdout
    assert "said so" in result.stdout + log
    assert "/bin/server" in log
    statuses = user("get", "pod", "web", "-o", "jsonpath={.status.ephemeralContainerStatuses[*].name}").stdout
    assert statuses == "looking"


def test_copy_both_ways(user: User, tmp_path: Path) -> None:
    """A directory of a hundred megabytes comes back as it went."""
    there, back = tmp_path / "there", tmp_path / "back"
    (there / "deep").mkdir(parents=True)
    (there / "large").write_bytes(os.urandom(1 << 20) * 100)
    for number in range(50):
        (there / "deep" / str(number)).write_text(str(number))
    user("cp", str(there), "web:/tmp/")
    user("cp", "web:/tmp/there", str(back))
    compared = filecmp.dircmp(there, back)
    assert compared.left_list == compared.right_list
    assert filecmp.cmpfiles(there, back, ["large", *(f"deep/{each}" for each in range(50))], shallow=False)[1:] == (
        [],
        [],
    )


@contextmanager
def _forwarded(user: User, log: Path, *ports: str) -> Iterator[None]:
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(user.command("port-forward", "pod/web", *ports), stdout=output, stderr=output)
    try:
        until(lambda: "Forwarding from" in log.read_text(), what="kubectl forwards")
        yield
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def test_port_forward(user: User, tmp_path: Path) -> None:
    """Many connections at once reach the pod; one to a port where nothing listens fails alone."""
    log = tmp_path / "forward.log"
    with _forwarded(user, log, "18080:8080", "18081:81"):
        asking = [user.curl(18080) for _ in range(20)]
        answers = [process.communicate(timeout=DEADLINE_S)[0] for process in asking]
        assert answers == ["Hello from web, version v1\n"] * 20
        assert user.curl(18081).communicate(timeout=DEADLINE_S)[0] == ""
        until(lambda: "failed to connect to localhost:81" in log.read_text(), what="the failure is told")
