"""The supervisor's arithmetic and files, and the supervisor itself with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flotilla.local.child import Child
from flotilla.local.process import ProcessIdentity, identify, is_alive, stop_process
from flotilla.local.rotation import rotate_if_large
from flotilla.local.supervision import (
    LARGEST_DELAY_S,
    Record,
    Spec,
    SupervisorPaths,
    fingerprint,
    read_spec,
    read_state,
    restart_delay_s,
    write_spec,
    write_state,
)
from flotilla.local.supervisor import _spawn, running_supervisor

DEADLINE_S = 10.0


def _until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, "the condition did not come true"
        time.sleep(0.01)


def _sleeper(name: str, *, seconds: int = 600) -> Child:
    return Child(name=name, command=("/bin/sleep", str(seconds)), stop_grace_s=2.0)


def _catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for the signal; executing another program takes it away."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)


class Cluster:
    """A supervisor with its files, started and killed at will."""

    def __init__(self, directory: Path) -> None:
        self.paths = SupervisorPaths(directory)
        self.log_dir = directory / "logs"

    def spec(self, *children: Child) -> None:
        write_spec(self.paths.spec, Spec(children, self.log_dir))

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "flotilla.local.supervisor", str(self.paths.directory)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        _until(lambda: running_supervisor(self.paths) is not None)
        return self.process

    def pid(self, name: str) -> int:
        _until(lambda: name in read_state(self.paths.state) and is_alive(read_state(self.paths.state)[name].identity))
        return read_state(self.paths.state)[name].identity.pid

    def clean(self) -> None:
        self.process.kill()
        self.process.wait()
        for record in read_state(self.paths.state).values():
            stop_process(record.identity, grace_s=0.0)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A supervisor's directory; whatever runs at the end is killed."""
    each = Cluster(tmp_path)
    yield each
    each.clean()


def test_the_first_restart_is_immediate() -> None:
    """One death, or a death after a steady run, is answered at once; quick deaths in a row are spaced out."""
    assert restart_delay_s(ran_for_s=0.1, failures=0) == 0
    assert restart_delay_s(ran_for_s=60, failures=9) == 0
    delays = [restart_delay_s(ran_for_s=0.1, failures=failures) for failures in range(1, 30)]
    assert delays == sorted(delays)
    assert delays[0] == 0.25
    assert delays[-1] == LARGEST_DELAY_S


def test_spec_and_state_survive_their_files(tmp_path: Path) -> None:
    """What is written is read back equal, and only root may read it."""
    spec = Spec((Child(name="a", command=("x", "y"), environment=(("K", "v"),)),), tmp_path)
    write_spec(tmp_path / "spec.json", spec)
    assert read_spec(tmp_path / "spec.json") == spec
    records = {"a": Record(ProcessIdentity(1, 2), "f")}
    write_state(tmp_path / "state.json", records)
    assert read_state(tmp_path / "state.json") == records
    assert read_state(tmp_path / "missing.json") == {}
    assert (tmp_path / "spec.json").stat().st_mode & 0o777 == 0o600


def test_a_reused_pid_is_another_process() -> None:
    """The identity of a process ends with it; its pid with another start time is someone else."""
    process = subprocess.Popen(["/bin/sleep", "600"])
    identity = identify(process.pid)
    assert identity is not None
    assert is_alive(identity)
    assert not is_alive(ProcessIdentity(identity.pid, identity.start_ticks + 1))
    assert stop_process(identity, grace_s=5.0)
    process.wait()
    assert not is_alive(identity)


