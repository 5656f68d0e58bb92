"""What classes add to new objects, which they refuse, and how certificate requests are made and decided."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from controlplane.api.bootstrap import bootstrap
from flotilla.api.objects import KubeObject

PODS = "/api/v1/namespaces/default/pods"
PRIORITIES = "/apis/scheduling.k8s.io/v1/priorityclasses"
RUNTIMES = "/apis/node.k8s.io/v1/runtimeclasses"
INGRESSES = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"
INGRESS_CLASSES = "/apis/networking.k8s.io/v1/ingressclasses"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
STORAGE_CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


def pod(name: str, **spec: Any) -> KubeObject:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "main", "image": "i"}], **spec}}


async def make(api: Any, path: str, obj: KubeObject) -> KubeObject:
    """The stored object of a create that must succeed."""
    reply = await api.post(path, obj)
    assert reply.status == 201, reply.body
    created: KubeObject = reply.body
    return created


async def test_a_pod_gets_the_priority_of_its_class(api: Any) -> None:
    """The number and the policy come from the class, and stay with the pod when it is updated without them."""
    await make(api, PRIORITIES, {"metadata": {"name": "high"}, "value": 1000, "preemptionPolicy": "Never"})
    made = await make(api, PODS, pod("a", priorityClassName="high"))
    assert (made["spec"]["priority"], made["spec"]["preemptionPolicy"]) == (1000, "Never")
    system = await make(api, PODS, pod("s", priorityClassName="system-node-critical"))
    assert system["spec"]["priority"] == 2000001000
    plain = await make(api, PODS, pod("p"))
    assert (plain["spec"]["priority"], plain["spec"].get("priorityClassName")) == (0, None)
    del made["spec"]["priority"], made["spec"]["preemptionPolicy"]
    updated = await api.ask("PUT", f"{PODS}/a", made | {"metadata": made["metadata"] | {"labels": {"a": "b"}}})
    assert (updated.status, updated.body["spec"]["priority"]) == (200, 1000)


async def test_a_pod_gets_the_pull_secrets_of_its_account(api: Any) -> None:
    """A pod that names no pull secret has those of its ServiceAccount, and keeps its own where it names one."""
    account = {"metadata": {"name": "puller"}, "imagePullSecrets": [{"name": "of-account"}]}
    await make(api, PODS.replace("/pods", "/serviceaccounts"), account)
    made = await make(api, PODS, pod("a", serviceAccountName="puller"))
    assert made["spec"]["imagePullSecrets"] == [{"name": "of-account"}]
    own = await make(api, PODS, pod("b", serviceAccountName="puller", imagePullSecrets=[{"name": "own"}]))
    assert own["spec"]["imagePullSecrets"] == [{"name": "own"}]
    assert "imagePullSecrets" not in (await make(api, PODS, pod("c")))["spec"]


async def test_priorities_that_are_refused(api: Any) -> None:
    """Neither an unknown class nor a number of one's own gets a pod in."""
    unknown = await api.post(PODS, pod("a", priorityClassName="none"))
    assert (unknown.status, unknown.message) == (
        403,
        'pods "a" is forbidden: no PriorityClass with name none was found',
    )
    own = await api.post(PODS, pod("b", priority=7))
    assert own.status == 403
    assert "the integer value of priority (7) must not be provided in pod spec" in own.message
    policy = await api.post(PODS, pod("c", preemptionPolicy="Never"))
    assert "the string value of PreemptionPolicy (Never) must not be provided in pod spec" in policy.message


async def test_one_default_priority(api: Any) -> None:
    """Pods without a class get the global default, of which there can be one."""
    default = await make(api, PRIORITIES, {"metadata": {"name": "usual"}, "value": 5, "globalDefault": True})
    made = await make(api, PODS, pod("a"))
    assert (made["spec"]["priorityClassName"], made["spec"]["priority"]) == ("usual", 5)
    second = await api.post(PRIORITIES, {"metadata": {"name": "other"}, "value": 6, "globalDefault": True})
    assert second.status == 403
    assert "PriorityClass usual is already marked as default. Only one default can exist" in second.message
    again = await api.ask("PUT", f"{PRIORITIES}/usual", default | {"description": "the same"})
    assert again.status == 200


