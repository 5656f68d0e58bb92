"""Log lines: one event a line, with everything that belongs to it."""

from __future__ import annotations

import json
import logging

import pytest

from flotilla.logs import EventFormatter


def _record(**extra: object) -> logging.LogRecord:
    record = logging.LogRecord("x.y", logging.WARNING, "f.py", 1, "pod_started", None, None)
    record.__dict__.update(extra)
    return record


def test_logfmt_quotes_what_needs_it() -> None:
    """Words stand bare; blanks, quotes and empty text are quoted; other values are JSON."""
    line = EventFormatter("agent").format(_record(pod="web-1", why='a "b"', none="", count=3, up=True, many=[1, 2]))
    assert line.split(" ", 1)[1] == (
        'level=warning process=agent logger=x.y event=pod_started pod=web-1 why="a \\"b\\"" none="" count=3 up=true'
        ' many="[1, 2]"'
    )


def test_json_is_one_object_a_line() -> None:
    """With json the same fields are an object, an exception included, on a single line."""
    try:
        raise ValueError("no\nway")
    except ValueError as error:
        record = _record(pod="web-1", exc_info=(ValueError, error, error.__traceback__))
    line = EventFormatter("agent", log_format="json").format(record)
    fields = json.loads(line)
    assert "\n" not in line
    assert (fields["event"], fields["pod"], fields["level"]) == ("pod_started", "web-1", "warning")
    assert "ValueError: no" in fields["exception"]


@pytest.mark.parametrize("log_format", ["logfmt", "json"])
def test_a_line_never_breaks(log_format: str) -> None:
    """Text of several lines stays on one."""
    line = EventFormatter("agent", log_format=log_format).format(_record(text="a\nb"))  # type: ignore[arg-type]
    assert "\n" not in line
