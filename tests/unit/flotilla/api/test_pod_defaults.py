"""Pods and templates get the defaults of Kubernetes, with Flotilla's shorter tolerations."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from flotilla.api.kinds.pod_defaults import pull_policy
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import DEPLOYMENTS, PODS

Sample = Callable[[Resource], KubeObject]
Edited = Callable[[KubeObject, str, Any], KubeObject]
Written = Callable[..., KubeObject]
_DIGEST = "@sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("web", "Always"),
        ("web:latest", "Always"),
        ("web:1", "IfNotPresent"),
        ("registry:5000/web", "Always"),
        ("registry:5000/web:1", "IfNotPresent"),
        (f"web{_DIGEST}", "IfNotPresent"),
        (f"registry:5000/web{_DIGEST}", "IfNotPresent"),
    ],
)
def test_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    """Only what a tag may move is pulled each time."""
    assert pull_policy(image) == policy


def test_pod_defaults(sample: Sample, written: Written) -> None:
    """A minimal pod must come out complete."""
    spec = written(PODS, sample(PODS))["spec"]
    expected = {
        "restartPolicy": "Always",
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
        "terminationGracePeriodSeconds": 30,
        "securityContext": {},
        "serviceAccountName": "default",
        "serviceAccount": "default",
        "enableServiceLinks": True,
    }
    assert {key: spec.get(key) for key in expected} == expected
    assert spec["containers"][0] == {
        "name": "web",
        "image": "web:1",
        "imagePullPolicy": "IfNotPresent",
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }


def test_defaulting_twice_changes_nothing(sample: Sample, edited: Edited, written: Written) -> None:
    """Defaulting must be idempotent."""
    for resource in (PODS, DEPLOYMENTS):
        once = written(resource, sample(resource))
        twice = copy.deepcopy(once)
        resource.strategy.default(twice)
        assert twice == once


def test_probe_and_port_defaults(sample: Sample, edited: Edited, written: Written) -> None:
    """Probes get their numbers, ports their protocol, HTTP requests their path."""
    pod = edited(sample(PODS), "spec.containers.0.livenessProbe", {"httpGet": {"port": 80}})
    pod = edited(pod, "spec.containers.0.ports", [{"containerPort": 80}])
    container = written(PODS, pod)["spec"]["containers"][0]
    assert container["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert container["livenessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }


def test_requests_come_from_limits_in_pods_only(sample: Sample, edited: Edited, written: Written) -> None:
    """A pod asks for what it is limited to; a template stays as it was written."""
    resources = {"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "100m"}}
    pod = written(PODS, edited(sample(PODS), "spec.containers.0.resources", resources))
    assert pod["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "100m", "memory": "64Mi"}
    deployment = written(
        DEPLOYMENTS, edited(sample(DEPLOYMENTS), "spec.template.spec.containers.0.resources", resources)
    )
    assert deployment["spec"]["template"]["spec"]["containers"][0]["resources"] == resources


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ([], {"node.kubernetes.io/not-ready": 5, "node.kubernetes.io/unreachable": 5}),
        ([{"operator": "Exists"}], {"": None}),
        (
            [{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}],
            {"node.kubernetes.io/unreachable": None, "node.kubernetes.io/not-ready": 5},
        ),
        (
            [{"key": "a", "operator": "Exists"}],
            {"a": None, "node.kubernetes.io/not-ready": 5, "node.kubernetes.io/unreachable": 5},
        ),
    ],
)
def test_tolerations_for_the_loss_of_a_node(
    sample: Sample, edited: Edited, written: Written, given: list[KubeObject], seconds: dict[str, int | None]
) -> None:
    """A pod stays five seconds on a lost node unless it says otherwise."""
    pod = written(PODS, edited(sample(PODS), "spec.tolerations", given))
    found = {each.get("key", ""): each.get("tolerationSeconds") for each in pod["spec"]["tolerations"]}
    assert found == seconds


def test_volumes_without_a_source_are_empty_directories(sample: Sample, edited: Edited, written: Written) -> None:
    """Volumes get their source and file modes."""
    volumes = [
        {"name": "a"},
        {"name": "b", "secret": {"secretName": "s"}},
        {"name": "c", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
    ]
    empty, secret, projected = written(PODS, edited(sample(PODS), "spec.volumes", volumes))["spec"]["volumes"]
    assert empty == {"name": "a", "emptyDir": {}}
    assert secret["secret"]["defaultMode"] == 0o644
    assert projected["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"] == 3600


def test_a_new_pod_is_pending(sample: Sample, written: Written) -> None:
    """Whatever status the author wrote, a new pod is Pending, of its QoS class and first generation."""
    pod = written(PODS, sample(PODS) | {"status": {"phase": "Running"}})
    assert pod["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert pod["metadata"]["generation"] == 1


def test_generation_rises_with_the_spec_and_not_with_binding(sample: Sample, edited: Edited, written: Written) -> None:
    """Binding isn't a new desired state, another image is; the status is kept."""
    old = written(PODS, sample(PODS))
    bound = written(PODS, edited(old, "spec.nodeName", "n"), old)
    changed = written(PODS, edited(edited(old, "spec.containers.0.image", "web:2"), "status", {}), old)
    assert (bound["metadata"]["generation"], changed["metadata"]["generation"]) == (1, 2)
    assert changed["status"] == old["status"]
