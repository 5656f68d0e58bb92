"""What administrators do: nodes, certificates, usage."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.kubectl.kinds import certificate_request
from tests.integration.kubectl.lab import Kubectl, until


@pytest.fixture
def node(kubectl: Kubectl) -> Iterator[str]:
    """A node of this test's own, which takes no pods; no agent stands behind it."""
    name = f"{kubectl.namespace}-node"
    body = {"metadata": {"name": name, "labels": {"pool": kubectl.namespace}}, "spec": {"unschedulable": True}}
    kubectl.server.request("POST", "/api/v1/nodes", body)
    yield name
    kubectl.server.request("DELETE", f"/api/v1/nodes/{name}")


def pod_on(kubectl: Kubectl, node: str, name: str, *, labels: str = "{a: b}") -> None:
    kubectl.apply(
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {labels}}}\n"
        f"spec: {{nodeName: {node}, terminationGracePeriodSeconds: 0, containers: [{{name: main, image: busybox}}]}}\n"
    )


def test_cordon(kubectl: Kubectl, node: str) -> None:
    """A node is opened and closed for new pods."""
    assert kubectl(f"uncordon {node}") == f"node/{node} uncordoned\n"
    assert kubectl(f"uncordon {node}") == f"node/{node} already uncordoned\n"
    assert kubectl(f"cordon {node}") == f"node/{node} cordoned\n"
    assert kubectl(f"cordon -l pool={kubectl.namespace}") == f"node/{node} already cordoned\n"
    assert "SchedulingDisabled" in kubectl(f"get node {node}")
    assert kubectl(f"uncordon {node} --dry-run=server") == f"node/{node} uncordoned (server dry run)\n"
    assert kubectl("get nodes --field-selector=spec.unschedulable=true -o name") == f"node/{node}\n"


def test_taint(kubectl: Kubectl, node: str) -> None:
    """Taints are set, changed only with ``--overwrite``, and removed."""
    assert kubectl(f"taint node {node} key=value:NoExecute") == f"node/{node} tainted\n"
    assert kubectl.fails(f"taint node {node} key=other:NoExecute") == (
        f"error: node {node} already has key taint(s) with same effect(s) and --overwrite is false\n"
    )
    assert kubectl(f"taint node {node} key=other:NoExecute --overwrite") == f"node/{node} modified\n"
    taints = kubectl.json(f"get node {node}")["spec"]["taints"]
    assert {(taint["key"], taint.get("value"), taint["effect"]) for taint in taints} >= {("key", "other", "NoExecute")}
    assert kubectl(f"taint node {node} key:NoExecute-") == f"node/{node} untainted\n"
    missing = kubectl.fails(f"taint node {node} none-")
    assert missing == 'error: taint "none" not found\n'
    assert "invalid taint effect" in kubectl.fails(f"taint node {node} key=value:Never")


def test_drain(kubectl: Kubectl, node: str) -> None:
    """Pods are evicted from a node, except where a disruption budget or their loss forbids it."""
    pod_on(kubectl, node, "bare")
    refused = kubectl.run(f"drain {node}")
    assert refused.code == 1
    assert "cannot delete Pods that declare no controller (use --force to override)" in refused.err
    tried = kubectl.run(f"drain {node} --force --dry-run=server")
    assert f"evicting pod {kubectl.namespace}/bare (server dry run)" in tried.out + tried.err, tried
    drained = kubectl.run(f"drain {node} --force --grace-period=0 --timeout=30s")
    assert drained.code == 0, drained.err
    assert f"evicting pod {kubectl.namespace}/bare\n" in drained.out
    assert drained.out.endswith(f"node/{node} drained\n")
    assert kubectl("get pods -o name") == ""


def test_drain_waits_for_a_budget(kubectl: Kubectl, node: str) -> None:
    """An eviction that a budget forbids is tried again until the time is over."""
    pod_on(kubectl, node, "kept", labels="{app: kept}")
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    kubectl.set_status("pod", "kept", ready)
    kubectl("create poddisruptionbudget kept --selector=app=kept --min-available=1")
    allowed = "get pdb kept -o jsonpath={.status.currentHealthy},{.status.disruptionsAllowed}"
    until("the pod is counted", lambda: kubectl(allowed) == "1,0")
    late = kubectl.run(f"drain {node} --force --timeout=1s")
    assert late.code == 1
    assert "Cannot evict pod as it would violate the pod's disruption budget." in late.err
    kubectl("delete pdb kept")
    kubectl.run("delete pod kept --grace-period=0 --force")


def test_certificates(kubectl: Kubectl) -> None:
    """Requests for certificates are approved and denied."""
    names = [f"{kubectl.namespace}-{which}" for which in ("good", "bad")]
    for name in names:
        kubectl.apply(
            f"apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: {name}}}\n"
            f"spec: {{request: {certificate_request(name)}, signerName: example.com/none, usages: [client auth]}}\n"
        )
    good, bad = names
    try:
        assert kubectl.table(f"get csr {good} --no-headers")[0][-1] == "Pending"
        assert kubectl(f"certificate approve {good}") == (
            f"certificatesigningrequest.certificates.k8s.io/{good} approved\n"
        )
        assert kubectl(f"certificate deny {bad}") == f"certificatesigningrequest.certificates.k8s.io/{bad} denied\n"
        rows = {row[0]: row[-1] for row in kubectl.table("get csr --no-headers")}
        assert (rows[good], rows[bad]) == ("Approved", "Denied")
        both = kubectl.fails(f"certificate approve {bad}")
        assert both == f'error: certificate signing request "{bad}" is already Denied\n'
        assert "example.com/none" in kubectl(f"describe csr {good}")
    finally:
        kubectl("delete csr", *names)


def test_usage(kubectl: Kubectl) -> None:
    """Without samples there is nothing to show, and kubectl says so; with them see the end-to-end tests."""
    assert kubectl.run("top pods").err == f"No resources found in {kubectl.namespace} namespace.\n"
    kubectl("run one --image=busybox")
    assert "not found" in kubectl.fails("top pod one")
    assert kubectl.run("top nodes").err in ("No resources found\n", "error: metrics not available yet\n")
