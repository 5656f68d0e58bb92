"""The curves of ``flotilla top``."""

from __future__ import annotations

import pytest

from flotilla.cli.dashboard import POINTS, Curves, sparkline


@pytest.mark.parametrize(
    ("values", "most", "shown"),
    [
        ([], 0, ""),
        ([0, 0], 0, "▁▁"),
        ([0, 1, 2, 4, 8], 8, "▁▁▂▄█"),
        ([8], 16, "▄"),
        ([20], 10, "█"),
    ],
)
def test_a_value_is_a_bar(values: list[float], most: float, shown: str) -> None:
    """The largest value, or what there is, is the highest bar; nothing is still a line."""
    assert sparkline(values, most=most) == shown


def test_curves_keep_a_minute_of_what_is_seen() -> None:
    """What has gone is forgotten with the frame that it is missing from."""
    curves = Curves()
    for value in range(POINTS + 5):
        assert list(curves.add(("pod", "a"), value))[-1] == value
        curves.end_frame()
    assert next(iter(curves.add(("pod", "a"), 0.0))) == 6
    curves.end_frame()
    curves.end_frame()
    assert not curves.points
