"""Answers of a Prometheus server, good and bad."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.autoscaler.calculator import MetricError
from controlplane.autoscaler.prometheus import read_answer


def _answer(kind: str, result: Any) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}}).encode()


def test_vectors_and_scalars_are_read() -> None:
    """Both kinds of instant answers become labelled numbers."""
    vector = _answer("vector", [{"metric": {"job": "web"}, "value": [1700000000.0, "12.5"]}])
    assert read_answer(vector, status=200) == [({"job": "web"}, 12.5)]
    assert read_answer(_answer("scalar", [1700000000.0, "3"]), status=200) == [({}, 3.0)]
    assert read_answer(_answer("vector", []), status=200) == []


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"<html>not found</html>", 404, "HTTP 404.*not that of a Prometheus server"),
        (b"", 502, "not that of a Prometheus server"),
        (b'{"status":"error","errorType":"bad_data","error":"parse error at char 3"}', 400, "parse error at char 3"),
        (b'{"status":"success"}', 200, "the query fails: HTTP 200"),
        (_answer("matrix", []), 200, "a matrix: it has to be an instant vector or a scalar"),
        (_answer("vector", [{"value": 3}]), 200, "not that of a Prometheus server"),
        (_answer("vector", {"a": 1}), 200, "not that of a Prometheus server"),
        (_answer("scalar", ["1", "many"]), 200, "not that of a Prometheus server"),
    ],
)
def test_other_answers_are_explained(body: bytes, status: int, message: str) -> None:
    """What can't be a number says why it can't."""
    with pytest.raises(MetricError, match=message):
        read_answer(body, status=status)