def test_what_ignores_sigterm_is_killed() -> None:
    """After its grace a process that ignores SIGTERM is ended by SIGKILL."""
    command = [
        sys.executable,
        "-c",
        "import signal; signal.signal(15, signal.SIG_IGN); print(1, flush=True); signal.pause()",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    identity = identify(process.pid)
    assert identity is not None
    assert not stop_process(identity, grace_s=0.1)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()


def test_rotation_keeps_a_few_files(tmp_path: Path) -> None:
    """A large log is moved aside and cut, so that its writer goes on in the same file; the oldest is dropped."""
    log = tmp_path / "a.log"
    with log.open("ab", buffering=0) as writer:
        for content in (b"1" * 10, b"2" * 10, b"3" * 10, b"4" * 10):
            writer.write(content)
            assert rotate_if_large(log, maximum_bytes=5, kept=2)
        writer.write(b"new")
        assert not rotate_if_large(log, maximum_bytes=5, kept=2)
    assert log.read_bytes() == b"new"
    assert (tmp_path / "a.log.1").read_bytes() == b"4" * 10
    assert (tmp_path / "a.log.2").read_bytes() == b"3" * 10
    assert not (tmp_path / "a.log.3").exists()


def test_a_killed_child_is_back_within_a_second(cluster: Cluster) -> None:
    """``kill -9`` of a child is followed by a new process at once, and the other children stay."""
    cluster.spec(_sleeper("a"), _sleeper("b"))
    cluster.start()
    first, other = cluster.pid("a"), cluster.pid("b")
    killed_s = time.monotonic()
    os.kill(first, signal.SIGKILL)
    _until(lambda: cluster.pid("a") != first)
    assert time.monotonic() - killed_s < 1.0
    assert cluster.pid("b") == other


def test_a_new_supervisor_adopts_what_a_killed_one_left(cluster: Cluster) -> None:
    """Children outlive their supervisor, the next one adopts them and restarts them when they die."""
    cluster.spec(_sleeper("a"), _sleeper("b"))
    cluster.start()
    pids = cluster.pid("a"), cluster.pid("b")
    cluster.process.kill()
    cluster.process.wait()
    cluster.start()
    assert (cluster.pid("a"), cluster.pid("b")) == pids
    os.kill(pids[0], signal.SIGKILL)
    _until(lambda: cluster.pid("a") != pids[0])


def test_a_changed_spec_restarts_only_what_changed(cluster: Cluster) -> None:
    """SIGHUP: a child with another command is replaced, an unwanted one stopped, a new one started, the rest kept."""
    cluster.spec(_sleeper("a"), _sleeper("b"), _sleeper("c"))
    supervisor = cluster.start()
    before = {name: cluster.pid(name) for name in "abc"}
    cluster.spec(_sleeper("a"), _sleeper("b", seconds=601), _sleeper("d"))
    supervisor.send_signal(signal.SIGHUP)
    _until(lambda: read_state(cluster.paths.state).keys() == {"a", "b", "d"})
    assert cluster.pid("a") == before["a"]
    assert cluster.pid("b") != before["b"]
    _until(lambda: identify(before["c"]) is None)
    assert supervisor.poll() is None


def test_nothing_runs_unrecorded(tmp_path: Path) -> None:
    """A child whose supervisor dies before it has recorded it never starts; one that is let through does."""
    child = Child(name="a", command=("/bin/sh", "-c", f"cat > {tmp_path}/started"))
    pid, gate = _spawn(child, tmp_path / "a.log")
    os.close(gate)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0
    assert not (tmp_path / "started").exists()
    pid, gate = _spawn(child, tmp_path / "a.log")
    os.write(gate, b"\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(gate)
    assert (tmp_path / "started").read_bytes() == b""


def test_a_reload_keeps_the_lock(cluster: Cluster) -> None:
    """While the supervisor executes itself anew nobody finds the cluster unsupervised."""
    cluster.spec(_sleeper("a"))
    supervisor = cluster.start()
    cluster.pid("a")
    cluster.spec(_sleeper("a"), _sleeper("b"))
    supervisor.send_signal(signal.SIGHUP)
    while "b" not in read_state(cluster.paths.state):
        found = running_supervisor(cluster.paths)
        assert found is not None and found.pid == supervisor.pid


def test_a_stop_during_a_reload_is_heard(cluster: Cluster) -> None:
    """SIGTERM that comes while the supervisor executes itself anew still stops the children."""
    cluster.spec(_sleeper("a"))
    supervisor = cluster.start()
    pid = cluster.pid("a")
    supervisor.send_signal(signal.SIGHUP)
    _until(lambda: not _catches(supervisor.pid, signal.SIGTERM))
    supervisor.terminate()
    assert supervisor.wait(DEADLINE_S) == 0
    assert identify(pid) is None


def test_sigterm_stops_everything(cluster: Cluster) -> None:
    """The supervisor ends after its children and leaves none behind."""
    cluster.spec(_sleeper("a"), _sleeper("b"))
    supervisor = cluster.start()
    pids = cluster.pid("a"), cluster.pid("b")
    supervisor.terminate()
    assert supervisor.wait(DEADLINE_S) == 0
    assert [identify(pid) for pid in pids] == [None, None]
    assert running_supervisor(cluster.paths) is None


def test_there_is_one_supervisor(cluster: Cluster) -> None:
    """A second one refuses to start in the same directory."""
    cluster.spec(_sleeper("a"))
    cluster.start()
    command = [sys.executable, "-m", "flotilla.local.supervisor", str(cluster.paths.directory)]
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert "another supervisor" in second.stderr


def test_a_child_that_can_not_start_is_tried_again(cluster: Cluster, tmp_path: Path) -> None:
    """A command that does not exist yet is retried until it does."""
    program = tmp_path / "later"
    cluster.spec(Child(name="a", command=(str(program),)))
    cluster.start()
    program.symlink_to("/bin/cat")
    program.unlink()
    program.write_text("#!/bin/sh\nexec sleep 600\n", encoding="ascii")
    program.chmod(0o755)
    assert cluster.pid("a")


def test_fingerprints_follow_command_and_environment() -> None:
    """Anything that a process would have to be restarted for changes the fingerprint, its stop grace does not."""
    child = _sleeper("a")
    assert fingerprint(child) == fingerprint(Child(name="a", command=child.command, stop_grace_s=9.0))
    assert fingerprint(child) != fingerprint(_sleeper("a", seconds=1))
    assert fingerprint(child) != fingerprint(Child(name="a", command=child.command, environment=(("A", "b"),)))
