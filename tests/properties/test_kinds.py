"""Defaulting and validating objects of any kind: what is complete stays as it is, what is valid stays valid."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flotilla.api.objects import KubeObject, decode, encode
from flotilla.api.registry import Resource
from flotilla.api.resources import (
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    JOBS,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    SERVICES,
    STATEFUL_SETS,
)
from flotilla.api.schema_check import check

_names = st.from_regex(r"[a-z]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
_labels = st.dictionaries(_names, _names, min_size=1, max_size=3)
_amounts = st.fixed_dictionaries({}, optional={"cpu": st.just("100m"), "memory": st.just("64Mi")})
_ports = st.lists(
    st.fixed_dictionaries({"containerPort": st.integers(1, 65535)}),
    max_size=2,
    unique_by=lambda port: port["containerPort"],
)
_probes = st.fixed_dictionaries(
    {"httpGet": st.fixed_dictionaries({"port": st.integers(1, 65535)})},
    optional={"periodSeconds": st.integers(0, 30), "failureThreshold": st.integers(0, 5)},
)
_containers: st.SearchStrategy[KubeObject] = st.fixed_dictionaries(
    {"name": _names, "image": st.sampled_from(("web", "web:1", "registry:5000/web@sha256:0"))},
    optional={
        "ports": _ports,
        "resources": st.fixed_dictionaries({"limits": _amounts}),
        "readinessProbe": _probes,
        "env": st.just([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
    },
)


@st.composite
def _pod_specs(draw: st.DrawFn, *, endless: bool) -> KubeObject:
    containers = draw(st.lists(_containers, min_size=1, max_size=3, unique_by=lambda container: container["name"]))
    spec: KubeObject = {"containers": containers}
    if not endless:
        spec["restartPolicy"] = draw(st.sampled_from(("Never", "OnFailure")))
    if draw(st.booleans()):
        spec["volumes"] = [{"name": "data"}]
        containers[0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    return spec


@st.composite
def _workloads(draw: st.DrawFn, *, kind: Resource) -> KubeObject:
    labels = draw(_labels)
    spec: KubeObject = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": draw(_pod_specs(endless=True))},
    }
    if kind is REPLICATION_CONTROLLERS:
        del spec["selector"]
    if kind is not DAEMON_SETS and draw(st.booleans()):
        spec["replicas"] = draw(st.integers(0, 9))
    return spec


@st.composite
def _objects(draw: st.DrawFn) -> tuple[Resource, KubeObject]:
    """A kind, and an object of it as a user would write it."""
    workloads = (DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, DAEMON_SETS, REPLICATION_CONTROLLERS)
    kind = draw(st.sampled_from((*workloads, PODS, JOBS, CRON_JOBS, SERVICES, PERSISTENT_VOLUME_CLAIMS)))
    spec: Any
    if kind in workloads:
        spec = draw(_workloads(kind=kind))
    elif kind is PODS:
        spec = draw(_pod_specs(endless=True))
    elif kind in (JOBS, CRON_JOBS):
        spec = {"template": {"spec": draw(_pod_specs(endless=False))}}
        if kind is CRON_JOBS:
            spec = {"schedule": "*/5 * * * *", "jobTemplate": {"spec": spec}}
    elif kind is SERVICES:
        ports = draw(st.lists(st.integers(1, 65535), min_size=1, max_size=3, unique=True))
        spec = {"ports": [{"port": port, "name": f"p{port}"} for port in ports], "selector": draw(_labels)}
    else:
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    metadata = {"name": draw(_names), "namespace": "default", "uid": "u"}
    return kind, {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}


def _stored(kind: Resource, obj: KubeObject) -> KubeObject:
    result = copy.deepcopy(obj)
    kind.strategy.prepare_for_create(result)
    kind.strategy.default(result)
    return result


@settings(max_examples=100, deadline=None)
@given(_objects())
def test_defaults_are_final(drawn: tuple[Resource, KubeObject]) -> None:
    """Defaulting what is defaulted must change nothing, and the result must conform to the schema."""
    kind, obj = drawn
    stored = _stored(kind, obj)
    again = copy.deepcopy(stored)
    kind.strategy.default(again)
    assert again == stored
    report = check(kind.definition, stored)
    assert (report.unknown, report.errors) == ([], [])


@settings(max_examples=100, deadline=None)
@given(_objects())
def test_what_is_stored_can_be_sent_back(drawn: tuple[Resource, KubeObject]) -> None:
    """An object must come back from its JSON as it was, be valid, and be valid as an update of itself."""
    kind, obj = drawn
    stored = _stored(kind, obj)
    assert kind.strategy.validate(stored, None) == []
    sent: KubeObject = decode(encode(stored))
    assert sent == stored
    kind.strategy.default(sent)
    kind.strategy.prepare_for_update(sent, stored)
    assert kind.strategy.validate(sent, stored) == []
    assert sent == stored


@settings(max_examples=100, deadline=None)
@given(_objects())
def test_what_a_user_wrote_is_kept(drawn: tuple[Resource, KubeObject]) -> None:
    """Defaults must only add: every value that was written must still be there."""
    kind, obj = drawn

    def kept(written: Any, stored: Any) -> bool:
        if isinstance(written, dict):
            return all(key in stored and kept(value, stored[key]) for key, value in written.items())
        if isinstance(written, list):
            return len(written) == len(stored) and all(map(kept, written, stored))
        return bool(written == stored) or written == 0

    assert kept(obj["spec"], _stored(kind, obj)["spec"])
