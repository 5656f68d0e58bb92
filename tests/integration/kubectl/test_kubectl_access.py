"""Who users are, how they come by a certificate, and which classes their pods may name."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.integration.kubectl.lab import Kubectl, until

POD = """
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  SPEC
  containers: [{name: main, image: busybox}]
"""


def pod(name: str, spec: str) -> str:
    return POD.replace("NAME", name).replace("SPEC", spec)


@pytest.fixture
def request_name(kubectl: Kubectl) -> Iterator[str]:
    """The name of a certificate request, which is deleted afterwards."""
    name = f"{kubectl.namespace}-ann"
    yield name
    kubectl.run(f"delete csr {name}")


def manifest(name: str, key: ec.EllipticCurvePrivateKey, *, user: str, group: str) -> str:
    """A request for the client certificate of a user in one group."""
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group), x509.NameAttribute(NameOID.COMMON_NAME, user)]
    asked = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes)).sign(key, hashes.SHA256())
    spec = {
        "request": base64.b64encode(asked.public_bytes(serialization.Encoding.PEM)).decode(),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"],
        "expirationSeconds": 3600,
    }
    head = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest"}
    return json.dumps(head | {"metadata": {"name": name}, "spec": spec})


def test_an_approved_request_lets_its_user_in(kubectl: Kubectl, request_name: str) -> None:
    """From the key to the certificate that the signer issued, and what its owner is and may do then."""
    key = ec.generate_private_key(ec.SECP256R1())
    kubectl.apply(manifest(request_name, key, user="ann", group="dev"))
    row = kubectl.table(f"get csr {request_name} --no-headers")[0]
    assert row[2:] == ["kubernetes.io/kube-apiserver-client", "admin", "60m", "Pending"]
    kubectl(f"certificate approve {request_name}")

    def issued() -> str:
        return kubectl(f"get csr {request_name}", "-o", "jsonpath={.status.certificate}")

    certificate = until("the certificate is issued", issued)
    assert kubectl.table(f"get csr {request_name} --no-headers")[0][-1] == "Approved,Issued"
    assert "Subject:\n" in kubectl(f"describe csr {request_name}")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    config = yaml.safe_load(kubectl.server.kubeconfig.read_text("utf-8"))
    config["users"][0]["user"] = {
        "client-certificate-data": certificate,
        "client-key-data": base64.b64encode(pem).decode(),
    }
    ann = kubectl.with_environment(KUBECONFIG=str(kubectl.write("ann.yaml", yaml.safe_dump(config))))
    info = ann.json("auth whoami")["status"]["userInfo"]
    assert (info["username"], info["groups"]) == ("ann", ["dev", "system:authenticated"])
    assert ann.run("auth can-i get pods").out == "no\n"
    assert 'pods is forbidden: User "ann" cannot list resource "pods" in API group ""' in ann.fails("get pods")
    assert "v1.35" in ann("version")


def test_nobody_is_made_an_admin_by_a_request(kubectl: Kubectl, request_name: str) -> None:
    """A request for the admins' group is refused by name, as on Kubernetes."""
    key = ec.generate_private_key(ec.SECP256R1())
    refused = kubectl.fails("apply -f -", stdin=manifest(request_name, key, user="eve", group="system:masters"))
    assert "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed" in refused


def test_pods_and_their_classes(kubectl: Kubectl) -> None:
    """Classes give pods their priority and their overhead; unknown ones keep them out."""
    name = kubectl.namespace
    kubectl(f"create priorityclass {name} --value=1000 --preemption-policy=Never --description=ours")
    kubectl.apply(
        f"apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {{name: {name}}}\nhandler: kata\n"
        "overhead: {podFixed: {cpu: 10m}}\n"
    )
    try:
        kubectl.apply(pod("first", f"priorityClassName: {name}"))
        assert kubectl("get pod first", "-o", "jsonpath={.spec.priority} {.spec.preemptionPolicy}") == "1000 Never"
        kubectl.apply(pod("second", f"runtimeClassName: {name}"))
        assert kubectl("get pod second", "-o", "jsonpath={.spec.overhead.cpu}") == "10m"
        unknown = kubectl.fails("apply -f -", stdin=pod("third", "priorityClassName: none"))
        assert 'pods "third" is forbidden: no PriorityClass with name none was found' in unknown
        unknown = kubectl.fails("apply -f -", stdin=pod("third", "runtimeClassName: none"))
        assert 'pods "third" is forbidden: pod rejected: RuntimeClass "none" not found' in unknown
        changed = kubectl.fails("patch priorityclass", name, "-p", '{"value":5}')
        assert "value: Forbidden: may not be changed in an update." in changed
        assert "Description:" in kubectl(f"describe priorityclass {name}")
    finally:
        kubectl(f"delete priorityclass,runtimeclass {name}")


def test_roles_are_stored_and_warned_of(kubectl: Kubectl) -> None:
    """Roles are shown as Kubernetes shows them; that they decide nothing yet is told to whoever makes one."""
    made = kubectl.run("create role reader --verb=get --resource=pods")
    assert made.out == "role.rbac.authorization.k8s.io/reader created\n"
    assert "does not enforce them" in made.err
    kubectl("create rolebinding readers --role=reader --user=ann --serviceaccount=default:cart")
    _, role, age, *subjects = kubectl.table("get rolebinding readers --no-headers -o wide")[0]
    assert role == "Role/reader" and age.endswith("s") and subjects == ["ann", "default/cart"]
    assert "pods" in kubectl("describe role reader")
    changed = kubectl.fails("patch rolebinding readers --type=merge -p", '{"roleRef":{"name":"writer"}}')
    assert "roleRef: Invalid value" in changed and "cannot change roleRef" in changed


def test_what_every_cluster_has(kubectl: Kubectl) -> None:
    """A fresh cluster has its classes, its network of services and the roles that people bind users to."""
    assert kubectl.lines("get priorityclasses -o name")[-2:] == [
        "priorityclass.scheduling.k8s.io/system-cluster-critical",
        "priorityclass.scheduling.k8s.io/system-node-critical",
    ]
    assert kubectl.table("get servicecidr kubernetes --no-headers")[0][:2] == ["kubernetes", "10.43.0.0/16"]
    for role in ("cluster-admin", "admin", "edit", "view"):
        assert "PolicyRule:" in kubectl(f"describe clusterrole {role}")
    assert (
        kubectl.table("get clusterrolebinding cluster-admin --no-headers -o wide")[0][1] == "ClusterRole/cluster-admin"
    )