async def test_a_pod_pays_for_its_runtime(api: Any) -> None:
    """Overhead and placement come from the class; contradictions and unknown classes are refused."""
    toleration = {"key": "kata", "operator": "Exists"}
    runtime = {
        "metadata": {"name": "kata"},
        "handler": "kata",
        "overhead": {"podFixed": {"cpu": "100m"}},
        "scheduling": {"nodeSelector": {"kata": "yes"}, "tolerations": [toleration]},
    }
    await make(api, RUNTIMES, runtime)
    spec = (await make(api, PODS, pod("a", runtimeClassName="kata", nodeSelector={"zone": "a"})))["spec"]
    assert spec["overhead"] == {"cpu": "100m"}
    assert spec["nodeSelector"] == {"zone": "a", "kata": "yes"}
    assert toleration in spec["tolerations"]
    for wrong, why in (
        ({"runtimeClassName": "none"}, 'pod rejected: RuntimeClass "none" not found'),
        ({"runtimeClassName": "kata", "overhead": {"cpu": "1"}}, "doesn't match RuntimeClass's defined Overhead"),
        ({"overhead": {"cpu": "1"}}, "set without corresponding RuntimeClass defined Overhead"),
        (
            {"runtimeClassName": "kata", "nodeSelector": {"kata": "no"}},
            "conflict: runtimeClass.scheduling.nodeSelector",
        ),
    ):
        refused = await api.post(PODS, pod("b", **wrong))
        assert refused.status == 403
        assert why in refused.message


async def test_default_classes(api: Any) -> None:
    """An Ingress and a claim that name no class get the one that is marked; the newest where several are."""
    rules = {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}
    without = await make(api, INGRESSES, {"metadata": {"name": "a"}, "spec": dict(rules)})
    assert "ingressClassName" not in without["spec"]
    marked = {"ingressclass.kubernetes.io/is-default-class": "true"}
    await make(
        api,
        INGRESS_CLASSES,
        {"metadata": {"name": "web", "annotations": marked}, "spec": {"controller": "example.com/web"}},
    )
    assert (await make(api, INGRESSES, {"metadata": {"name": "b"}, "spec": dict(rules)}))["spec"][
        "ingressClassName"
    ] == "web"
    own = {"name": "c", "annotations": {"kubernetes.io/ingress.class": "other"}}
    assert "ingressClassName" not in (await make(api, INGRESSES, {"metadata": own, "spec": dict(rules)}))["spec"]
    marked = {"storageclass.kubernetes.io/is-default-class": "true"}
    await make(api, STORAGE_CLASSES, {"metadata": {"name": "fast", "annotations": marked}, "provisioner": "p"})
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claim = await make(api, CLAIMS, {"metadata": {"name": "a"}, "spec": dict(spec)})
    assert claim["spec"]["storageClassName"] == "fast"
    static = await make(api, CLAIMS, {"metadata": {"name": "b"}, "spec": spec | {"storageClassName": ""}})
    assert static["spec"]["storageClassName"] == ""


def certificate_request(name: str, *organizations: str) -> KubeObject:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, each) for each in organizations]
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = request.public_bytes(serialization.Encoding.PEM)
    spec = {
        "request": base64.b64encode(pem).decode(),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"],
    }
    return {"metadata": {"name": name}, "spec": spec}


async def test_a_request_says_who_made_it(api: Any) -> None:
    """The server states the requester, whatever the request claims, however it is made."""
    claimed = certificate_request("ann")
    claimed["spec"] |= {"username": "root", "groups": ["system:masters"], "uid": "0", "extra": {"a": ["b"]}}
    made = (await make(api, REQUESTS, claimed))["spec"]
    assert (made["username"], made["groups"]) == ("system:admin", ["system:masters", "system:authenticated"])
    assert "uid" not in made and "extra" not in made
    applied = certificate_request("bob") | {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
    }
    applied["spec"]["username"] = "root"
    reply = await api.ask(
        "PATCH", f"{REQUESTS}/bob?fieldManager=t", applied, content_type="application/apply-patch+yaml"
    )
    assert (reply.status, reply.body["spec"]["username"]) == (201, "system:admin")


async def test_nobody_asks_to_become_an_admin(api: Any) -> None:
    """A certificate that opens everything can't even be asked for."""
    refused = await api.post(REQUESTS, certificate_request("eve", "system:masters"))
    assert refused.status == 403
    assert "signer with system:masters group is not allowed" in refused.message


