"""Reading a container's log: from its end, from a time, following it through rotations and restarts.

Logs are files in CRI format (``<time> <stream> <P|F> <text>``), one for each run, with the rotated part beside it as
``<file>.1``. A follower sleeps in inotify until the file grows, is rotated, or something about the container changes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from flotilla.api.objects import parse_time
from nodeagent.runtime.inotify import IN_CREATE, IN_MODIFY, IN_MOVED_TO, Inotify

BLOCK_BYTES = 64 << 10
FRAME_BYTES = 32 << 10
ROTATED_SUFFIX = ".1"


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What of a log is wanted; ``since`` as the text of a UTC time, which orders like the log's own."""

    follow: bool = False
    timestamps: bool = False
    since: str = ""
    tail_lines: int | None = None
    limit_bytes: int | None = None
    stream: str = "All"


class RunLogs(Protocol):
    """The logs of one container and what is known of its runs."""

    def file(self, attempt: int) -> Path:
        """The log of one run."""

    def ended(self, attempt: int) -> bool:
        """Whether that run writes no more."""

    def after(self, attempt: int) -> int | None:
        """The next run, if there has been one since."""

    def last(self) -> bool:
        """Whether no further run will come."""

    def changes(self) -> AbstractContextManager[asyncio.Event]:
        """An event that is set whenever one of these answers may have changed."""


def options_of(options: Mapping[str, Any], now: datetime) -> LogOptions:
    """A PodLogOptions object as it applies at ``now``. Raises ValueError."""
    since = ""
    if options.get("sinceSeconds") is not None:
        since = _stamp(now - timedelta(seconds=int(options["sinceSeconds"])))
    elif options.get("sinceTime"):
        since = _stamp(parse_time(options["sinceTime"]))
    return LogOptions(
        follow=bool(options.get("follow")),
        timestamps=bool(options.get("timestamps")),
        since=since,
        tail_lines=options.get("tailLines"),
        limit_bytes=options.get("limitBytes"),
        stream=options.get("stream") or "All",
    )


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


def render(line: bytes, options: LogOptions, *, continued: bool = False) -> bytes:
    """What a reader gets of one line of a log file; nothing if the options leave it out.

    ``continued`` says that the file's line goes on with a line of the container: only beginnings have a time.
    """
    parts = line.split(b" ", 3)
    if len(parts) < 4:
        return b""
    stamp, stream, tag, text = parts
    if options.stream != "All" and stream.decode() != options.stream.lower():
        return b""
    if options.since and stamp[: len(options.since)].decode("ascii", errors="replace") < options.since:
        return b""
    body = text.removesuffix(b"\n") if tag.startswith(b"P") else text
    return stamp + b" " + body if options.timestamps and not continued else body


def tail_offset(file: BinaryIO, lines: int) -> tuple[int, int]:
    """Where the last ``lines`` lines of a file begin, and how many lines are missing because it has fewer."""
    position = file.seek(0, os.SEEK_END)
    if lines <= 0 or position == 0:
        return position, max(0, lines)
    end = position - 1
    while position > 0:
        start = max(0, position - BLOCK_BYTES)
        file.seek(start)
        block = file.read(min(position, end) - start)
        index = len(block)
        while (index := block.rfind(b"\n", 0, index)) >= 0:
            lines -= 1
            if lines == 0:
                return start + index + 1, 0
        position = start
    return 0, lines - 1


class _Budget:
    """Cuts what is given out at ``limit_bytes``."""

    def __init__(self, limit_bytes: int | None) -> None:
        self.left = limit_bytes

    def cut(self, data: bytes) -> bytes:
        if self.left is not None:
            data = data[: self.left]
            self.left -= len(data)
        return data

    @property
    def spent(self) -> bool:
        return self.left == 0


async def read_log(logs: RunLogs, attempt: int, options: LogOptions) -> AsyncIterator[bytes]:
    """A run's log as frames of bytes. With ``follow`` it goes on with later runs, until there will be none."""
    budget = _Budget(options.limit_bytes)
    with logs.changes() as changed, _Directory(logs.file(attempt).parent, changed):
        file = _open_at_start(logs.file(attempt), options)
        try:
            while True:
                changed.clear()
                ended, following = logs.ended(attempt), logs.after(attempt)
                for frame in _frames(file, options):
                    cut = budget.cut(frame)
                    if cut:
                        yield cut
                    if budget.spent:
                        return
                if not options.follow:
                    return
                if file.rotated():
                    file.reopen()
                elif ended and following is not None:
                    attempt = following
                    file.close()
                    file = _LogFile(logs.file(attempt))
                elif ended and logs.last():
                    return
                else:
                    await changed.wait()
        finally:
            file.close()


class _LogFile:
    """An open log that may not exist yet; ``pending`` is the part of a line that is not complete.

    ``continued`` says that the last line given out was the first part of a longer one.
    """

    def __init__(self, path: Path, *, begin: int = 0, earlier: bytes = b"") -> None:
        self.path, self.pending, self.earlier = path, b"", earlier
        self.continued = False
        self._file: BinaryIO | None = None
        self._begin = begin

    def read(self) -> bytes:
        if self._file is None:
            try:
                self._file = self.path.open("rb")
            except FileNotFoundError:
                return b""
            self._file.seek(self._begin)
        return self._file.read(BLOCK_BYTES)

    def rotated(self) -> bool:
        """Whether the name leads to another file by now."""
        if self._file is None:
            return False
        try:
            return self.path.stat().st_ino != os.fstat(self._file.fileno()).st_ino
        except FileNotFoundError:
            return False

    def reopen(self) -> None:
        self.close()
        self._begin = 0

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _open_at_start(path: Path, options: LogOptions) -> _LogFile:
    """The file at the place where reading begins, with what is wanted of its rotated part."""
    older = path.with_name(path.name + ROTATED_SUFFIX)
    begin, missing = 0, options.tail_lines
    if options.tail_lines is not None and path.exists():
        with path.open("rb") as file:
            begin, missing = tail_offset(file, options.tail_lines)
    if missing == 0 or not older.exists():
        return _LogFile(path, begin=begin)
    with older.open("rb") as file:
        file.seek(tail_offset(file, missing)[0] if missing is not None else 0)
        return _LogFile(path, begin=begin, earlier=file.read())


def _frames(file: _LogFile, options: LogOptions) -> Iterator[bytes]:
    """All complete lines that can be read now, rendered, in frames of moderate size."""
    data, file.earlier = file.earlier or file.read(), b""
    while data:
        *lines, file.pending = (file.pending + data).split(b"\n")
        frame = bytearray()
        for line in lines:
            if shown := render(line + b"\n", options, continued=file.continued):
                frame += shown
                file.continued = not shown.endswith(b"\n")
            if len(frame) >= FRAME_BYTES:
                yield bytes(frame)
                frame.clear()
        if frame:
            yield bytes(frame)
        data = file.read()


class _Directory:
    """Sets an event whenever a file in a directory grows, appears or is renamed into it."""

    def __init__(self, directory: Path, changed: asyncio.Event) -> None:
        self._directory, self._changed = directory, changed
        self._inotify = Inotify()

    def __enter__(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._inotify.add(self._directory, IN_MODIFY | IN_CREATE | IN_MOVED_TO)
        asyncio.get_running_loop().add_reader(self._inotify.fileno(), self._happened)

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._inotify.fileno())
        self._inotify.close()

    def _happened(self) -> None:
        self._inotify.read()
        self._changed.set()
