"""Metrics pages: which series are found on them, and which are counters."""

from __future__ import annotations

import pytest

from nodeagent.scraping.pages import SERIES_LIMIT, UnreadablePageError, Value, read_page

PAGE = """\
# HELP http_requests_total Requests served.
# TYPE http_requests_total counter
http_requests_total{code="200",path="/a b"} 1027 1395066363000
http_requests_total{code="500",path="/\\"c\\""} 3
# TYPE queue_depth gauge
queue_depth 7
# TYPE latency_seconds histogram
latency_seconds_bucket{le="0.1"} 24
latency_seconds_bucket{le="+Inf"} 30
latency_seconds_sum 5.5
latency_seconds_count 30
untyped_total 4
untyped 5
"""
OPEN_METRICS = """\
# TYPE http_requests counter
# UNIT latency_seconds seconds
http_requests_total{code="200",q="a # b"} 1027 # {trace_id="abc"} 1 1520879607.789
http_requests_created{code="200"} 1520430000.123
# TYPE queue_depth gauge
queue_depth 7 1520879607.789
# EOF
"""


def test_only_what_is_wanted_is_read() -> None:
    """Series are read with their labels and values, others only by their names."""
    page = read_page(PAGE, wanted={"http_requests_total", "queue_depth"})
    assert page.values == (
        Value("http_requests_total", {"code": "200", "path": "/a b"}, True, 1027.0),
        Value("http_requests_total", {"code": "500", "path": '/"c"'}, True, 3.0),
        Value("queue_depth", {}, False, 7.0),
    )
    assert not page.cut


def test_counters_are_told_from_gauges() -> None:
    """A series is cumulative by its type, its family's, or its ending where nothing is said."""
    assert read_page(PAGE, wanted=frozenset()).offered == {
        "http_requests_total": True,
        "queue_depth": False,
        "latency_seconds_bucket": True,
        "latency_seconds_sum": True,
        "latency_seconds_count": True,
        "untyped_total": True,
        "untyped": False,
    }


def test_open_metrics_is_read() -> None:
    """Exemplars and times in seconds are no part of a value, and a label may look like an exemplar."""
    page = read_page(OPEN_METRICS, wanted={"http_requests_total", "queue_depth"})
    assert page.values == (
        Value("http_requests_total", {"code": "200", "q": "a # b"}, True, 1027.0),
        Value("queue_depth", {}, False, 7.0),
    )
    assert page.offered == {"http_requests_total": True, "http_requests_created": False, "queue_depth": False}


def test_too_many_series_are_cut() -> None:
    """A page can't make the agent carry any number of series."""
    text = "\n".join(f'jobs{{id="{number}"}} 1' for number in range(SERIES_LIMIT + 1))
    page = read_page(text, wanted={"jobs"})
    assert (len(page.values), page.cut) == (SERIES_LIMIT, True)


@pytest.mark.parametrize("text", ["<html>", "jobs", "jobs{", "jobs many", 'jobs{a="b" 3'])
def test_what_is_no_page_is_refused(text: str) -> None:
    """A page in another format says so instead of reading as nothing."""
    with pytest.raises(UnreadablePageError):
        read_page(text, wanted={"jobs"})