async def test_a_request_is_decided_once(api: Any) -> None:
    """Approval adds a dated condition and nothing else; denying afterwards is refused."""
    made = await make(api, REQUESTS, certificate_request("ann"))
    condition = {"type": "Approved", "status": "True", "reason": "Known", "message": "by phone"}
    wanted = made | {"status": {"conditions": [condition], "certificate": "eA=="}, "spec": {"signerName": "x.y/z"}}
    approved = await api.ask("PUT", f"{REQUESTS}/ann/approval", wanted)
    assert approved.status == 200, approved.body
    assert approved.body["spec"] == made["spec"]
    (stored,) = approved.body["status"]["conditions"]
    assert stored.items() >= condition.items()
    assert {"lastUpdateTime", "lastTransitionTime"} <= stored.keys()
    assert "certificate" not in approved.body["status"]
    denied = approved.body | {"status": {"conditions": [stored, {"type": "Denied", "status": "True"}]}}
    refused = await api.ask("PUT", f"{REQUESTS}/ann/approval", denied)
    assert refused.status == 422
    assert "mutually exclusive" in refused.message
    sneaked = await api.ask(
        "PATCH",
        f"{REQUESTS}/ann/status",
        {"status": {"conditions": []}},
        content_type="application/merge-patch+json",
    )
    assert sneaked.status == 422


async def test_a_fresh_cluster_is_furnished_once(api: Any) -> None:
    """Classes, roles and the services' network must be there, and a second start must write nothing."""
    where: dict[str, Any] = {"api_address": "10.0.0.1", "api_port": 6443, "cluster_dns": "10.43.0.10"}
    where["service_cidr"] = "10.43.0.0/16"
    await bootstrap(api.operations, **where)
    await api.cache.barrier()
    names = {item["metadata"]["name"] for item in (await api.get(PRIORITIES)).body["items"]}
    assert names == {"system-cluster-critical", "system-node-critical"}
    roles = (await api.get("/apis/rbac.authorization.k8s.io/v1/clusterroles")).body["items"]
    assert {"cluster-admin", "admin", "edit", "view"} <= {role["metadata"]["name"] for role in roles}
    assert all(role["rules"] for role in roles)
    network = (await api.get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes")).body
    assert network["spec"]["cidrs"] == ["10.43.0.0/16"]
    assert network["status"]["conditions"][0]["type"] == "Ready"
    revision = api.cache.revision
    await bootstrap(api.operations, **where)
    await api.cache.barrier()
    assert api.cache.revision == revision


REVIEWS = "/apis/authorization.k8s.io/v1"
LOCAL = f"{REVIEWS}/namespaces/default/localsubjectaccessreviews"
_PODS = {"verb": "get", "resource": "pods", "namespace": "default"}


@pytest.mark.parametrize(
    ("path", "spec", "field", "message"),
    [
        (
            f"{REVIEWS}/selfsubjectaccessreviews",
            {},
            "spec.resourceAttributes",
            "exactly one of nonResourceAttributes or",
        ),
        (
            f"{REVIEWS}/selfsubjectaccessreviews",
            {"resourceAttributes": _PODS, "nonResourceAttributes": {"path": "/"}},
            "spec.nonResourceAttributes",
            "cannot be specified in combination with resourceAttributes",
        ),
        (
            f"{REVIEWS}/subjectaccessreviews",
            {"resourceAttributes": _PODS},
            "spec.user",
            "at least one of user or group must be specified",
        ),
        (
            LOCAL,
            {"user": "ann", "resourceAttributes": _PODS | {"namespace": "other"}},
            "spec.resourceAttributes.namespace",
            "must match metadata.namespace",
        ),
    ],
)
async def test_faulty_reviews(api: Any, path: str, spec: KubeObject, field: str, message: str) -> None:
    """A review that asks nothing, two things or about nobody is refused at its field."""
    reply = await api.post(path, {"spec": spec})
    assert reply.status == 422
    (cause,) = reply.body["details"]["causes"]
    assert cause["field"] == field
    assert message in cause["message"]


async def test_reviews_of_others(api: Any) -> None:
    """A service may ask about a user in a namespace, and whose token it was given."""
    local = await api.post(LOCAL, {"spec": {"user": "ann", "resourceAttributes": _PODS}})
    assert (local.status, local.body["status"], local.body["metadata"]["namespace"]) == (
        201,
        {"allowed": False},
        "default",
    )
    assert (await api.post(f"{REVIEWS}/localsubjectaccessreviews", {"spec": {"user": "ann"}})).status == 404
    token = await api.post("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "t"}})
    assert (token.status, token.body["status"]["user"]["username"]) == (201, "system:admin")
    assert (await api.post("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {}})).status == 400
