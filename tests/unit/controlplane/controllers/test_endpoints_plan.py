"""Tables for endpoints: who is ready, on which ports, in which slice."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.controllers.endpoints.mirror import mirror, same, updated
from controlplane.controllers.endpoints.plan import SlicePlan, group_endpoints, plan_slices
from flotilla.api.objects import KubeObject, name_of


def _service(**spec: Any) -> KubeObject:
    ports = [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "uid": "service", "labels": {"team": "a"}},
        "spec": {"clusterIP": "10.43.0.20", "ports": ports, "selector": {"app": "web"}, **spec},
    }


def _pod(number: int, *, ready: bool = True, port: int = 8080, **extra: Any) -> KubeObject:
    metadata = {"name": f"pod-{number:03}", "namespace": "default", "uid": f"uid-{number}"}
    if extra.get("going"):
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {
        "metadata": metadata,
        "spec": {
            "nodeName": "node-a",
            "containers": [{"name": "app", "ports": [{"name": "web", "containerPort": port}]}],
            **extra.get("spec", {}),
        },
        "status": {
            "phase": extra.get("phase", "Running"),
            "podIP": extra.get("address", f"10.42.0.{number}"),
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }


def _apply(slices: list[KubeObject], planned: SlicePlan) -> list[KubeObject]:
    gone = {name_of(each) for each in (*planned.update, *planned.delete)}
    return [each for each in slices if name_of(each) not in gone] + [*planned.create, *planned.update]


def _plan(service: KubeObject, slices: list[KubeObject], pods: list[KubeObject]) -> SlicePlan:
    names = {name_of(each) for each in slices}
    return plan_slices(service, slices, group_endpoints(service, pods), taken=lambda name: name in names)


@pytest.mark.parametrize(
    ("pod", "service", "conditions"),
    [
        (_pod(1), {}, (True, True, False)),
        (_pod(1, ready=False), {}, (False, False, False)),
        (_pod(1, going=True), {}, (False, True, True)),
        (_pod(1, ready=False), {"publishNotReadyAddresses": True}, (True, False, False)),
        (_pod(1, going=True), {"publishNotReadyAddresses": True}, (True, True, True)),
    ],
)
def test_readiness_of_endpoints(pod: KubeObject, service: dict[str, Any], conditions: tuple[bool, bool, bool]) -> None:
    """A pod that is going is not ready at once, though it may still serve."""
    ((endpoint,),) = group_endpoints(_service(**service), [pod]).values()
    assert (endpoint.ready, endpoint.serving, endpoint.terminating) == conditions


@pytest.mark.parametrize("pod", [_pod(1, phase="Succeeded"), _pod(1, phase="Failed"), _pod(1, address="")])
def test_pods_without_an_address_are_left_out(pod: KubeObject) -> None:
    """Ended pods, and those that have no address yet, are no endpoints."""
    assert group_endpoints(_service(), [pod]) == {}


def test_named_ports_follow_the_pod() -> None:
    """Pods that give one name different numbers are grouped apart; a pod without it has no such port."""
    groups = group_endpoints(_service(), [_pod(1), _pod(2, port=9090), _pod(3, spec={"containers": [{"name": "x"}]})])
    assert sorted(tuple(port.port for port in ports) for ports in groups) == [(), (8080,), (9090,)]


def test_one_change_is_one_write() -> None:
    """A pod's readiness changes the slice that it is in, and no other."""
    pods = [_pod(number) for number in range(250)]
    slices = list(_plan(_service(), [], pods).create)
    assert sorted(len(each["endpoints"]) for each in slices) == [50, 100, 100]
    pods[7] = _pod(7, ready=False)
    planned = _plan(_service(), slices, pods)
    assert (len(planned.create), len(planned.update), len(planned.delete)) == (0, 1, 0)
    assert _plan(_service(), _apply(slices, planned), pods) == SlicePlan((), (), ())


def test_new_endpoints_fill_up_what_has_room() -> None:
    """A slice that is not full takes new endpoints before another is made."""
    slices = list(_plan(_service(), [], [_pod(number) for number in range(150)]).create)
    planned = _plan(_service(), slices, [_pod(number) for number in range(200)])
    assert (len(planned.create), len(planned.update)) == (0, 1)


def test_an_empty_service_keeps_one_empty_slice_and_uses_it_again() -> None:
    """From no pods to one and back is one write each way, on the same slice."""
    (empty,) = _plan(_service(), [], []).create
    assert empty["endpoints"] == []
    planned = _plan(_service(), [empty], [_pod(1)])
    (first,) = planned.update
    assert (planned.create, planned.delete, name_of(first)) == ((), (), name_of(empty))
    back = _plan(_service(), [first], [])
    assert [name_of(each) for each in back.update] == [name_of(empty)]
    assert back.update[0]["endpoints"] == []


def test_slices_carry_what_consumers_look_for() -> None:
    """Labels name the Service and the manager, copy the Service's own, and mark headless ones."""
    (made,) = _plan(_service(clusterIP="None"), [], [_pod(1)]).create
    labels = made["metadata"]["labels"]
    assert labels["kubernetes.io/service-name"] == "web"
    assert labels["endpointslice.kubernetes.io/managed-by"] == "endpointslice-controller.k8s.io"
    assert labels["team"] == "a"
    assert labels["service.kubernetes.io/headless"] == ""
    assert made["ports"] == [{"name": "http", "protocol": "TCP", "port": 8080}]
    assert made["endpoints"][0]["nodeName"] == "node-a"


def test_headless_pods_have_their_host_names() -> None:
    """A pod with a hostname in the Service's subdomain is found by it."""
    spec = {"hostname": "db-0", "subdomain": "web"}
    ((endpoint,),) = group_endpoints(_service(), [_pod(1, spec=spec)]).values()
    assert endpoint.to_object()["hostname"] == "db-0"
    assert mirror(_service(), group_endpoints(_service(), [_pod(1, spec=spec)]))["subsets"][0]["addresses"][0][
        "hostname"
    ]


def test_the_mirror_leaves_out_who_is_going() -> None:
    """Endpoints list ready and not ready addresses apart, and none of a pod that is going."""
    pods = [_pod(1), _pod(2, ready=False), _pod(3, going=True)]
    (subset,) = mirror(_service(), group_endpoints(_service(), pods))["subsets"]
    assert [each["ip"] for each in subset["addresses"]] == ["10.42.0.1"]
    assert [each["ip"] for each in subset["notReadyAddresses"]] == ["10.42.0.2"]
    assert subset["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]


def test_a_huge_mirror_is_truncated_and_says_so() -> None:
    """At most a thousand addresses, and an annotation that tells."""
    pods = [_pod(number, address=f"10.42.{number // 250}.{number % 250}") for number in range(1001)]
    made = mirror(_service(), group_endpoints(_service(), pods))
    assert sum(len(subset["addresses"]) for subset in made["subsets"]) == 1000
    assert made["metadata"]["annotations"] == {"endpoints.kubernetes.io/over-capacity": "truncated"}
    small = mirror(_service(), group_endpoints(_service(), pods[:1]))
    assert not same(made, small)
    assert same(updated(made, small), small)
