"""Output that people's scripts cut on."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flotilla.cli.tables import TableWriter, age, short_duration, state_colour, to_yaml


def test_columns_are_padded_with_three_spaces(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns line up, nothing is cut, and no line ends in blanks."""
    TableWriter(["Name", "Ready"]).write([["web-1", "1/1"], ["a-longer-name", None]])
    assert capsys.readouterr().out == "NAME            READY\nweb-1           1/1\na-longer-name   <none>\n"


def test_a_watch_prints_the_header_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Rows written later stand under the same columns."""
    writer = TableWriter(["Name", "N"])
    writer.write([["longest", 1]])
    writer.write([["b", 2]])
    assert capsys.readouterr().out == "NAME      N\nlongest   1\nb         2\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (190, "3m10s"),
        (600, "10m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (47 * 3600, "47h"),
        (50 * 3600, "2d2h"),
        (9 * 86400, "9d"),
        (800 * 86400, "2y70d"),
        (-5, "0s"),
    ],
)
def test_durations_are_as_kubernetes_shows_them(seconds: int, text: str) -> None:
    """At most two units, the smaller one only while it matters."""
    assert short_duration(seconds) == text


def test_an_age_without_a_time_is_unknown() -> None:
    """No timestamp, no age."""
    assert age(None) == "<unknown>"
    assert age("2026-01-01T00:00:00Z", now=datetime(2026, 1, 1, 0, 0, 7, tzinfo=UTC)) == "7s"


@pytest.mark.parametrize(
    ("state", "colour"),
    [
        ("Running", "green"),
        ("CrashLoopBackOff", "red"),
        ("Init:ImagePullBackOff", "red"),
        ("Init:0/1", "yellow"),
        ("Ready,SchedulingDisabled", "green"),
        ("NotReady", "red"),
        ("web", None),
    ],
)
def test_states_have_colours(state: str, colour: str | None) -> None:
    """What is well is green, what waits yellow, what failed red, and other words are left alone."""
    assert state_colour(state) == colour


def test_yaml_is_sorted_and_shows_lines() -> None:
    """Keys are in order, text of several lines is a block."""
    assert to_yaml({"b": "x\ny\n", "a": [1]}) == "a:\n- 1\nb: |\n  x\n  y\n"
