"""Reading log files in CRI format: the end, since a time, across rotations and restarts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nodeagent.logs import LogOptions, options_of, read_log, render, tail_offset

DEADLINE_S = 5.0


@dataclass
class Runs:
    """A container's runs, told by hand."""

    directory: Path
    over: set[int] = field(default_factory=set)
    newest: int = 0
    final: bool = True
    events: set[asyncio.Event] = field(default_factory=set)

    def file(self, attempt: int) -> Path:
        return self.directory / f"{attempt}.log"

    def ended(self, attempt: int) -> bool:
        return attempt in self.over or attempt < self.newest

    def after(self, attempt: int) -> int | None:
        return attempt + 1 if attempt < self.newest else None

    def last(self) -> bool:
        return self.final

    @contextlib.contextmanager
    def changes(self) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        self.events.add(event)
        yield event
        self.events.discard(event)

    def write(self, *texts: str, attempt: int = 0, stream: str = "stdout", tag: str = "F") -> None:
        with self.file(attempt).open("a") as file:
            file.writelines(
                f"2026-01-01T00:00:{index:02}.5Z {stream} {tag} {text}\n" for index, text in enumerate(texts)
            )

    def changed(self) -> None:
        for event in self.events:
            event.set()


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


async def whole(runs: Runs, **options: Any) -> str:
    frames = [frame async for frame in read_log(runs, 0, LogOptions(**options))]
    return b"".join(frames).decode()


async def test_all_of_a_log(runs: Runs) -> None:
    """Lines come without the prefix, both streams in the order they were written."""
    runs.write("one")
    runs.write("two", stream="stderr")
    assert await whole(runs) == "one\ntwo\n"
    assert await whole(runs, stream="Stderr") == "two\n"


async def test_a_missing_log_is_empty(runs: Runs) -> None:
    """A container that has written nothing has no file yet."""
    assert await whole(runs) == ""


async def test_partial_lines_are_joined(runs: Runs) -> None:
    """A line longer than the log's own limit is given out as the one line it was."""
    runs.write("first half ", tag="P")
    runs.write("second half")
    assert await whole(runs) == "first half second half\n"


async def test_a_joined_line_has_one_time(runs: Runs) -> None:
    """The time of a line is that of its beginning, however many parts it was written in."""
    runs.write("one ", tag="P")
    runs.write("line")
    runs.write("next")
    stamp = "2026-01-01T00:00:00.5Z"
    assert await whole(runs, timestamps=True) == f"{stamp} one line\n{stamp} next\n"


async def test_carriage_returns_are_text(runs: Runs) -> None:
    """What programs write for terminals, such as progress bars, is there as it was written."""
    runs.write("10%\r20%\r30%", "done\r")
    assert await whole(runs) == "10%\r20%\r30%\ndone\r\n"


@pytest.mark.parametrize(("lines", "expected"), [(0, ""), (1, "c\n"), (2, "b\nc\n"), (9, "a\nb\nc\n")])
async def test_the_last_lines(runs: Runs, lines: int, expected: str) -> None:
    """Exactly as many as were asked for, all if there are fewer."""
    runs.write("a", "b", "c")
    assert await whole(runs, tail_lines=lines) == expected


def test_the_last_lines_of_a_long_file(tmp_path: Path) -> None:
    """The beginning of the tail is found across many blocks without reading the whole file."""
    path = tmp_path / "long.log"
    path.write_text("".join(f"{number:0100}\n" for number in range(5000)))
    with path.open("rb") as file:
        offset, missing = tail_offset(file, 3000)
        file.seek(offset)
        assert int(file.readline()) == 2000
        assert missing == 0
        assert tail_offset(file, 6000) == (0, 1000)


async def test_the_tail_reaches_into_the_rotated_part(runs: Runs) -> None:
    """A rotation just before does not shorten what is shown."""
    runs.write("a", "b")
    runs.file(0).rename(runs.directory / "0.log.1")
    runs.write("c")
    assert await whole(runs, tail_lines=2) == "b\nc\n"
    assert await whole(runs) == "a\nb\nc\n"


async def test_since_timestamps_and_limit(runs: Runs) -> None:
    """Options of the API combine."""
    runs.write("a", "b", "c")
    assert await whole(runs, since="2026-01-01T00:00:01.000000") == "b\nc\n"
    assert await whole(runs, timestamps=True, tail_lines=1) == "2026-01-01T00:00:02.5Z c\n"
    assert await whole(runs, limit_bytes=3) == "a\nb"


async def test_following_goes_through_rotation_and_restart(runs: Runs) -> None:
    """Lines of the old file, the new file and the next run arrive once each and in order."""
    runs.final = False
    received: list[str] = []
    arrived = asyncio.Event()

    async def follow() -> None:
        async for frame in read_log(runs, 0, LogOptions(follow=True)):
            received.extend(frame.decode().splitlines())
            arrived.set()

    async def until(line: str) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while line not in received:
                arrived.clear()
                await arrived.wait()

    following = asyncio.create_task(follow())
    runs.write("a")
    await until("a")
    runs.write("b")
    runs.file(0).rename(runs.directory / "0.log.1")
    runs.write("c")
    await until("c")
    runs.write("d", attempt=1)
    runs.newest = 1
    runs.changed()
    await until("d")
    runs.over.add(1)
    runs.final = True
    runs.changed()
    await asyncio.wait_for(following, DEADLINE_S)
    assert received == ["a", "b", "c", "d"]


async def test_following_waits_for_the_rest_of_a_line(runs: Runs) -> None:
    """A line that is half written when it is read comes whole."""
    with runs.file(0).open("w") as file:
        file.write("2026-01-01T00:00:00Z stdout F half")
    following = asyncio.ensure_future(anext(aiter(read_log(runs, 0, LogOptions(follow=True)))))
    await asyncio.sleep(0)
    with runs.file(0).open("a") as file:
        file.write(" and half\n")
    assert await asyncio.wait_for(following, DEADLINE_S) == b"half and half\n"


def test_options_of_the_api() -> None:
    """Seconds count back from now; a time is compared in UTC whatever its zone."""
    now = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
    assert options_of({"sinceSeconds": 60}, now).since == "2026-01-01T11:59:00.000000"
    assert options_of({"sinceTime": "2026-01-01T13:00:00+02:00"}, now).since == "2026-01-01T11:00:00.000000"
    with pytest.raises(ValueError, match="isoformat"):
        options_of({"sinceTime": "yesterday"}, now)


def test_a_line_that_is_no_log_line_is_left_out() -> None:
    """Damage in a file costs the damaged line only."""
    assert render(b"garbage\n", LogOptions()) == b""
