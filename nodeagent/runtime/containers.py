"""Containers by their ids: create, start, signal, delete, and hearing of their end.

What a container consists of outside the kernel:

    <run-dir>/private/bundles/<id>/   config.json, conmon's files; a tmpfs, because config.json holds the environment
    <run-dir>/<runtime>/<id>/         the OCI runtime's state
    <run-dir>/exits/<id>              the exit code, once there is one

Nothing here knows of pods, images or restarts, and nothing is remembered between calls but who waits for which exit: an
agent that starts again finds everything on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import shutil
import stat
import termios
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from flotilla.api.objects import KubeObject, decode, encode
from nodeagent.cgroups import PodCgroups
from nodeagent.runtime.conmon import Supervised, Supervision, create
from nodeagent.runtime.exits import ExitWatcher
from nodeagent.runtime.oci import ContainerRuntimeError
from nodeagent.runtime.processes import OUTPUT_LIMIT_BYTES, Completed, ProcessIdentity, ended, identify, kill_tree
from nodeagent.runtime.runtimes import Runtimes

logger = logging.getLogger(__name__)

REOPEN_LOGS = b"2 0 0\n"


@dataclass(frozen=True, slots=True)
class NewContainer:
    """What is needed to create one container."""

    container_id: str
    pod_uid: str
    config: KubeObject
    log_path: Path
    terminal: bool = False
    stdin: bool = False
    stdin_once: bool = False
    handler: str = ""  # of the pod's RuntimeClass; empty for the node's default


@dataclass(slots=True)
class ExecProcess:
    """One more process of a container, from the OCI runtime's start to its end."""

    identity: ProcessIdentity
    pid_file: Path
    over: bool = False

    @property
    def started(self) -> bool:
        """Whether the process itself has been started; before, there is only the runtime."""
        return self.pid_file.exists()

    async def ended(self) -> int:
        """Wait for the end; its exit code. To be called once."""
        try:
            return await ended(self.identity.pid)
        finally:
            self.over = True


