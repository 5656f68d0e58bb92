"""Rules of nodes, namespaces and service accounts that few meet, and defaults of volumes and whole pods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flotilla.api.errors import FieldError
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import DEPLOYMENTS, NAMESPACES, NODES, PERSISTENT_VOLUMES, PODS, SERVICE_ACCOUNTS

Sample = Callable[[Resource], KubeObject]
Edited = Callable[[KubeObject, str, Any], KubeObject]
Faults = Callable[..., list[FieldError]]
Written = Callable[..., KubeObject]

CASES: list[tuple[Resource, str, Any, str, str]] = [
    (
        NODES,
        "spec",
        {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.1.0/24"]},
        "spec.podCIDRs[0]",
        "must be equal to `podCIDR`",
    ),
    (
        NODES,
        "spec",
        {"podCIDRs": ["10.0.0.0/24", "10.0.1.0/24"]},
        "spec.podCIDRs",
        "may specify no more than one CIDR for each IP family",
    ),
    (
        NODES,
        "status",
        {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "InternalIP", "address": "10.0.0.1"}]},
        "status.addresses[1]",
        "Duplicate value",
    ),
    (
        NAMESPACES,
        "spec",
        {"finalizers": ["wait"]},
        "spec.finalizers",
        "name is neither a standard finalizer name nor is it fully qualified",
    ),
    (
        PODS,
        "metadata.finalizers",
        ["orphan", "foregroundDeletion"],
        "metadata.finalizers",
        "finalizer orphan and foregroundDeletion cannot be both set",
    ),
]


@pytest.mark.parametrize(("resource", "path", "value", "field", "message"), CASES)
def test_faults(
    sample: Sample, edited: Edited, faults: Faults, resource: Resource, path: str, value: Any, field: str, message: str
) -> None:
    """One wrong value must give one fault, at its path."""
    (error,) = faults(resource, edited(sample(resource), path, value))
    assert error.field == field
    assert message in error.message


@pytest.mark.parametrize(
    ("deleted", "phase", "faulty"),
    [(False, "Active", False), (False, "Terminating", True), (True, "Terminating", False), (True, "Active", True)],
)
def test_the_phase_of_a_namespace_follows_its_deletion(sample: Sample, deleted: bool, phase: str, faulty: bool) -> None:
    """Nobody may write that a namespace ends that doesn't, or the reverse."""
    namespace = sample(NAMESPACES) | {"status": {"phase": phase}}
    if deleted:
        namespace["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    validate = NAMESPACES.strategy.validate_subresource
    assert validate is not None
    assert bool(validate("status", namespace, namespace)) is faulty


def test_accounts_keep_names_of_secrets_only(sample: Sample, written: Written) -> None:
    """What else a reference to a secret says must be dropped, and the old annotation warned of."""
    account = sample(SERVICE_ACCOUNTS) | {"secrets": [{"name": "s", "namespace": "x", "kind": "Secret"}]}
    assert written(SERVICE_ACCOUNTS, account)["secrets"] == [{"name": "s"}]
    account["metadata"]["annotations"] = {"kubernetes.io/enforce-mountable-secrets": "true"}
    (warning,) = SERVICE_ACCOUNTS.strategy.warnings(account)
    assert "deprecated in v1.32+" in warning


def test_defaults_of_volumes(sample: Sample, edited: Edited, written: Written) -> None:
    """Every kind of source must come out with the defaults of Kubernetes."""
    volumes = [
        {"name": "i", "image": {"reference": "web:1"}},
        {"name": "r", "rbd": {"monitors": ["m"], "image": "i"}},
        {"name": "e", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"]}}}},
        {"name": "p", "projected": {"sources": [{"podCertificate": {"signerName": "a/b", "keyType": "ED25519"}}]}},
    ]
    found = written(PODS, edited(sample(PODS), "spec.volumes", volumes))["spec"]["volumes"]
    assert found[0]["image"]["pullPolicy"] == "IfNotPresent"
    assert {found[1]["rbd"][field] for field in ("pool", "user", "keyring")} == {"rbd", "admin", "/etc/ceph/keyring"}
    assert found[2]["ephemeral"]["volumeClaimTemplate"]["spec"]["volumeMode"] == "Filesystem"
    assert found[3]["projected"]["sources"][0]["podCertificate"]["maxExpirationSeconds"] == 86400
    volume = edited(sample(PERSISTENT_VOLUMES), "spec.hostPath", None)
    volume = edited(volume, "spec.iscsi", {"targetPortal": "p", "iqn": "iqn.2015-02.example.com:t", "lun": 0})
    assert written(PERSISTENT_VOLUMES, volume)["spec"]["iscsi"]["iscsiInterface"] == "default"


def test_ports_of_the_host_are_filled_in_pods_only(sample: Sample, edited: Edited, written: Written) -> None:
    """A pod on the node's network must name its ports there; its template stays as it was written."""
    ports = [{"containerPort": 80}]
    pod = edited(edited(sample(PODS), "spec.hostNetwork", True), "spec.containers.0.ports", ports)
    assert written(PODS, pod)["spec"]["containers"][0]["ports"][0]["hostPort"] == 80
    deployment = edited(sample(DEPLOYMENTS), "spec.template.spec.hostNetwork", True)
    deployment = edited(deployment, "spec.template.spec.containers.0.ports", ports)
    container = written(DEPLOYMENTS, deployment)["spec"]["template"]["spec"]["containers"][0]
    assert "hostPort" not in container["ports"][0]


def test_a_whole_pod_asks_for_what_its_containers_ask_for(sample: Sample, edited: Edited, written: Written) -> None:
    """A pod's request must default to the sum of its containers' where they ask for any, and to its limit else."""
    pod = edited(sample(PODS), "spec.resources", {"limits": {"cpu": "2", "memory": "1Gi"}})
    pod = edited(pod, "spec.containers.0.resources", {"requests": {"cpu": "250m"}})
    assert written(PODS, pod)["spec"]["resources"]["requests"] == {"cpu": "250m", "memory": "1Gi"}
