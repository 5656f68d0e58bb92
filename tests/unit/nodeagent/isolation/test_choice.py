"""Which pods get users of their own, for every reason there is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nodeagent.isolation.choice import Choice, UserChoice, UserNamespaceError

OWN, HOST = Choice(own=True), Choice(own=False)
HOST_PATH = {"name": "node", "hostPath": {"path": "/srv"}}
PRIVILEGED = {"name": "main", "securityContext": {"privileged": True}}
LARGE = {"securityContext": {"runAsUser": 1000680000}}


@dataclass(frozen=True)
class Machine:
    """What a node says that it can't do."""

    fault: str = ""
    volume_fault: str = ""

    def problem(self) -> str:
        return self.fault

    def volume_problem(self, path: Path) -> str:
        return self.volume_fault


def choose(spec: dict[str, Any], *, mode: Any = "auto", machine: Machine | None = None) -> Choice:
    pod = {"metadata": {"name": "web", "uid": "1"}, "spec": {"containers": [{"name": "main"}], **spec}}
    return UserChoice(mode, machine or Machine()).choose(pod, {"data": Path("/data")})


@pytest.mark.parametrize(
    "spec",
    [
        {"hostNetwork": True},
        {"hostPID": True},
        {"hostIPC": True},
        {"volumes": [HOST_PATH]},
        {"containers": [PRIVILEGED]},
        {"initContainers": [PRIVILEGED]},
        {"hostUsers": True},
    ],
)
def test_what_shares_with_the_node_has_its_users(spec: dict[str, Any]) -> None:
    """A pod that asks for something of the node's, or for its users, has them and needs no warning."""
    assert choose(spec) == HOST


@pytest.mark.parametrize("spec", [{}, {"shareProcessNamespace": True}, {"hostUsers": False}])
def test_other_pods_have_users_of_their_own(spec: dict[str, Any]) -> None:
    """Users of its own are what a pod gets that says nothing, and one that demands them."""
    assert choose(spec) == OWN


@pytest.mark.parametrize("spec", [{"volumes": [HOST_PATH]}, {"containers": [PRIVILEGED]}])
def test_demanded_users_go_with_paths_and_privilege(spec: dict[str, Any]) -> None:
    """``hostUsers: false`` also holds for pods with paths of the node and for privileged ones, as in Kubernetes."""
    assert choose({**spec, "hostUsers": False}) == OWN


def test_turned_off_on_the_node() -> None:
    """A node can be told to do without: silently, but not to a pod that demands users of its own."""
    assert choose({}, mode="off") == HOST
    with pytest.raises(UserNamespaceError, match="turned off on this node"):
        choose({"hostUsers": False}, mode="off")


@pytest.mark.parametrize(
    ("spec", "machine", "reason"),
    [
        ({}, Machine(fault="kernel 5.10 can't translate owners"), "kernel 5.10 can't translate owners"),
        ({}, Machine(volume_fault="not there"), 'volume "data": not there'),
        (LARGE, Machine(), "runAsUser 1000680000 is not below 65536"),
        ({"containers": [{"name": "main", **LARGE}]}, Machine(), "runAsUser 1000680000 is not below 65536"),
        (
            {"securityContext": {"supplementalGroups": [5, 70000]}},
            Machine(),
            "supplementalGroups 70000 is not below 65536",
        ),
    ],
)
def test_what_stands_against_it_is_told(spec: dict[str, Any], machine: Machine, reason: str) -> None:
    """A pod that can't have users of its own gets the node's and a warning; one that demands them does not start."""
    assert choose(spec, machine=machine) == Choice(own=False, warning=f"The pod's users are the node's: {reason}")
    with pytest.raises(UserNamespaceError) as refusal:
        choose({**spec, "hostUsers": False}, machine=machine)
    assert str(refusal.value) == f"the pod can't have users of its own (hostUsers: false): {reason}"


def test_no_own_users_on_the_nodes_network() -> None:
    """What the API would refuse is refused here too."""
    with pytest.raises(UserNamespaceError, match="hostNetwork is set"):
        choose({"hostUsers": False, "hostNetwork": True})
