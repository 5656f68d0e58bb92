"""The OCI runtime's command line: runc's or crun's.

Only what needs the runtime goes through it. Signals are sent to the process directly: ``runc kill`` costs 5 ms and
finds the same pid.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flotilla.api.objects import KubeObject, encode
from nodeagent.runtime.launching import Direct, Launcher
from nodeagent.runtime.processes import Completed, run, wait_readable

CALL_TIMEOUT_S = 30.0
GATE_TIMEOUT_S = 1.0
_MESSAGE = re.compile(r'msg="((?:[^"\\]|\\.)*)"')


class ContainerRuntimeError(Exception):
    """The runtime refused; ``message`` is what a user is shown."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def exit_code(self) -> int:
        """The code a shell would give: 127 not found, 126 not executable, else 128 as containerd reports."""
        message = self.message.lower()
        if "executable file not found" in message or "no such file or directory" in message:
            return 127
        return 126 if "permission denied" in message else 128


def message_of(output: str) -> str:
    """The human part of runc's or crun's error output, without time stamp and level."""
    found = _MESSAGE.findall(output)
    text = found[-1] if found else output
    return text.replace('\\"', '"').replace("\\n", "\n").strip()


@dataclass(frozen=True, slots=True)
class OciRuntime:
    """One runtime program with its state directory ``root`` (on a tmpfs: the state does not survive a reboot).

    ``options`` are given to it before every command.

    Everything that works for it, conmon too, is started by ``launcher``.
    """

    program: str
    root: Path
    launcher: Launcher = field(default_factory=Direct)
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The scheme of container ids in pod status."""
        return Path(self.program).name

    async def start(self, container_id: str) -> None:
        """Run the created container's program. Raises ContainerRuntimeError.

        The first process is held at a named pipe in the container's state. ``runc start`` does nothing but read the
        byte that it writes there and remove the pipe, ``crun start`` removes it and writes the byte that it reads.
        Doing that here saves a process of 5 ms, or 2 ms; whatever is not as expected is left to the runtime itself,
        which then also says what is wrong.
        """
        gate = self._gate(container_id)
        through = _push_through(gate) if self.name == "crun" else await _let_through(gate)
        if not through:
            await self._call("start", container_id)

    def is_held(self, container_id: str, pid: int) -> bool:
        """Whether the container has been created and its program, to be process ``pid``, not been started.

        The pipe alone does not tell: who let the program through may have died before he could remove it.
        """
        try:
            command = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        return self._gate(container_id).exists() and command.startswith(self.name)

    def _gate(self, container_id: str) -> Path:
        return self.root / container_id / "exec.fifo"

    async def delete(self, container_id: str, *, force: bool = False) -> None:
        """Remove an ended container, with ``force`` also a living one; one that does not exist is fine."""
        flags = ["--force"] if force else []
        completed = await self._run("delete", *flags, container_id)
        if completed.code and (self.root / container_id).exists():
            raise ContainerRuntimeError(message_of(completed.output))

    def known(self) -> set[str]:
        """Ids of all containers that the runtime has state of."""
        return {entry.name for entry in self.root.iterdir() if entry.is_dir()} if self.root.is_dir() else set()

    async def execute(
        self, container_id: str, process: KubeObject, *, owner: int, directory: Path, timeout_s: float, limit_bytes: int
    ) -> Completed:
        """Run one more process in a container and wait for it; past the time it is killed with the runtime's.

        ``process`` is the specification's process object, ``owner`` its user on the node, ``directory`` a private place
        for two small files.
        Raises ContainerRuntimeError when it cannot be started.
        """
        spec, pid_file = directory / "process.json", directory / "pid"
        await asyncio.to_thread(spec.write_bytes, encode(process))
        arguments = ("exec", "--process", str(spec), "--pid-file", str(pid_file), container_id)
        completed = await run(
            [*self._command(), *arguments],
            timeout_s=timeout_s,
            limit_bytes=limit_bytes,
            start=self.launcher.spawn,
            owner=owner,
        )
        if not completed.timed_out and not pid_file.exists():
            raise ContainerRuntimeError(message_of(completed.output))
        return completed

    def begin_exec(self, container_id: str, *, spec: Path, pid_file: Path, descriptors: Mapping[int, int]) -> int:
        """Start one more process in a container; the pid of the runtime, which stays until that process has ended.

        ``descriptors`` become its own; a process with a terminal needs one as descriptor 0. Raises OSError.
        """
        arguments = ("exec", "--process", str(spec), "--pid-file", str(pid_file), container_id)
        return self.launcher.spawn([*self._command(), *arguments], descriptors=descriptors)

    def _command(self) -> list[str]:
        return [self.program, "--root", str(self.root), *self.options]

    async def _run(self, *arguments: str) -> Completed:
        return await run([*self._command(), *arguments], timeout_s=CALL_TIMEOUT_S, start=self.launcher.spawn)

    async def _call(self, *arguments: str) -> None:
        completed = await self._run(*arguments)
        if completed.timed_out:
            raise ContainerRuntimeError(f"{self.name} {arguments[0]} did not end within {CALL_TIMEOUT_S:g} s")
        if completed.code:
            raise ContainerRuntimeError(message_of(completed.output))


async def _let_through(fifo: Path) -> bool:
    """Read the one byte that the waiting process writes; whether it came and the pipe is gone."""
    try:
        descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        await wait_readable(descriptor, timeout_s=GATE_TIMEOUT_S)
        if os.read(descriptor, 16) != b"0":
            return False
        os.unlink(fifo)  # noqa: PTH108
    except (OSError, TimeoutError):
        return False
    finally:
        os.close(descriptor)
    return True


def _push_through(fifo: Path) -> bool:
    """Write the one byte that the waiting process reads, and remove the pipe; whether it was waiting."""
    try:
        descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(descriptor, b"0")
        os.unlink(fifo)  # noqa: PTH108
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
