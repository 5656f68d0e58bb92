"""A new process in a running container, joined to a stream: ``kubectl exec``.

The OCI runtime starts the process and stays with it until it ends. Without a terminal the three pipes are the process's
own. With one the runtime gets our end of a pseudo terminal, makes another inside of the container and copies between
the two; a new size is set on both. What the runtime itself has to say when it can't start the process arrives where the
process's error output would, so that is held back until the process runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec

from flotilla.api.errors import ApiError, internal
from flotilla.api.objects import KubeObject, encode
from flotilla.api.streams import RESIZE, STATUS, STDERR, STDIN, STDOUT, Chunk, StreamOptions
from nodeagent.runtime.containers import Containers, ExecProcess
from nodeagent.runtime.oci import ContainerRuntimeError, message_of
from nodeagent.runtime.processes import kill_tree
from nodeagent.runtime.terminals import copy_size, set_size
from nodeagent.streams.channels import Channels, chunks_of, discard, open_reader, open_writer

STARTED_POLL_S = 0.005
DRAIN_S = 2.0
ERROR_BYTES = 16 * 1024


class TerminalSize(msgspec.Struct, rename="pascal"):
    """What a client says of its terminal."""

    width: int
    height: int


@dataclass(slots=True)
class _Ends:
    """Our ends of what the process is joined to; ``errors`` is what the runtime, or the process, reports."""

    stdin: asyncio.StreamWriter | None
    stdout: asyncio.StreamReader | None
    errors: asyncio.StreamReader
    terminal: int = -1


def success() -> bytes:
    """The Status of a stream that ended well."""
    return encode({"metadata": {}, "status": "Success"})


def failure(error: ApiError) -> bytes:
    return encode(error.status())


def exit_status(code: int) -> bytes:
    """The Status of a process that has ended with ``code``, as clients read it."""
    if code == 0:
        return success()
    cause = {"reason": "ExitCode", "message": str(code)}
    status: KubeObject = {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [cause]},
    }
    return encode(status)


def size_of(data: bytes) -> TerminalSize | None:
    """The size that a resize message carries, None where it is none a terminal can have."""
    try:
        size = msgspec.json.decode(data, type=TerminalSize)
    except msgspec.DecodeError:
        return None
    return size if 0 < size.width < 1 << 16 and 0 < size.height < 1 << 16 else None


async def run_command(
    containers: Containers, container_id: str, command: list[str], *, streams: StreamOptions, channels: Channels
) -> None:
    """Run a command in a container until it ends, and say how on the status channel.

    It is killed when the other side leaves first. Raises ApiError where it can't be started.
    """
    async with contextlib.AsyncExitStack() as stack:
        ends, descriptors = await _join(streams, stack)
        try:
            process = await containers.begin_exec(
                container_id, command, terminal=streams.tty, descriptors=descriptors, stack=stack
            )
        except (ContainerRuntimeError, OSError) as error:
            raise internal(f"error executing command in container: {error}") from error
        finally:
            for descriptor in set(descriptors.values()):
                os.close(descriptor)
        await channels.write(Chunk(STDIN, b""))
        await channels.write(Chunk(STATUS, await _attend(process, ends, streams, channels)))


async def _join(streams: StreamOptions, stack: contextlib.AsyncExitStack) -> tuple[_Ends, dict[int, int]]:
    """Our ends, and the process's descriptors, which the caller closes once they have been handed on."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    errors, transport = await open_reader(reading)
    stack.callback(transport.close)
    if streams.tty:
        master, slave = pty.openpty()
        stdout, transport = await open_reader(os.dup(master))
        stack.callback(transport.close)
        stdin = await open_writer(master)
        stack.callback(discard, stdin)
        return _Ends(stdin, stdout, errors, terminal=master), {0: slave, 1: slave, 2: writing}
    ends, descriptors = _Ends(None, None, errors), {2: writing}
    if streams.stdin:
        descriptors[0], ours = os.pipe2(os.O_CLOEXEC)
        ends.stdin = await open_writer(ours)
        stack.callback(discard, ends.stdin)
    else:
        descriptors[0] = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    if streams.stdout:
        ours, descriptors[1] = os.pipe2(os.O_CLOEXEC)
        ends.stdout, transport = await open_reader(ours)
        stack.callback(transport.close)
    else:
        descriptors[1] = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    return ends, descriptors


async def _attend(process: ExecProcess, ends: _Ends, streams: StreamOptions, channels: Channels) -> bytes:
    """Move bytes until the process has ended and all that it wrote is sent; the Status to end with."""
    leaving = asyncio.create_task(_take_input(process, ends, channels), name="exec input")
    sizing = asyncio.create_task(_tell_first_size(process, ends), name="exec size")
    waiting = asyncio.create_task(process.ended(), name="exec end")
    errors = bytearray()
    outputs = [asyncio.create_task(_give_errors(process, ends, streams, channels, errors), name="exec errors")]
    if ends.stdout is not None:
        outputs.append(asyncio.create_task(_give(chunks_of(ends.stdout), STDOUT, channels), name="exec output"))
    try:
        await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            await asyncio.wait(outputs, timeout=DRAIN_S)
    finally:
        if not waiting.done():
            await asyncio.to_thread(kill_tree, process.identity)
            await waiting
        for task in (leaving, sizing, *outputs):
            task.cancel()
        await asyncio.gather(leaving, sizing, *outputs, return_exceptions=True)
    if not process.started:
        message = message_of(errors.decode("utf-8", errors="replace")) or "the runtime gave no reason"
        return failure(internal(f"error executing command in container: {message}"))
    return exit_status(waiting.result())


async def _take_input(process: ExecProcess, ends: _Ends, channels: Channels) -> None:
    """Hand on input and terminal sizes until the other side has left."""
    while (chunk := await channels.read()) is not None:
        if chunk.channel == RESIZE and ends.terminal >= 0:
            _resize(process, ends.terminal, size_of(chunk.data))
        elif chunk.channel == STDIN and ends.stdin is not None:
            with contextlib.suppress(OSError):
                ends.stdin.write(chunk.data)
                await ends.stdin.drain()
            if chunk.end and ends.terminal < 0:
                ends.stdin.close()
                ends.stdin = None


async def _tell_first_size(process: ExecProcess, ends: _Ends) -> None:
    """Carry over a size that came before the runtime had made its terminal."""
    if ends.terminal >= 0:
        with contextlib.suppress(OSError):
            while not process.over and not copy_size(ends.terminal, process.identity):  # noqa: ASYNC110 (/proc is asked)
                await asyncio.sleep(STARTED_POLL_S)


def _resize(process: ExecProcess, terminal: int, size: TerminalSize | None) -> None:
    if size is not None:
        set_size(terminal, width=size.width, height=size.height)
        with contextlib.suppress(OSError):
            copy_size(terminal, process.identity)


async def _give(chunks: AsyncIterator[bytes], channel: int, channels: Channels) -> None:
    async for data in chunks:
        await channels.write(Chunk(channel, data))


async def _give_errors(
    process: ExecProcess, ends: _Ends, streams: StreamOptions, channels: Channels, kept: bytearray
) -> None:
    """Send error output once the process runs; before that, it is the runtime that speaks."""
    async for data in chunks_of(ends.errors):
        while not process.started and not process.over:  # noqa: ASYNC110 (a file is waited for)
            await asyncio.sleep(STARTED_POLL_S)
        if not process.started:
            kept += data[: ERROR_BYTES - len(kept)]
        elif streams.stderr and not streams.tty:
            await channels.write(Chunk(STDERR, data))
