"""The Node and the pod status as an agent's reports make them."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Network

import pytest

from controlplane.dispatcher.node_objects import apply_identity, apply_status, lacks_extended, new_node
from controlplane.dispatcher.pod_networks import NetworksExhaustedError, pick_network
from controlplane.dispatcher.pod_status import merged_status
from flotilla.api.conditions import get_condition
from flotilla.api.objects import KubeObject

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_new_node_is_ready_and_has_its_network() -> None:
    """What the agent says of itself is there, with the hostname label and Ready."""
    reported = {"metadata": {"labels": {"kubernetes.io/os": "linux"}}, "status": {"capacity": {"cpu": "2"}}}
    node = new_node("one", reported, pod_cidr="10.42.0.0/24", now=NOW)
    assert node["metadata"]["labels"] == {"kubernetes.io/hostname": "one", "kubernetes.io/os": "linux"}
    assert node["spec"] == {"podCIDR": "10.42.0.0/24", "podCIDRs": ["10.42.0.0/24"]}
    assert node["status"]["capacity"] == {"cpu": "2"}
    ready = get_condition(node, "Ready") or {}
    assert (ready["status"], ready["lastHeartbeatTime"]) == ("True", "2026-01-01T12:00:00Z")


def test_what_users_set_on_a_node_stays() -> None:
    """Taints, other labels and the network survive a reconnect; labels of the agent win over older values."""
    node: KubeObject = {
        "metadata": {"name": "one", "labels": {"zone": "a", "kubernetes.io/os": "old"}},
        "spec": {"podCIDR": "10.42.7.0/24", "taints": [{"key": "mine"}], "unschedulable": True},
    }
    apply_identity(node, {"metadata": {"labels": {"kubernetes.io/os": "linux"}}}, pod_cidr="10.42.0.0/24")
    assert node["spec"] == {"podCIDR": "10.42.7.0/24", "taints": [{"key": "mine"}], "unschedulable": True}
    assert node["metadata"]["labels"]["zone"] == "a"
    assert node["metadata"]["labels"]["kubernetes.io/os"] == "linux"


def test_ready_is_not_the_agents_to_say() -> None:
    """A Ready condition in a report is ignored; other conditions are taken over."""
    node: KubeObject = {"metadata": {"name": "one"}}
    conditions = [{"type": "Ready", "status": "False"}, {"type": "DiskPressure", "status": "True"}]
    apply_status(node, {"conditions": conditions, "phase": "ignored"}, now=NOW)
    assert (get_condition(node, "Ready") or {})["status"] == "True"
    assert (get_condition(node, "DiskPressure") or {})["status"] == "True"
    assert "phase" not in node["status"]


def test_a_node_that_shuts_down_is_not_ready() -> None:
    """The agent may say so, with its reason; when it says it no more the node is ready again."""
    node: KubeObject = {"metadata": {"name": "one"}}
    condition = {"type": "Ready", "status": "False", "reason": "NodeShutdown", "message": "node is shutting down"}
    apply_status(node, {"conditions": [condition]}, now=NOW)
    ready = get_condition(node, "Ready") or {}
    assert (ready["status"], ready["reason"], ready["message"]) == ("False", "NodeShutdown", "node is shutting down")
    apply_status(node, {"conditions": []}, now=NOW)
    assert (get_condition(node, "Ready") or {})["status"] == "True"


def test_advertised_resources_are_kept_and_given() -> None:
    """What an administrator writes into the capacity outlives reports, and is what pods can have."""
    reported = {"capacity": {"cpu": "2"}, "allocatable": {"cpu": "1"}}
    node: KubeObject = {"metadata": {"name": "one"}, "status": {"capacity": {"cpu": "1", "example.com/card": "2"}}}
    assert lacks_extended(node)
    apply_status(node, reported, now=NOW)
    assert node["status"]["capacity"] == {"cpu": "2", "example.com/card": "2"}
    assert node["status"]["allocatable"] == {"cpu": "1", "example.com/card": "2"}
    assert not lacks_extended(node)
    del node["status"]["capacity"]["example.com/card"]
    assert lacks_extended(node)
    apply_status(node, reported, now=NOW)
    assert node["status"]["allocatable"] == {"cpu": "1"}


@pytest.mark.parametrize(
    ("taken", "preferred", "wanted"),
    [
        ((), "", "10.42.0.0/24"),
        (("10.42.0.0/24",), "", "10.42.1.0/24"),
        (("10.42.1.0/24",), "", "10.42.0.0/24"),
        ((), "10.42.9.0/24", "10.42.9.0/24"),
        (("10.42.9.0/24",), "10.42.9.0/24", "10.42.0.0/24"),
        ((), "192.0.2.0/24", "10.42.0.0/24"),
        ((), "10.42.0.0/16", "10.42.0.0/24"),
        ((), "nonsense", "10.42.0.0/24"),
    ],
)
def test_networks(taken: tuple[str, ...], preferred: str, wanted: str) -> None:
    """The lowest free network, unless the node has one that is its own and free."""
    assert pick_network(IPv4Network("10.42.0.0/16"), taken, preferred=preferred) == wanted


def test_networks_run_out() -> None:
    """A full range is an error, never a network twice."""
    with pytest.raises(NetworksExhaustedError):
        pick_network(IPv4Network("10.42.0.0/24"), ["10.42.0.0/24"])


def test_others_conditions_survive_a_status_report() -> None:
    """What the node does not set itself stays; what it sets is replaced whole."""
    scheduled = {"type": "PodScheduled", "status": "True"}
    current = {"phase": "Pending", "qosClass": "Burstable", "podIP": "10.42.0.9", "conditions": [scheduled]}
    reported = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    assert merged_status(current, reported) == {
        "phase": "Running",
        "qosClass": "Burstable",
        "conditions": [scheduled, {"type": "Ready", "status": "True"}],
    }
