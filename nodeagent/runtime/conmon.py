"""conmon: the small process that stays with a container when the agent goes.

It is the container's parent, so it alone learns the exit code; it copies the output into a log in CRI format and
writes the exit code to a file named by the container id. One is started for each container and leaves the agent's
process tree by a double fork. A pipe joins it to us while it starts, as podman and CRI-O do it (conmon(8)): over
``_OCI_SYNCPIPE`` it reports the container's pid or why there is none. Its start pipe, on which it could wait to be
moved into its cgroup first, is not used: the move takes milliseconds and is made while the container already runs.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from nodeagent.runtime.launching import Launcher
from nodeagent.runtime.oci import ContainerRuntimeError, OciRuntime, message_of
from nodeagent.runtime.processes import ProcessIdentity, ended, identify

CREATE_TIMEOUT_S = 60.0
_SYNC_DESCRIPTOR = 3


@dataclass(frozen=True, slots=True)
class Supervision:
    """Where one container's conmon finds and leaves its files."""

    container_id: str
    bundle: Path
    log_path: Path
    exit_dir: Path
    terminal: bool = False
    stdin: bool = False
    stdin_once: bool = False

    @property
    def conmon_pid_file(self) -> Path:
        return self.bundle / "conmon.pid"

    @property
    def pid_file(self) -> Path:
        return self.bundle / "container.pid"


@dataclass(frozen=True, slots=True)
class Supervised:
    """A created container: its first process and its conmon."""

    process: ProcessIdentity
    conmon: ProcessIdentity


class _SyncReport(msgspec.Struct):
    pid: int = -1
    data: int = -1
    message: str = ""


def arguments_of(program: str, runtime: OciRuntime, supervision: Supervision) -> list[str]:
    """The command line of conmon for one container."""
    arguments = [program, "--cid", supervision.container_id, "--cuuid", supervision.container_id]
    arguments += ["--name", supervision.container_id, "--bundle", str(supervision.bundle)]
    arguments += ["--runtime", runtime.program, "--runtime-arg", "--root", "--runtime-arg", str(runtime.root)]
    arguments += [word for option in runtime.options for word in ("--runtime-arg", option)]
    arguments += ["--conmon-pidfile", str(supervision.conmon_pid_file)]
    arguments += ["--container-pidfile", str(supervision.pid_file)]
    arguments += ["--exit-dir", str(supervision.exit_dir), "--persist-dir", str(supervision.bundle)]
    arguments += ["--log-path", f"k8s-file:{supervision.log_path}", "--no-sync-log", "--full-attach"]
    if supervision.terminal:
        arguments.append("--terminal")
    if supervision.stdin:
        arguments += ["--stdin"] if supervision.stdin_once else ["--stdin", "--leave-stdin-open"]
    return arguments


async def create(program: str, runtime: OciRuntime, supervision: Supervision) -> Supervised:
    """Create the container of ``supervision.bundle`` under a conmon of its own. Raises ContainerRuntimeError."""
    reading, writing = os.pipe()
    try:
        try:
            arguments = arguments_of(program, runtime, supervision)
            pid = _spawn(arguments, writing, supervision.bundle / "conmon.log", runtime.launcher)
        finally:
            os.close(writing)
        report = await _report(reading)
    except TimeoutError:
        raise ContainerRuntimeError(f"conmon did not report within {CREATE_TIMEOUT_S:g} s") from None
    except OSError as error:
        raise ContainerRuntimeError(f"cannot start conmon: {error}") from error
    finally:
        os.close(reading)
    code = await ended(pid)
    return _supervised(report, supervision, code)


def _spawn(arguments: list[str], sync: int, errors: Path, launcher: Launcher) -> int:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    output = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        descriptors = {0: null, 1: null, 2: output, _SYNC_DESCRIPTOR: sync}
        # conmon stamps log lines in local time; readers compare them as text, so they have to be in UTC.
        environment = {"_OCI_SYNCPIPE": str(_SYNC_DESCRIPTOR), "TZ": "UTC"}
        return launcher.spawn(arguments, descriptors=descriptors, environment=environment)
    finally:
        os.close(null)
        os.close(output)


async def _report(descriptor: int) -> bytes:
    """The first line from conmon, empty if it ended without one. Raises TimeoutError."""
    loop = asyncio.get_running_loop()
    os.set_blocking(descriptor, False)
    done: asyncio.Future[bytes] = loop.create_future()
    collected = bytearray()

    def readable() -> None:
        data = os.read(descriptor, 65536)
        collected.extend(data)
        if (not data or b"\n" in data) and not done.done():
            done.set_result(bytes(collected))

    loop.add_reader(descriptor, readable)
    try:
        async with asyncio.timeout(CREATE_TIMEOUT_S):
            return await done
    finally:
        loop.remove_reader(descriptor)


def _supervised(report: bytes, supervision: Supervision, code: int) -> Supervised:
    if not report:
        text = (supervision.bundle / "conmon.log").read_text(encoding="utf-8", errors="replace").strip()
        raise ContainerRuntimeError(f"conmon ended with code {code}: {text}")
    parsed = msgspec.json.decode(report.splitlines()[0], type=_SyncReport)
    pid = max(parsed.pid, parsed.data)
    if pid <= 0:
        raise ContainerRuntimeError(message_of(parsed.message) or "the runtime gave no reason")
    try:
        conmon = identify(int(supervision.conmon_pid_file.read_text(encoding="ascii")))
        return Supervised(identify(pid), conmon)
    except (OSError, ValueError) as error:
        raise ContainerRuntimeError(f"the container ended while it was created: {error}") from error
