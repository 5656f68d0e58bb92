"""Progress of ``up`` and ``down``: one line a step, and failures that say what to do next.

On a terminal a running step is rewritten in place with the seconds it has taken; elsewhere each step prints one line
when it is done, so that logs stay readable.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from flotilla.cli.failures import CommandError

_TICK_S = 0.2
_TAIL_LINES = 8


class StepError(CommandError):
    """A step failed: what, the remedy, and the log that has the details, with its last lines."""

    def __init__(self, what: str, *, remedy: str = "", log: Path | None = None) -> None:
        parts = [what]
        if remedy:
            parts.append(f"  what to do: {remedy}")
        if log is not None:
            parts.append(f"  log: {log}")
            parts += [f"    | {line}" for line in tail(log)]
        super().__init__("\n".join(parts))


def tail(path: Path, *, lines: int = _TAIL_LINES) -> list[str]:
    """The last lines of a file; none where it can't be read."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 8192))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return []
    return text.splitlines()[-lines:]


@contextmanager
def step(title: str) -> Iterator[None]:
    """Show ``title`` while the body runs, then whether it went well and how long it took."""
    started_s = time.monotonic()
    finished = threading.Event()
    ticker = threading.Thread(target=_tick, args=(title, started_s, finished), daemon=True)
    if sys.stdout.isatty():
        ticker.start()
    try:
        yield
    except BaseException:
        _finish(ticker, finished)
        _line("failed", "red", title, started_s)
        raise
    _finish(ticker, finished)
    _line("ok", "green", title, started_s)


def _tick(title: str, started_s: float, finished: threading.Event) -> None:
    while not finished.wait(_TICK_S):
        print(f"\r\033[K  ...  {title} ({time.monotonic() - started_s:.0f} s)", end="", flush=True)


def _finish(ticker: threading.Thread, finished: threading.Event) -> None:
    finished.set()
    if ticker.ident is not None:
        ticker.join()
        print("\r\033[K", end="")


def _line(word: str, colour: str, title: str, started_s: float) -> None:
    mark = typer.style(f"{word:>6}", fg=colour) if sys.stdout.isatty() else f"{word:>6}"
    print(f"{mark}  {title} ({time.monotonic() - started_s:.1f} s)", flush=True)
