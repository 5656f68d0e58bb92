"""Tables for the taints that a node's state calls for, and for when they evict."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controlplane.controllers.node_taints import mark_lost, wanted_taints
from controlplane.scheduler.taints import eviction_due, first_untolerated, tolerates
from flotilla.api.conditions import get_condition
from flotilla.api.objects import KubeObject, format_time

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
UNREACHABLE = "node.kubernetes.io/unreachable"
NOT_READY = "node.kubernetes.io/not-ready"


def _node(*, ready: str = "True", taints: tuple[str, ...] = (), **more: Any) -> KubeObject:
    conditions = [{"type": "Ready", "status": ready}] if ready else []
    conditions += [{"type": type_, "status": "True"} for type_ in more.get("true", ())]
    present = [{"key": key, "effect": effect} for key, _, effect in (taint.partition(":") for taint in taints)]
    spec = {"taints": present, "unschedulable": more.get("unschedulable", False)}
    return {"spec": spec, "status": {"conditions": conditions}}


@pytest.mark.parametrize(
    ("node", "lost", "evict", "wanted"),
    [
        (_node(), False, True, []),
        (_node(), True, True, [f"{UNREACHABLE}:NoExecute", f"{UNREACHABLE}:NoSchedule"]),
        (_node(), True, False, [f"{UNREACHABLE}:NoSchedule"]),
        (_node(ready="False"), False, True, [f"{NOT_READY}:NoExecute", f"{NOT_READY}:NoSchedule"]),
        (_node(ready=""), False, True, [f"{NOT_READY}:NoExecute", f"{NOT_READY}:NoSchedule"]),
        (_node(taints=(f"{UNREACHABLE}:NoSchedule", "mine:NoExecute")), False, True, ["mine:NoExecute"]),
        (_node(ready="Unknown", taints=(f"{UNREACHABLE}:NoExecute",)), False, True, [f"{UNREACHABLE}:NoExecute"]),
        (_node(taints=(f"{UNREACHABLE}:NoExecute",)), True, False, [f"{UNREACHABLE}:NoSchedule"]),
        (_node(unschedulable=True), False, True, ["node.kubernetes.io/unschedulable:NoSchedule"]),
        (_node(true=("DiskPressure",)), False, True, ["node.kubernetes.io/disk-pressure:NoSchedule"]),
    ],
)
def test_wanted_taints(node: KubeObject, lost: bool, evict: bool, wanted: list[str]) -> None:
    """Lost, not ready, cordoned and under pressure each have their taint; the users' own stay."""
    taints = wanted_taints(node, lost=lost, evict=evict, now=NOW)
    assert sorted(f"{taint['key']}:{taint['effect']}" for taint in taints) == wanted


def test_pods_of_a_node_that_shuts_down_are_left_to_it() -> None:
    """Its agent ends them in order and in their time; the node only takes no others."""
    node = _node(ready="False")
    node["status"]["conditions"][0]["reason"] = "NodeShutdown"
    taints = wanted_taints(node, lost=False, evict=True, now=NOW)
    assert [f"{taint['key']}:{taint['effect']}" for taint in taints] == [f"{NOT_READY}:NoSchedule"]


def test_taints_keep_their_time() -> None:
    """A taint that stays keeps the moment since when tolerations count."""
    node = _node()
    node["spec"]["taints"] = wanted_taints(node, lost=True, evict=True, now=NOW)
    assert wanted_taints(node, lost=True, evict=True, now=NOW + timedelta(hours=1)) == node["spec"]["taints"]


def test_nothing_is_known_of_a_lost_node() -> None:
    """Ready and the agent's own conditions become Unknown, once."""
    node = _node(true=("DiskPressure",))
    assert mark_lost(node, now=NOW)
    assert (get_condition(node, "Ready") or {})["reason"] == "NodeStatusUnknown"
    assert (get_condition(node, "DiskPressure") or {})["status"] == "Unknown"
    assert get_condition(node, "PIDPressure") is None
    assert not mark_lost(node, now=NOW)


TAINT = {"key": "k", "value": "v", "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("toleration", "covers"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "k", "operator": "Exists"}, True),
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "operator": "Equal", "value": "w"}, False),
        ({"key": "k"}, False),
        ({"key": "k", "operator": "Exists", "effect": "NoSchedule"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_tolerations(toleration: dict[str, str], covers: bool) -> None:
    """Key, value and effect must fit, each of which may be left open."""
    assert tolerates(toleration, TAINT) is covers


def test_the_first_untolerated_taint_is_named() -> None:
    """Only the effects asked about count."""
    taints = [{"key": "a", "effect": "PreferNoSchedule"}, {"key": "b", "effect": "NoSchedule"}]
    assert first_untolerated(taints, [], effects=("NoSchedule",)) == taints[1]
    assert first_untolerated(taints, [{"key": "b", "operator": "Exists"}], effects=("NoSchedule",)) is None


@pytest.mark.parametrize(
    ("added_s", "tolerations", "due_s"),
    [
        (0, [], 0),
        (0, [{"operator": "Exists"}], None),
        (0, [{"operator": "Exists", "tolerationSeconds": 5}], 5),
        (
            0,
            [
                {"operator": "Exists", "tolerationSeconds": 9},
                {"key": "k", "operator": "Exists", "tolerationSeconds": 5},
            ],
            5,
        ),
        (0, [{"operator": "Exists"}, {"key": "k", "operator": "Exists", "tolerationSeconds": 5}], 5),
        (0, [{"operator": "Exists", "tolerationSeconds": -3}], 0),
        (None, [{"operator": "Exists", "tolerationSeconds": 5}], 5.7),
        (-3, [{"operator": "Exists", "tolerationSeconds": 5}], 2),
    ],
)
def test_evictions_are_due(added_s: float | None, tolerations: list[dict[str, Any]], due_s: float | None) -> None:
    """The shortest toleration counts from the taint's time, or from when it was seen if it has none."""
    taint = dict(TAINT)
    if added_s is not None:
        taint["timeAdded"] = format_time(NOW + timedelta(seconds=added_s))
    first_seen = NOW + timedelta(seconds=0.7 if added_s is None else 100.0)
    due = eviction_due([taint, {"key": "x", "effect": "NoSchedule"}], tolerations, first_seen=first_seen)
    assert due == (None if due_s is None else NOW + timedelta(seconds=due_s))


def test_whole_seconds_do_not_shorten_a_toleration() -> None:
    """A taint seen within the second that it carries counts from the moment at which it was seen."""
    taint = TAINT | {"timeAdded": format_time(NOW)}
    seen = NOW + timedelta(seconds=0.9)
    due = eviction_due([taint], [{"operator": "Exists", "tolerationSeconds": 5}], first_seen=seen)
    assert due == seen + timedelta(seconds=5)