class Containers:
    """The containers of one agent. ``conmon`` is the program's path; ``run_dir/private`` a tmpfs of mode 0700."""

    def __init__(self, run_dir: Path, *, runtimes: Runtimes, cgroups: PodCgroups, conmon: str) -> None:
        self.runtimes = runtimes
        self.exits = ExitWatcher(run_dir / "exits")
        self._bundles = run_dir / "private" / "bundles"
        self._cgroups = cgroups
        self._conmon = conmon

    def open(self) -> None:
        """Make the directories and begin to watch for exits. Raises OSError."""
        self._bundles.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.runtimes.open()
        self.exits.open()

    def close(self) -> None:
        """Stop watching; the containers go on."""
        self.exits.close()
        self.runtimes.close()

    def bundle(self, container_id: str) -> Path:
        return self._bundles / container_id

    def config(self, container_id: str) -> KubeObject | None:
        """The configuration that the container was created with, None if its bundle is gone."""
        try:
            found: KubeObject = decode((self.bundle(container_id) / "config.json").read_bytes())
        except (OSError, ValueError):
            return None
        return found

    async def create(self, new: NewContainer) -> Supervised:
        """Create the container under its conmon; its program does not run before ``start``.

        Raises ContainerRuntimeError; what has been made until then is removed by ``delete``.
        """
        self._write_bundle(new)
        supervision = Supervision(
            new.container_id,
            self.bundle(new.container_id),
            new.log_path,
            self.exits.directory,
            terminal=new.terminal,
            stdin=new.stdin,
            stdin_once=new.stdin_once,
        )
        created = await create(self._conmon, self.runtimes.handling(new.handler), supervision)
        give_streams(created.process.pid, new.config)
        return created

    def _write_bundle(self, new: NewContainer) -> None:
        bundle = self.bundle(new.container_id)
        try:
            bundle.mkdir(mode=0o700)
            (bundle / "config.json").write_bytes(encode(new.config))
            new.log_path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ContainerRuntimeError(f"cannot write the bundle: {error}") from error

    async def supervise(self, pod_uid: str, conmon: ProcessIdentity) -> None:
        """Give a conmon its place outside of the pod's and of the agent's cgroup; repeatable."""
        await asyncio.to_thread(self._cgroups.supervise, pod_uid, conmon.pid)

    def running(self, container_id: str) -> Supervised | None:
        """A container whose program was let through by an agent that did not live to note it; else None.

        One that was only created is of no use: its conmon ends when it finds nobody to report to.
        """
        bundle = self.bundle(container_id)
        try:
            pids = [int((bundle / name).read_text(encoding="ascii")) for name in ("container.pid", "conmon.pid")]
            found = Supervised(*map(identify, pids))
        except (OSError, ValueError):
            return None
        return None if self.runtimes.of(container_id).is_held(container_id, found.process.pid) else found

    async def start(self, container_id: str) -> None:
        """Run the container's program. Raises ContainerRuntimeError."""
        await self.runtimes.of(container_id).start(container_id)

    async def delete(self, container_id: str, *, force: bool = False) -> None:
        """Remove all that is left of an ended container; with ``force`` of any. Repeatable.

        Raises ContainerRuntimeError when the runtime will not let go of it.
        """
        if force:
            await asyncio.to_thread(kill_creators, [container_id])
        runtime = self.runtimes.of(container_id)
        if force or (runtime.root / container_id).exists():
            await runtime.delete(container_id, force=force)
        self.exits.discard(container_id)
        await asyncio.to_thread(shutil.rmtree, self.bundle(container_id), ignore_errors=True)

    async def execute(
        self, container_id: str, arguments: list[str], *, timeout_s: float, limit_bytes: int = OUTPUT_LIMIT_BYTES
    ) -> Completed:
        """Run a command in a container, as its user and in its environment. Raises ContainerRuntimeError."""
        config = self._config(container_id)
        process = process_for_exec(config, arguments, terminal=False)
        directory = self._exec_directory(container_id)
        try:
            return await self.runtimes.of(container_id).execute(
                container_id,
                process,
                owner=owner_of(config),
                directory=directory,
                timeout_s=timeout_s,
                limit_bytes=limit_bytes,
            )
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    async def begin_exec(
        self,
        container_id: str,
        arguments: list[str],
        *,
        terminal: bool,
        descriptors: Mapping[int, int],
        stack: AsyncExitStack,
    ) -> ExecProcess:
        """Start a command in a container, joined to ``descriptors``; its files go with ``stack``.

        Pipes among them become the command's user's. Raises ContainerRuntimeError, OSError. The caller waits for its
        end.
        """
        config = self._config(container_id)
        process = process_for_exec(config, arguments, terminal=terminal)
        directory = self._exec_directory(container_id)
        for descriptor in descriptors.values():
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                os.fchown(descriptor, owner_of(config), -1)
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        spec, pid_file = directory / "process.json", directory / "pid"
        spec.write_bytes(encode(process))
        runtime = self.runtimes.of(container_id)
        pid = runtime.begin_exec(container_id, spec=spec, pid_file=pid_file, descriptors=descriptors)
        return ExecProcess(identify(pid), pid_file)

    def _config(self, container_id: str) -> KubeObject:
        config = self.config(container_id)
        if config is None:
            raise ContainerRuntimeError(f"container {container_id} has no bundle")
        return config

    def _exec_directory(self, container_id: str) -> Path:
        directory = self.bundle(container_id) / f"exec-{os.urandom(4).hex()}"
        directory.mkdir(mode=0o700)
        return directory

    def attach_socket(self, container_id: str) -> Path:
        """Where conmon lets others join a container's first process (packets, see conmon's attach protocol)."""
        return self.bundle(container_id) / "attach"

    def resize(self, container_id: str, *, width: int, height: int) -> None:
        """Set the size of a container's terminal, in characters; nothing if conmon is gone.

        To be called while conmon is :meth:`listening`, as :meth:`reopen_log`.
        """
        self._tell(container_id, f"1 {height} {width}\n".encode())

    def reopen_log(self, container_id: str) -> None:
        """Make conmon open its log file anew, after the old one was renamed; nothing if conmon is gone."""
        self._tell(container_id, REOPEN_LOGS)

    def listening(self, container_id: str) -> bool:
        """Whether conmon has read all that it was told.

        Messages that it reads together are lost but for the first (conmon 2.1 follows that one several times).
        """
        with self._control(container_id) as control:
            return control is None or fcntl.ioctl(control, termios.FIONREAD, bytes(4)) == bytes(4)

    def _tell(self, container_id: str, message: bytes) -> None:
        with self._control(container_id) as control:
            if control is not None:
                os.write(control, message)

    @contextmanager
    def _control(self, container_id: str) -> Iterator[int | None]:
        """The pipe that conmon takes messages from, None if conmon is gone."""
        try:
            control = os.open(self.bundle(container_id) / "ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno not in (errno.ENXIO, errno.ENOENT):
                raise
            yield None
            return
        try:
            yield control
        finally:
            os.close(control)

    def known(self) -> set[str]:
        """Ids of every container that has left anything behind."""
        bundles = {entry.name for entry in self._bundles.iterdir()} if self._bundles.is_dir() else set()
        return bundles | self.runtimes.known() | self.exits.all_recorded()

    def end_orphans(self) -> int:
        """SIGKILL what agents before had the runtime execute in containers or remove; how many there were. Blocks.

        Nobody waits for it any more. What was stopped to be killed even keeps its container from ever ending: a first
        process is gone only when all others of its container have been waited for. To be called before any is begun.
        """
        return _kill_orphans(self.runtimes.roots())

    async def purge(self, container_ids: Iterable[str]) -> None:
        """Remove containers in whatever state they are, half-created ones included; failures are logged."""
        for container_id in container_ids:
            try:
                await self.delete(container_id, force=True)
            except ContainerRuntimeError as error:
                logger.warning("container_not_removed", extra={"container": container_id, "error": error.message})


def process_for_exec(config: KubeObject, arguments: list[str], *, terminal: bool) -> KubeObject:
    """The process object of a command in the container of ``config``."""
    process: KubeObject = {**config["process"], "args": arguments, "terminal": terminal}
    if terminal and not any(variable.startswith("TERM=") for variable in process.get("env") or ()):
        process["env"] = [*(process.get("env") or ()), "TERM=xterm"]
    return process


def owner_of(config: KubeObject) -> int:
    """The user on the node that a container's processes have."""
    mappings = config["linux"].get("uidMappings")
    uid: int = config["process"]["user"]["uid"]
    return mappings[0]["hostID"] + uid if mappings else uid


def give_streams(pid: int, config: KubeObject) -> None:
    """Let a created container with users of its own open its output again by name (``/dev/stdout``), as others can.

    Its pipes are conmon's, whose user the container does not have, so that the runtime can't hand them over.
    """
    if not config["linux"].get("uidMappings"):
        return
    owner = owner_of(config)
    for number in range(3):
        stream = f"/proc/{pid}/fd/{number}"
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISFIFO(os.stat(stream).st_mode):  # noqa: PTH116
                os.chown(stream, owner, -1)


def kill_creators(container_ids: Iterable[str]) -> None:
    """SIGKILL every conmon and OCI runtime process that works for these containers, found by its command line.

    Needed where an agent died while it created a container: the creation goes on without it.
    """
    wanted = {container_id.encode() for container_id in container_ids}
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal() or not wanted.intersection(_command_line(entry.path)):
            continue
        with contextlib.suppress(ProcessLookupError):
            identify(int(entry.name)).send(9)


def _kill_orphans(roots: Iterable[Path]) -> int:
    wanted = {str(root).encode() for root in roots}
    found = []
    for entry in os.scandir("/proc"):
        words = _command_line(entry.path) if entry.name.isdecimal() else []
        if wanted.intersection(words) and not {b"exec", b"delete"}.isdisjoint(words):
            with contextlib.suppress(ProcessLookupError):
                found.append(identify(int(entry.name)))
    for process in found:
        kill_tree(process)
    return len(found)


def _command_line(directory: str) -> list[bytes]:
    try:
        words = (Path(directory) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
    program = words[0].rpartition(b"/")[2]
    return words if program == b"conmon" or b"--root" in words else []
