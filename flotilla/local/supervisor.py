"""The supervisor of a local cluster: keeps the children of ``up`` running, and does nothing else.

A single-threaded loop over pidfds. A child that ends is started again at once, and with a growing delay while it keeps
ending quickly. Children have sessions and log files of their own, so the supervisor may be killed without harm: the
next one finds them by the recorded pid and start time and adopts those that still match the spec. A child waits at a
gate until it has been recorded, so that none can run that no supervisor knows of. SIGTERM stops the children in reverse
order of their start; SIGHUP makes it execute itself anew, which re-reads the spec and restarts what differs.

It imports the standard library only, to stay a few megabytes small.
"""

from __future__ import annotations

import fcntl
import heapq
import logging
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from flotilla.descriptors import raise_descriptor_limit
from flotilla.local.child import Child
from flotilla.local.process import ProcessIdentity, identify, open_pidfd, stop_process
from flotilla.local.rotation import rotate_if_large
from flotilla.local.supervision import (
    STEADY_AFTER_S,
    Record,
    Spec,
    SupervisorPaths,
    fingerprint,
    read_spec,
    read_state,
    restart_delay_s,
    write_state,
)
from flotilla.logs import configure_logging

ROTATION_PERIOD_S = 30.0
_INHERITED = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
# Waits for a line on standard input, which comes once the child is recorded; without one nothing is started.
_GATE = 'read -r go && exec "$@" </dev/null'
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Running:
    """A live child. ``started_s`` is monotonic; for an adopted one, the moment of adoption."""

    identity: ProcessIdentity
    descriptor: int
    fingerprint: str
    started_s: float = field(default_factory=time.monotonic)


class Supervisor:
    """Keeps the children of one spec alive; :meth:`run` returns after SIGTERM, when all have stopped."""

    def __init__(self, spec: Spec, paths: SupervisorPaths, *, lock: int) -> None:
        self._spec = spec
        self._paths = paths
        self._lock = lock
        self._children = {child.name: child for child in spec.children}
        self._running: dict[str, _Running] = {}
        self._failures: dict[str, int] = dict.fromkeys(self._children, 0)
        self._due: list[tuple[float, str]] = []
        self._poller = select.epoll()
        self._signals, self._wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        """Adopt, start, then keep going until SIGTERM or SIGINT."""
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._wakeup)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        self._poller.register(self._signals, select.EPOLLIN)
        self._spec.log_dir.mkdir(parents=True, exist_ok=True)
        self._adopt()
        for name in self._children:
            if name not in self._running:
                self._start(name)
        next_rotation_s = time.monotonic() + ROTATION_PERIOD_S
        while (stop := self._step(next_rotation_s)) is None:
            if time.monotonic() >= next_rotation_s:
                self._rotate()
                next_rotation_s = time.monotonic() + ROTATION_PERIOD_S
        if stop == signal.SIGHUP:
            self._execute_anew()
        self._stop_all()

    def _step(self, next_rotation_s: float) -> int | None:
        """Wait for one thing to happen and act on it; the number of a signal that ends the loop."""
        wake_s = min(self._due[0][0] if self._due else next_rotation_s, next_rotation_s)
        for descriptor, _ in self._poller.poll(max(0.0, wake_s - time.monotonic())):
            if descriptor == self._signals:
                return int(os.read(self._signals, 1)[0])
            self._ended(descriptor)
        while self._due and self._due[0][0] <= time.monotonic():
            self._start(heapq.heappop(self._due)[1])
        return None

    def _adopt(self) -> None:
        """Take over what a previous supervisor left running; stop what is not wanted any more, last started first."""
        for name, record in reversed(read_state(self._paths.state).items()):
            descriptor = open_pidfd(record.identity)
            if descriptor is None:
                _reap(record.identity.pid)
                continue
            child = self._children.get(name)
            if child is not None and fingerprint(child) == record.fingerprint:
                self._running[name] = _Running(record.identity, descriptor, record.fingerprint)
                self._poller.register(descriptor, select.EPOLLIN)
                logger.info("child_adopted", extra={"child": name, "pid": record.identity.pid})
                continue
            os.close(descriptor)
            stop_process(record.identity, grace_s=child.stop_grace_s if child else 10.0)
            _reap(record.identity.pid)
            logger.info("child_replaced", extra={"child": name, "pid": record.identity.pid})

    def _start(self, name: str) -> None:
        child = self._children[name]
        try:
            pid, gate = _spawn(child, self._log_file(name))
        except OSError as error:
            logger.error("child_not_started", extra={"child": name, "error": str(error)})
            self._schedule(name, ran_for_s=0.0)
            return
        with closing(os.fdopen(gate, "wb", buffering=0)) as opening:
            identity = identify(pid)
            descriptor = open_pidfd(identity) if identity else None
            if identity is None or descriptor is None:
                _reap(pid)
                self._schedule(name, ran_for_s=0.0)
                return
            self._running[name] = _Running(identity, descriptor, fingerprint(child))
            self._poller.register(descriptor, select.EPOLLIN)
            self._remember()
            with suppress(BrokenPipeError):
                opening.write(b"\n")
        logger.info("child_started", extra={"child": name, "pid": pid})

    def _ended(self, descriptor: int) -> None:
        name = next(name for name, running in self._running.items() if running.descriptor == descriptor)
        running = self._running.pop(name)
        self._poller.unregister(descriptor)
        os.close(descriptor)
        status = _reap(running.identity.pid)
        ran_for_s = time.monotonic() - running.started_s
        delay_s = self._schedule(name, ran_for_s=ran_for_s)
        details = {"child": name, "pid": running.identity.pid, "status": status, "ran_for_s": round(ran_for_s, 1)}
        logger.warning("child_ended", extra=details | {"restart_in_s": delay_s})

    def _schedule(self, name: str, *, ran_for_s: float) -> float:
        delay_s = restart_delay_s(ran_for_s=ran_for_s, failures=self._failures[name])
        self._failures[name] = 1 if ran_for_s >= STEADY_AFTER_S else self._failures[name] + 1
        heapq.heappush(self._due, (time.monotonic() + delay_s, name))
        return delay_s

    def _remember(self) -> None:
        records = {
            name: Record(self._running[name].identity, self._running[name].fingerprint)
            for name in self._children
            if name in self._running
        }
        write_state(self._paths.state, records)

    def _rotate(self) -> None:
        for name in (*self._children, "supervisor"):
            rotate_if_large(self._log_file(name))

    def _log_file(self, name: str) -> Path:
        return self._spec.log_dir / f"{name}.log"

    def _execute_anew(self) -> None:
        """Become a new process image that goes on holding the lock and hears of signals that come meanwhile."""
        logger.info("supervisor_reloads")
        self._remember()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        os.set_inheritable(self._lock, True)
        command = [sys.executable, "-m", "flotilla.local.supervisor", str(self._paths.directory), str(self._lock)]
        os.execv(sys.executable, command)

    def _stop_all(self) -> None:
        for name in reversed(self._children):
            running = self._running.pop(name, None)
            if running is None:
                continue
            in_time = stop_process(running.identity, grace_s=self._children[name].stop_grace_s)
            _reap(running.identity.pid)
            logger.info("child_stopped", extra={"child": name, "killed": not in_time})
        self._remember()


