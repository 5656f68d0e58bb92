"""``kubectl logs`` with every option, and following a container through rotations and restarts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.cluster import until
from tests.e2e.user import User

pytestmark = [pytest.mark.e2e, pytest.mark.root, pytest.mark.timeout(180)]

LINES = 120_000
PODS = f"""
apiVersion: v1
kind: Pod
metadata: {{name: talker, labels: {{app: talker}}}}
spec:
  terminationGracePeriodSeconds: 0
  initContainers:
  - {{name: first, image: "flotilla.dev/sample:v1", command: [sh, -c, echo early]}}
  containers:
  - name: main
    image: flotilla.dev/sample:v1
    volumeMounts: [{{name: state, mountPath: /state}}]
    command: [sh, -c, "if [ -e /state/run ]; then echo two; echo three; sleep 1000; fi; touch /state/run; echo one"]
  - {{name: side, image: "flotilla.dev/sample:v1", command: [sh, -c, "echo beside; sleep 1000"]}}
  volumes: [{{name: state, emptyDir: {{}}}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: counter}}
spec:
  terminationGracePeriodSeconds: 0
  restartPolicy: OnFailure
  containers:
  - name: main
    image: flotilla.dev/sample:v1
    volumeMounts: [{{name: state, mountPath: /state}}]
    command:
    - sh
    - -c
    - |
      until [ -e /state/go ]; do sleep 0.05; done
      if [ -e /state/run ]; then echo again; exit 0; fi
      touch /state/run
      seq {LINES} | sed 's/^/a line that is about a hundred bytes long with its number, so that logs get large: /'
      until [ -e /state/rotated ]; do sleep 0.05; done
      echo after
      exit 1
  volumes: [{{name: state, emptyDir: {{}}}}]
"""


@pytest.fixture(scope="module", autouse=True)
def pods(user: User) -> None:
    """A pod whose first container has run twice, and one that counts once it is told to."""
    user("apply", "-f", "-", stdin=PODS)
    running = ".status.containerStatuses[?(@.name=='main')].state.running.startedAt"
    until(lambda: user.value("pod talker", running) and _restarts(user, "talker") == "1", what="the second run")
    until(lambda: user("logs", "talker", "-c", "main").stdout == "two\nthree\n", what="its output")
    user.until_ready("counter")


def _restarts(user: User, pod: str) -> str:
    return user.value(f"pod {pod}", ".status.containerStatuses[?(@.name=='main')].restartCount")


def test_which_container_and_run(user: User) -> None:
    """Of one container or all, the run before, with names in front of the lines."""
    assert user("logs", "talker", "-c", "main", "--previous").stdout == "one\n"
    assert user("logs", "talker", "-c", "first").stdout == "early\n"
    assert user("logs", "talker", "side").stdout == "beside\n"
    assert sorted(user("logs", "talker", "--all-containers").stdout.split()) == ["beside", "early", "three", "two"]
    shown = user("logs", "-l", "app=talker", "--all-containers", "--prefix").stdout.splitlines()
    assert sorted(shown) == [
        "[pod/talker/first] early",
        "[pod/talker/main] three",
        "[pod/talker/main] two",
        "[pod/talker/side] beside",
    ]
    assert "container none is not valid for pod talker" in user("logs", "talker", "-c", "none", code=1).stderr
    assert 'previous terminated container "side"' in user("logs", "talker", "-c", "side", "-p", code=1).stderr


def test_which_part(user: User) -> None:
    """The last lines, those since a time, so many bytes, each with its time."""
    logs = ("logs", "talker", "-c", "main")
    assert user(*logs, "--tail=1").stdout == "three\n"
    assert user(*logs, "--tail=0").stdout == ""
    assert user(*logs, "--limit-bytes=5").stdout == "two\nt"
    stamped = [line.split(" ") for line in user(*logs, "--timestamps").stdout.splitlines()]
    assert [text for _, text in stamped] == ["two", "three"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d)", stamp) for stamp, _ in stamped)
    assert user(*logs, "--since=1h").stdout == "two\nthree\n"
    assert user(*logs, "--since-time=2000-01-01T00:00:00Z").stdout == "two\nthree\n"
    assert user(*logs, "--since-time=2100-01-01T00:00:00Z").stdout == ""
    assert "one of" in user(*logs, "--since=1h", "--since-time=2000-01-01T00:00:00Z", code=1).stderr


def test_following_through_rotation_and_restart(user: User, tmp_path: Path) -> None:
    """A follower gets every line once, though the log is rotated and the container ends and runs again."""
    log = tmp_path / "log"
    with user.running(log, "logs", "-f", "counter", "--pod-running-timeout=10s") as following:
        user("exec", "counter", "--", "touch", "/state/go")
        until(lambda: f": {LINES}\n" in _end(log), what="the first run's lines")
        until(lambda: _rotated(user), what="the rotation")
        user("exec", "counter", "--", "touch", "/state/rotated")
        assert following.wait(30) == 0
    user.until_phase("counter", "Succeeded")
    lines = log.read_text().splitlines()
    assert [line.rpartition(" ")[2] for line in lines[:LINES]] == [str(number) for number in range(1, LINES + 1)]
    assert lines[LINES:] == ["after", "again"]


def _end(log: Path) -> str:
    return log.read_bytes()[-200:].decode()


def _rotated(user: User) -> bool:
    directory = f"*_counter_{user.value('pod counter', '.metadata.uid')}"
    return bool(list((user.cluster.data_dir / "node" / "logs").glob(f"{directory}/main/0.log.1")))
