"""What kubectl does through streams: exec, attach, run, debug, cp, port-forward, at a terminal and without one."""

from __future__ import annotations

import filecmp
import os
from pathlib import Path

import pytest

from tests.e2e.cluster import SPDY_KUBECTL_VERSION, until
from tests.e2e.user import DEADLINE_S, Terminal, User

pytestmark = [pytest.mark.e2e, pytest.mark.root]

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
---
apiVersion: v1
kind: Pod
metadata: {name: shell}
spec:
  terminationGracePeriodSeconds: 0
  restartPolicy: Never
  containers:
  - {name: shell, image: "flotilla.dev/sample:v1", stdin: true, tty: true, command: [sh]}
"""
INTERRUPTED = "trap 'echo caught; exit 7' INT; echo rea''dy; while :; do sleep 0.1; done"


@pytest.fixture(scope="module", autouse=True)
def pods(user: User) -> None:
    """Three pods that run."""
    user("apply", "-f", "-", stdin=PODS)
    user.until_ready("web", "reader", "shell")


def test_exec(user: User) -> None:
    """Output, error output, input and the exit code of a command; one that does not exist is named."""
    result = user("exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 3", code=3)
    assert result.stdout == "out\n"
    assert result.stderr == "err\ncommand terminated with exit code 3\n"
    assert "no-such-program" in user("exec", "web", "--", "no-such-program", code=1).stderr
    assert 'pods "none" not found' in user("exec", "none", "--", "true", code=1).stderr


def test_exec_with_input(user: User) -> None:
    """The end of the input reaches the command, whose output after it comes back."""
    assert user("exec", "-i", "web", "--", "sh", "-c", "cat; sleep 0.1; echo end", stdin="input\n").stdout == (
        "input\nend\n"
    )


def test_exec_in_a_terminal(user: User) -> None:
    """A terminal's type, its size and changes of it, and interrupts reach the command, whose exit code comes back."""
    with user.terminal("exec", "-it", "web", "--", "sh", rows=33, columns=77) as terminal:
        terminal.read_until("# ")
        terminal.type("stty size; echo $TERM\n")
        assert terminal.read_until("xterm\r\n").endswith("\r\n33 77\r\nxterm\r\n")
        terminal.resize(40, 100)
        _until_size(terminal, "40 100")
        terminal.type(f'sh -c "{INTERRUPTED}"; echo "code $?"\n')
        terminal.read_until("\r\nready\r\n")
        terminal.type("\x03")
        assert terminal.read_until("code 7").startswith("^Ccaught\r\n")
        terminal.type("exit 5\n")
        terminal.read_until("exit code 5")
        assert terminal.process.wait(DEADLINE_S) == 5


def _until_size(terminal: Terminal, size: str) -> None:
    """Changes travel apart from what is typed: ask until the new size is there."""

    def found() -> bool:
        terminal.type("echo size $(stty size) ok\n")
        return size in terminal.read_until("ok\r\n") + terminal.read_until("ok\r\n")

    until(found, what=f"the command sees {size}")


def test_attach(user: User) -> None:
    """An attached user feeds the first process and reads it; the end of the input ends both."""
    assert user("attach", "-i", "reader", stdin="one\ntwo\n").stdout.endswith("got one\ngot two\n")
    user.until_phase("reader", "Succeeded")


def test_attach_to_a_terminal(user: User) -> None:
    """A container's terminal takes a user's size; it outlives one who leaves, and ends with the shell."""
    with user.terminal("attach", "-it", "shell", rows=31, columns=71) as terminal:
        terminal.read_until("press")
        _until_size(terminal, "31 71")
        terminal.type("word=kept\n")
        terminal.type("echo it is $word\n")
        terminal.read_until("it is kept\r\n")
    with user.terminal("attach", "-it", "shell", rows=42, columns=52) as terminal:
        terminal.read_until("press")
        _until_size(terminal, "42 52")
        terminal.type("echo still $word; exit 3\n")
        terminal.read_until("still kept\r\n")
        terminal.process.wait(DEADLINE_S)
    user.until_phase("shell", "Failed")
    assert user.value("pod shell", ".status.containerStatuses[0].state.terminated.exitCode") == "3"


def test_run_and_remove(user: User) -> None:
    """``run -i --rm`` feeds a pod of its own, shows its output and exit code, and removes it."""
    image = ["--image=flotilla.dev/sample:v1", "--restart=Never", "--command"]
    script = "read word; echo got $word; exit 4"
    result = user("run", "one", "-i", "--rm", *image, "--", "sh", "-c", script, stdin="word\n", code=4)
    assert "got word" in result.stdout
    assert user("get", "pods", "one", "--ignore-not-found").stdout == ""


def test_debug(user: User) -> None:
    """``debug`` adds a container that sees the processes of its target, and feeds it."""
    if user.version == SPDY_KUBECTL_VERSION:
        pytest.skip("it asks for the EphemeralContainers kind, which Kubernetes 1.22 replaced")
    image = ["--image=flotilla.dev/sample:v1", "--target=web", "-c", "looking"]
    script = "read word; ps; echo said $word"
    result = user("debug", "-i", "web", *image, "--", "sh", "-c", script, stdin="so\n")
    log = user("logs", "web", "-c", "looking").stdout
    assert "said so" in result.stdout + log
    assert "/bin/server" in log
    assert user.value("pod web", ".status.ephemeralContainerStatuses[*].name") == "looking"


def test_debug_a_copy(user: User) -> None:
    """``debug --copy-to`` makes a pod like the other one with a container to look at it from, at a terminal."""
    image = ["--image=flotilla.dev/sample:v1", "--copy-to=copy", "--share-processes", "-c", "looking"]
    with user.terminal("debug", "-it", "web", *image, "--", "sh") as terminal:
        terminal.read_until("press")
        terminal.type("ps; echo sa''id\n")
        assert "/bin/server" in terminal.read_until("said\r\n")
        terminal.type("exit\n")
        terminal.process.wait(DEADLINE_S)
    user("delete", "pod", "copy", "--wait=false")


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
    names = ["large", *(f"deep/{each}" for each in range(50))]
    assert filecmp.cmpfiles(there, back, names, shallow=False)[1:] == ([], [])
    user("exec", "web", "--", "rm", "-r", "/tmp/there")


def test_port_forward(user: User, tmp_path: Path) -> None:
    """Many connections at once reach the pod; one to a port where nothing listens fails alone."""
    log = tmp_path / "forward.log"
    with user.running(log, "port-forward", "pod/web", "18080:8080", "18081:81"):
        until(lambda: "Forwarding from" in log.read_text(), what="kubectl forwards")
        asking = [user.curl(18080) for _ in range(20)]
        answers = [process.communicate(timeout=DEADLINE_S)[0] for process in asking]
        assert answers == ["Hello from web, version v1\n"] * 20
        assert user.curl(18081).communicate(timeout=DEADLINE_S)[0] == ""
        until(lambda: "failed to connect to localhost:81" in log.read_text(), what="the failure is told")
