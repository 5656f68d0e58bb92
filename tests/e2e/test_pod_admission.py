"""What a node takes and gives: refusals, runtime classes and extended resources, as a user of the API sees them."""

from __future__ import annotations

from typing import Any

import pytest

from nodeagent.admission import apparmor_enabled
from tests.e2e.cluster import until
from tests.e2e.scenario import Scenario

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.e2e]

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 0
  {field}
  containers: [{{name: main, image: "flotilla.dev/sample:v1", command: [/bin/sleep, "1000"]}}]
"""
CARD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: flotilla.dev/sample:v1
    command: [/bin/sleep, "1000"]
    resources: {{limits: {{example.com/card: 1}}}}
"""
CLASS = """
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {{name: {name}}}
handler: {handler}
overhead: {{podFixed: {{memory: 8Mi}}}}
"""


def test_what_a_node_can_not_do_is_said(scenario: Scenario) -> None:
    """Unsafe sysctls and missing AppArmor fail the pod; a class with an unknown handler waits, and a known one runs."""
    unsafe = "securityContext: {sysctls: [{name: kernel.msgmax, value: '65536'}]}"
    confined = "securityContext: {appArmorProfile: {type: RuntimeDefault}}"
    names = {"known": f"{scenario.namespace}-known", "unknown": f"{scenario.namespace}-unknown"}
    for name, field in {
        "unsafe": unsafe,
        "confined": confined,
        **{key: f"runtimeClassName: {value}" for key, value in names.items()},
    }.items():
        if name in names:
            handler = "runc" if name == "known" else "kata"
            scenario.kubectl("apply", "-f", "-", stdin=CLASS.format(name=names[name], handler=handler))
        scenario.kubectl("apply", "-f", "-", stdin=POD.format(name=name, field=field))
    try:
        assert failure(scenario, "unsafe") == ("SysctlForbidden", 'forbidden sysctl: "kernel.msgmax" not allowlisted')
        if not apparmor_enabled():
            why = "Cannot enforce AppArmor: AppArmor is not enabled on the host"
            assert failure(scenario, "confined") == ("AppArmor", why)
        running = until(lambda: phase(scenario, "known") == "Running" and scenario.object("pod", "known"))
        assert running["spec"]["overhead"] == {"memory": "8Mi"}
        until(lambda: "no runtime for handler" in scenario.kubectl("describe", "pod", "unknown"), what="the event")
        assert phase(scenario, "unknown") == "Pending"
    finally:
        scenario.kubectl("delete", "runtimeclass", *names.values())


def test_extended_resources_are_counted(scenario: Scenario) -> None:
    """What is advertised on a node can be requested, and no more than that."""
    patch = "--type=json", "--subresource=status", "-p"
    path = "/status/capacity/example.com~1card"
    scenario.kubectl("patch", "node", "node-1", *patch, f'[{{"op":"add","path":"{path}","value":"1"}}]')
    try:
        until(lambda: scenario.cluster.get("node", "node-1")["status"]["allocatable"].get("example.com/card") == "1")
        wanted = CARD.format(name="first") + "---" + CARD.format(name="second")
        scenario.kubectl("apply", "-f", "-", stdin=wanted)
        until(lambda: sorted((phase(scenario, "first"), phase(scenario, "second"))) == ["Pending", "Running"])
        waiting = "first" if phase(scenario, "first") == "Pending" else "second"
        until(lambda: "Insufficient example.com/card" in scenario.kubectl("describe", "pod", waiting), what="the event")
    finally:
        scenario.kubectl("patch", "node", "node-1", *patch, f'[{{"op":"remove","path":"{path}"}}]')


def phase(scenario: Scenario, name: str) -> str:
    return str(scenario.object("pod", name)["status"].get("phase"))


def failure(scenario: Scenario, name: str) -> tuple[str, str]:
    """Reason and message of a pod that has failed."""
    until(lambda: phase(scenario, name) == "Failed", what=f"the failure of {name}")
    status: Any = scenario.object("pod", name)["status"]
    return status["reason"], status["message"]
