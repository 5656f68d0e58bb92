"""Arithmetic on pods: hashes, shares, requests, QoS, readiness."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from flotilla.api.workloads import (
    int_or_percent,
    pod_is_active,
    pod_is_ready,
    pod_requests,
    pod_template_hash,
    qos_class,
)

_TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}


def test_the_hash_names_the_template() -> None:
    """Equal templates must have equal hashes whatever the order of keys or their own hash label; others differ."""
    reordered = {"spec": _TEMPLATE["spec"], "metadata": {"labels": {"pod-template-hash": "x", "app": "web"}}}
    other = copy.deepcopy(_TEMPLATE)
    other["spec"]["containers"][0]["image"] = "web:2"  # type: ignore[index]
    assert pod_template_hash(_TEMPLATE) == pod_template_hash(reordered)
    hashes = {pod_template_hash(_TEMPLATE), pod_template_hash(_TEMPLATE, 1), pod_template_hash(other)}
    assert len(hashes) == 3
    assert all(len(each) == 10 for each in hashes)


@pytest.mark.parametrize(
    ("value", "total", "round_up", "expected"),
    [(3, 10, True, 3), ("25%", 10, True, 3), ("25%", 10, False, 2), ("0%", 10, True, 0), ("150%", 2, False, 3)],
)
def test_shares(value: int | str, total: int, round_up: bool, expected: int) -> None:
    """A percentage must be rounded the way that is asked for."""
    assert int_or_percent(value, total, round_up=round_up) == expected


@pytest.mark.parametrize("value", ["25", "x%", "%", "-5%", "1.5%"])
def test_malformed_shares(value: str) -> None:
    """Any other string must be refused."""
    with pytest.raises(ValueError, match="neither a number nor a percentage"):
        int_or_percent(value, 10, round_up=True)


def _container(cpu: str, memory: str, **more: Any) -> dict[str, Any]:
    return {"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}, **more}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"containers": [{"name": "c"}]}, (0, 0)),
        ({"containers": [_container("100m", "1Ki"), _container("1", "1Ki")]}, (1100, 2048)),
        ({"containers": [_container("100m", "1Ki")], "initContainers": [_container("1", "512")]}, (1000, 1024)),
        (
            {
                "containers": [_container("1", "1Ki")],
                "initContainers": [_container("1", "1Ki", restartPolicy="Always"), _container("500m", "4Ki")],
            },
            (2000, 5120),
        ),
        ({"containers": [_container("1", "1Ki")], "overhead": {"cpu": "250m"}}, (1250, 1024)),
        ({"containers": [_container("1", "1Ki")], "resources": {"requests": {"cpu": "3"}}}, (3000, 1024)),
    ],
)
def test_requests(spec: dict[str, Any], expected: tuple[int, int]) -> None:
    """Init containers run before the others, sidecars beside them."""
    requests = pod_requests(spec)
    assert (requests["cpu"], requests["memory"]) == expected


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([{}], "BestEffort"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
    ],
)
def test_qos(resources: list[dict[str, Any]], expected: str) -> None:
    """All containers limited to what they ask for, some asking, or none."""
    assert qos_class({"containers": [{"resources": each} for each in resources]}) == expected


def test_active_and_ready() -> None:
    """Finished and terminating pods don't count; ready is the condition."""
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    assert pod_is_active({"metadata": {}, "status": ready})
    assert not pod_is_active({"metadata": {}, "status": {"phase": "Failed"}})
    assert not pod_is_active({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": ready})
    assert pod_is_ready({"metadata": {}, "status": ready})
    assert not pod_is_ready({"metadata": {}})
