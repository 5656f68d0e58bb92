"""Tables for ReplicaSets: how many pods, which ones go, what they are called, what the status counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controlplane.controllers.ownership import claim
from controlplane.controllers.replica_set import plan
from controlplane.controllers.replica_set.ranking import Candidate, candidate, choose
from controlplane.store.cache import Entry
from controlplane.store.entry import DecodedObjects, read_entry
from controlplane.store.store import KeyValue
from flotilla.api.objects import KubeObject, encode, format_time, name_of
from flotilla.api.resources import PODS
from flotilla.api.selectors import label_selector_of

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def _replica_set(replicas: int = 3, **spec: Any) -> KubeObject:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "web-abc", "namespace": "default", "uid": "rs", "resourceVersion": "7", "generation": 3},
        "spec": {"replicas": replicas, "template": template, **spec},
    }


def _pod(name: str, *, ready_s: float | None = 0.0, age_s: float = 100.0, node: str = "a", **extra: Any) -> KubeObject:
    conditions = []
    if ready_s is not None:
        since = format_time(NOW - timedelta(seconds=ready_s))
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": since}]
    metadata = {"name": name, "uid": name, "labels": {"app": "web"}, "annotations": extra.get("annotations", {})}
    return {
        "metadata": metadata | {"creationTimestamp": format_time(NOW - timedelta(seconds=age_s))},
        "spec": {"nodeName": node} if node else {},
        "status": {
            "phase": extra.get("phase", "Running"),
            "conditions": conditions,
            "containerStatuses": [{"restartCount": extra.get("restarts", 0)}],
        },
    }


@pytest.mark.parametrize(
    ("desired", "active", "step"),
    [
        (3, 0, plan.Scale(create=3)),
        (3, 3, plan.Scale()),
        (3, 5, plan.Scale(delete=2)),
        (900, 0, plan.Scale(create=500)),
        (0, 900, plan.Scale(delete=500)),
    ],
)
def test_the_step_to_the_desired_number(desired: int, active: int, step: plan.Scale) -> None:
    """The difference, at most five hundred at once."""
    assert plan.scale(_replica_set(desired), active) == step


COST = "controller.kubernetes.io/pod-deletion-cost"


@pytest.mark.parametrize(
    ("goes", "stays"),
    [
        (_pod("z", node="", phase="Pending", ready_s=None), _pod("a", phase="Pending", ready_s=None)),
        (_pod("z", phase="Pending", ready_s=None), _pod("a", phase="Unknown", ready_s=None)),
        (_pod("z", phase="Unknown", ready_s=None), _pod("a", ready_s=None)),
        (_pod("z", ready_s=None), _pod("a")),
        (_pod("z", annotations={COST: "-5"}), _pod("a")),
        (_pod("z", annotations={COST: "nonsense"}), _pod("a", annotations={COST: "1"})),
        (_pod("z", node="crowded"), _pod("a")),
        (_pod("z", ready_s=5), _pod("a", ready_s=500)),
        (_pod("z", restarts=3), _pod("a")),
        (_pod("z", age_s=10), _pod("a", age_s=1000)),
        (_pod("a", age_s=100), _pod("z", age_s=101)),
    ],
)
def test_which_pod_goes_first(goes: KubeObject, stays: KubeObject) -> None:
    """Each row differs in one respect, in the order in which they count; the names would decide otherwise."""
    pods: list[Candidate] = [candidate(stays), candidate(goes)]
    (chosen,) = choose(pods, 1, crowd={"crowded": 2, "a": 1}, now=NOW)
    assert chosen.name == name_of(goes)


def test_names_follow_from_what_was_seen() -> None:
    """The same state gives the same names, another state others; none is longer than a host name may be."""
    pods = [_pod("a"), _pod("b")]

    def names(replica_set: KubeObject, pods: list[KubeObject], *, taken: frozenset[str] = frozenset()) -> list[str]:
        return plan.pod_names(replica_set, pods, 3, taken=lambda name: name in taken)

    first = names(_replica_set(), pods)
    assert len(set(first)) == 3
    assert first == names(_replica_set(), list(reversed(pods)))
    assert not set(first) & set(names(_replica_set(), pods[:1]))
    assert not set(first[:1]) & set(names(_replica_set(), pods, taken=frozenset(first[:1])))
    long = _replica_set()
    long["metadata"]["name"] = "x" * 80
    assert all(len(name) <= 63 for name in names(long, []))


def test_a_new_pod_has_its_owner_and_the_templates_metadata() -> None:
    """Labels come from the template; the set is the controlling owner."""
    pod = plan.new_pod(_replica_set(), "web-abc-x")
    (owner,) = pod["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == ("rs", True, True)
    assert pod["metadata"]["labels"] == {"app": "web"}
    assert pod["metadata"]["generateName"] == "web-abc-"


def test_the_status_counts_and_says_when_to_look_again() -> None:
    """Available is ready for minReadySeconds; the next one to become so sets the time."""
    pods = [_pod("a", ready_s=60), _pod("b", ready_s=10), _pod("c", ready_s=None)]
    pods[2]["metadata"]["labels"] = {}
    counts = plan.count(_replica_set(minReadySeconds=30), pods, now=NOW)
    assert counts == plan.Counts(replicas=3, labeled=2, ready=2, available=1, next_available_s=20.0)


def test_a_failure_stays_until_the_numbers_fit() -> None:
    """ReplicaFailure is set by a failed write and removed once as many pods exist as desired."""
    counts = plan.count(_replica_set(), [], now=NOW)
    failed = plan.status(_replica_set(), counts, failed=plan.Failed("FailedCreate", "quota"), now=NOW)
    replica_set = _replica_set() | {"status": failed}
    assert plan.status(replica_set, counts, failed=None, now=NOW) == failed
    complete = plan.count(replica_set, [_pod(name) for name in "abc"], now=NOW)
    assert "conditions" not in plan.status(replica_set, complete, failed=None, now=NOW)


def _entry(pod: KubeObject) -> Entry:
    name = name_of(pod)
    item = KeyValue(f"/registry/pods/default/{name}", encode(pod), 1, 1)
    return read_entry(PODS, item, DecodedObjects(maximum_bytes=1 << 20))


def test_claims_go_by_the_selector() -> None:
    """Matching orphans are adopted, children that no longer match released, and those that are going left alone."""
    selector = label_selector_of({"matchLabels": {"app": "web"}})
    other, going = _pod("other"), _pod("going")
    other["metadata"]["labels"] = going["metadata"]["labels"] = {"app": "db"}
    going["metadata"]["deletionTimestamp"] = format_time(NOW)
    children = [_entry(_pod("child")), _entry(other), _entry(going)]
    claimed = claim(_replica_set(), selector, children=children, orphans=[_entry(_pod("orphan")), _entry(other)])
    assert [entry.name for entry in claimed.owned] == ["child", "orphan"]
    assert [entry.name for entry in claimed.adopt] == ["orphan"]
    assert [entry.name for entry in claimed.release] == ["other"]
    owner = _replica_set()
    owner["metadata"]["deletionTimestamp"] = format_time(NOW)
    assert claim(owner, selector, children=children, orphans=[_entry(_pod("orphan"))]).adopt == ()
