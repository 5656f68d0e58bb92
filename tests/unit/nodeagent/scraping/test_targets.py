"""Which pods have a metrics page."""

from __future__ import annotations

from typing import Any

import pytest

from nodeagent.scraping.targets import InvalidTargetError, target_of


def _pod(ports: list[dict[str, Any]] | None = None, **annotations: str) -> dict[str, Any]:
    written = {f"prometheus.io/{name}": value for name, value in annotations.items()}
    metadata = {"namespace": "default", "name": "web", "uid": "u1", "annotations": written}
    return {"metadata": metadata, "spec": {"containers": [{"name": "app", "ports": ports or []}]}}


@pytest.mark.parametrize(
    ("pod", "url"),
    [
        (_pod(scrape="true", port="8080"), "http://10.42.0.7:8080/metrics"),
        (_pod(scrape="true", port="8080", path="/stats?all=1", scheme="https"), "https://10.42.0.7:8080/stats?all=1"),
        (
            _pod([{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 9000}], scrape="true"),
            "http://10.42.0.7:9000/metrics",
        ),
    ],
)
def test_annotations_name_the_page(pod: dict[str, Any], url: str) -> None:
    """Port, path and scheme come from the annotations, the port else from the first TCP port declared."""
    target = target_of(pod, "10.42.0.7")
    assert target is not None
    assert target.url == url


@pytest.mark.parametrize("pod", [_pod(), _pod(port="8080"), _pod(scrape="false", port="8080")])
def test_other_pods_have_none(pod: dict[str, Any]) -> None:
    """Only a pod that asks to be scraped is."""
    assert target_of(pod, "10.42.0.7") is None


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ({}, "prometheus.io/port is missing"),
        ({"port": "http"}, "prometheus.io/port: 'http' must be a port"),
        ({"port": "70000"}, "must be a port from 1 to 65535"),
        ({"port": "80", "path": "metrics"}, "must be an absolute path"),
        ({"port": "80", "path": "/a\r\nHost: b"}, "must be an absolute path"),
        ({"port": "80", "scheme": "file"}, "must be http or https"),
    ],
)
def test_wrong_annotations_are_named(annotations: dict[str, str], message: str) -> None:
    """An annotation that names no page says which and what is expected."""
    with pytest.raises(InvalidTargetError, match=message):
        target_of(_pod(None, scrape="true", **annotations), "10.42.0.7")