def _spawn(child: Child, log_file: Path) -> tuple[int, int]:
    """Start ``child`` in a session of its own, appending to its log, with a small and fixed environment.

    Its pid, and the descriptor of its gate: a line written there lets it run, closing it without one ends it.
    """
    environment = {key: os.environ[key] for key in _INHERITED if key in os.environ}
    environment = {"PATH": _DEFAULT_PATH, **environment, **{key: value for key, value in child.environment if value}}
    waiting, gate = os.pipe2(os.O_CLOEXEC)
    try:
        with log_file.open("ab") as log:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _GATE, child.name, *child.command],
                stdin=waiting,
                stdout=log,
                stderr=log,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
    except OSError:
        os.close(gate)
        raise
    finally:
        os.close(waiting)
    process.returncode = 0
    return process.pid, gate


def _reap(pid: int) -> str:
    """Collect an ended child; what it ended with, or that it was adopted and is someone else's to collect."""
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:
        return "adopted"
    code = os.waitstatus_to_exitcode(status)
    return f"exit {code}" if code >= 0 else signal.Signals(-code).name


def hold_lock(paths: SupervisorPaths) -> int | None:
    """Take the one-supervisor lock and write our pid into it; None when another one holds it. Held until exit."""
    descriptor = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def running_supervisor(paths: SupervisorPaths) -> ProcessIdentity | None:
    """The supervisor that holds the lock of ``paths``, if any."""
    try:
        descriptor = os.open(paths.lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 32, 0).strip()
        return identify(int(text)) if text.isdigit() else None
    finally:
        os.close(descriptor)
    return None


def main() -> None:
    """``python -m flotilla.local.supervisor <run-dir>/supervisor [<descriptor of the lock already held>]``"""
    paths, held = SupervisorPaths(Path(sys.argv[1])), sys.argv[2:]
    configure_logging("supervisor")
    raise_descriptor_limit()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    lock = int(held[0]) if held else hold_lock(paths)
    if lock is None:
        raise SystemExit("another supervisor holds the lock")
    os.set_inheritable(lock, False)
    Supervisor(read_spec(paths.spec), paths, lock=lock).run()


if __name__ == "__main__":
    main()
