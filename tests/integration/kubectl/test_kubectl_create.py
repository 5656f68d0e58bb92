"""Objects that kubectl makes from flags, and what the server stores of them."""

from __future__ import annotations

import base64
import datetime
import json
from typing import Any

import pytest

from tests.integration.kubectl.lab import Kubectl

Expected = dict[str, Any]

GENERATORS: list[tuple[str, str, Expected]] = [
    ("configmap made --from-literal=a=b --from-literal=c=d", "configmap/made", {"data": {"a": "b", "c": "d"}}),
    ("secret generic made --from-literal=a=b", "secret/made", {"data": {"a": "Yg=="}, "type": "Opaque"}),
    (
        "deployment made --image=busybox --replicas=0 --port=80",
        "deployment.apps/made",
        {"spec.replicas": 0, "spec.template.spec.containers.0.ports": [{"containerPort": 80, "protocol": "TCP"}]},
    ),
    ("serviceaccount made", "serviceaccount/made", {}),
    (
        "service clusterip made --tcp=5678:8080",
        "service/made",
        {"spec.type": "ClusterIP", "spec.ports.0.targetPort": 8080, "spec.selector": {"app": "made"}},
    ),
    ("service clusterip made --clusterip=None", "service/made", {"spec.clusterIP": "None"}),
    ("service nodeport made --tcp=80:web", "service/made", {"spec.type": "NodePort", "spec.ports.0.targetPort": "web"}),
    ("service loadbalancer made --tcp=80", "service/made", {"spec.type": "LoadBalancer", "spec.ports.0.port": 80}),
    (
        "service externalname made --external-name=example.com",
        "service/made",
        {"spec.type": "ExternalName", "spec.externalName": "example.com"},
    ),
    (
        "quota made --hard=cpu=1,pods=3 --scopes=NotTerminating",
        "resourcequota/made",
        {"spec": {"hard": {"cpu": "1", "pods": "3"}, "scopes": ["NotTerminating"]}},
    ),
    (
        "job made --image=busybox -- echo hello",
        "job.batch/made",
        {"spec.template.spec.containers.0.command": ["echo", "hello"], "spec.backoffLimit": 6, "spec.completions": 1},
    ),
    (
        "cronjob made --image=busybox --schedule='*/5 * * * *' -- date",
        "cronjob.batch/made",
        {"spec.schedule": "*/5 * * * *", "spec.concurrencyPolicy": "Allow", "spec.suspend": False},
    ),
    (
        "ingress made --class=default --rule='example.com/web*=made:80,tls=cert'",
        "ingress.networking.k8s.io/made",
        {
            "spec.ingressClassName": "default",
            "spec.rules.0.http.paths.0.pathType": "Prefix",
            "spec.tls": [{"hosts": ["example.com"], "secretName": "cert"}],
        },
    ),
    (
        "poddisruptionbudget made --selector=app=made --min-available=50%",
        "poddisruptionbudget.policy/made",
        {"spec": {"minAvailable": "50%", "selector": {"matchLabels": {"app": "made"}}}},
    ),
    (
        "role made --verb=get,list --resource=pods,deployments.apps --resource-name=one",
        "role.rbac.authorization.k8s.io/made",
        {
            "rules": [
                {"apiGroups": [""], "resources": ["pods"], "resourceNames": ["one"], "verbs": ["get", "list"]},
                {
                    "apiGroups": ["apps"],
                    "resources": ["deployments"],
                    "resourceNames": ["one"],
                    "verbs": ["get", "list"],
                },
            ]
        },
    ),
    (
        "rolebinding made --role=made --user=somebody --group=some --serviceaccount=default:default",
        "rolebinding.rbac.authorization.k8s.io/made",
        {
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "made"},
            "subjects.2": {"kind": "ServiceAccount", "name": "default", "namespace": "default"},
        },
    ),
]
CLUSTER_WIDE: list[tuple[str, str, Expected]] = [
    ("namespace $name", "namespace/$name", {"spec.finalizers": ["kubernetes"], "status.phase": "Active"}),
    ("priorityclass $name --value=100", "priorityclass.scheduling.k8s.io/$name", {"value": 100}),
    (
        "clusterrole $name --verb=get --non-resource-url=/logs/*",
        "clusterrole.rbac.authorization.k8s.io/$name",
        {"rules": [{"nonResourceURLs": ["/logs/*"], "verbs": ["get"]}]},
    ),
    (
        "clusterrolebinding $name --clusterrole=$name --user=somebody",
        "clusterrolebinding.rbac.authorization.k8s.io/$name",
        {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "$name"}},
    ),
]


def at(obj: Any, path: str) -> Any:
    """The value at a path of keys and numbers, None if there is none."""
    for part in path.split("."):
        if obj is None:
            return None
        obj = obj[int(part)] if isinstance(obj, list) else obj.get(part)
    return obj


def check(kubectl: Kubectl, name: str, expected: Expected) -> None:
    found = kubectl.json("get", name)
    assert {path: at(found, path) for path in expected} == expected


@pytest.mark.parametrize(("command", "name", "expected"), GENERATORS, ids=lambda value: str(value).split(" --")[0][:30])
def test_generators(kubectl: Kubectl, command: str, name: str, expected: Expected) -> None:
    """``kubectl create KIND`` makes the object that it makes on Kubernetes."""
    assert kubectl(f"create {command}") == f"{name} created\n"
    check(kubectl, name, expected)
    again = kubectl.fails(f"create {command}")
    assert "already exists" in again
    assert again.startswith(("Error from server (AlreadyExists): ", "error: failed to create"))


@pytest.mark.parametrize(("command", "name", "expected"), CLUSTER_WIDE, ids=lambda value: str(value).split()[0][:30])
def test_cluster_wide_generators(kubectl: Kubectl, command: str, name: str, expected: Expected) -> None:
    """The same for kinds that live in no namespace."""
    unique = f"{kubectl.namespace}-made"
    name = name.replace("$name", unique)
    expected = json.loads(json.dumps(expected).replace("$name", unique))
    try:
        assert kubectl(f"create {command.replace('$name', unique)}") == f"{name} created\n"
        check(kubectl, name, expected)
    finally:
        kubectl(f"delete {name} --wait=false --ignore-not-found")


def test_secrets_from_files(kubectl: Kubectl) -> None:
    """Secrets of the types that have rules of their own, and ConfigMaps of any bytes."""
    (kubectl.home / "binary").write_bytes(b"\xff\x00\x01")
    kubectl("create configmap binary --from-file=binary")
    assert kubectl.json("get configmap binary")["binaryData"] == {"binary": base64.b64encode(b"\xff\x00\x01").decode()}
    kubectl.write("settings.env", "A=1\nB=2\n")
    kubectl("create configmap env --from-env-file=settings.env")
    assert kubectl.json("get configmap env")["data"] == {"A": "1", "B": "2"}
    kubectl("create secret docker-registry login --docker-username=u --docker-password=p --docker-server=example.com")
    login = kubectl.json("get secret login")
    assert login["type"] == "kubernetes.io/dockerconfigjson"
    assert json.loads(base64.b64decode(login["data"][".dockerconfigjson"]))["auths"]["example.com"]["username"] == "u"
    pki = kubectl.server.directory / "pki"
    certificate, key = pki / "admin.crt", pki / "admin.key"
    kubectl(f"create secret tls pair --cert={certificate} --key={key}")
    assert set(kubectl.json("get secret pair")["data"]) == {"tls.crt", "tls.key"}
    assert kubectl.table("get secret pair --no-headers")[0][:3] == ["pair", "kubernetes.io/tls", "2"]


def test_from_files(kubectl: Kubectl) -> None:
    """Several documents, JSON, directories and generated names."""
    kubectl.write(
        "many/one.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n---\n"
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: two}\n",
    )
    kubectl.write(
        "many/three.json", json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "three"}})
    )
    assert kubectl("create -f many") == "configmap/one created\nconfigmap/two created\nconfigmap/three created\n"
    generated = kubectl(
        "create -f - -o name", stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: gen-}\n"
    )
    assert generated.startswith("configmap/gen-")
    assert len(generated.strip()) == len("configmap/gen-") + 5
    items = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}} for name in ("four", "five")],
    }
    assert kubectl("create -f -", stdin=json.dumps(items)) == "configmap/four created\nconfigmap/five created\n"


def test_dry_runs(kubectl: Kubectl) -> None:
    """A dry run says what would be, with the server's defaults if it is the server's, and stores nothing."""
    assert kubectl("create configmap dry --dry-run=server") == "configmap/dry created (server dry run)\n"
    assert kubectl("create configmap dry --dry-run=client") == "configmap/dry created (dry run)\n"
    defaulted = kubectl.json("create deployment dry --image=busybox --dry-run=server")
    assert defaulted["spec"]["revisionHistoryLimit"] == 10
    assert defaulted["metadata"]["uid"]
    assert "uid" not in kubectl.json("create deployment dry --image=busybox --dry-run=client")["metadata"]
    service = kubectl.json("create service clusterip dry --tcp=80 --dry-run=server")
    assert service["spec"]["clusterIP"]
    assert kubectl("get configmap,deployment,service dry --ignore-not-found -o name") == ""


def test_validation(kubectl: Kubectl) -> None:
    """Unknown fields are refused, or warned of, or passed over, as the user wants."""
    bad = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad}\ndatum: {a: b}\n"
    strict = kubectl.fails("create -f -", stdin=bad)
    assert (
        strict == 'Error from server (BadRequest): error when creating "STDIN": ConfigMap in version "v1" cannot be '
        'handled as a ConfigMap: strict decoding error: unknown field "datum"\n'
    )
    warned = kubectl.run("create --validate=warn -f -", stdin=bad)
    assert (warned.out, warned.err) == ("configmap/bad created\n", 'Warning: unknown field "datum"\n')
    ignored = kubectl.run("create --validate=ignore -f -", stdin=bad.replace("name: bad", "name: other"))
    assert (ignored.out, ignored.err) == ("configmap/other created\n", "")


def test_run(kubectl: Kubectl) -> None:
    """``kubectl run`` makes a pod, and with ``--expose`` a Service before it."""
    assert kubectl("run one --image=busybox --env=A=B --labels=x=y --port=80 --expose") == (
        "service/one created\npod/one created\n"
    )
    check(kubectl, "pod/one", {"metadata.labels": {"x": "y"}, "spec.containers.0.env": [{"name": "A", "value": "B"}]})
    check(kubectl, "service/one", {"spec.selector": {"x": "y"}, "spec.ports.0.port": 80})
    kubectl("run two --image=busybox --restart=Never --command -- sleep 5")
    check(kubectl, "pod/two", {"spec.restartPolicy": "Never", "spec.containers.0.command": ["sleep", "5"]})
    override = '{"spec": {"terminationGracePeriodSeconds": 3}}'
    kubectl("run three --image=busybox", f"--overrides={override}")
    check(kubectl, "pod/three", {"spec.terminationGracePeriodSeconds": 3})


def test_expose(kubectl: Kubectl) -> None:
    """A Service is made for what selects pods, with the ports of their template."""
    kubectl("create deployment web --image=busybox --port=8080 --replicas=0")
    assert kubectl("expose deployment web --port=80 --target-port=8080") == "service/web exposed\n"
    check(kubectl, "service/web", {"spec.selector": {"app": "web"}, "spec.ports.0.targetPort": 8080})
    kubectl("expose deployment web --name=node --type=NodePort")
    check(kubectl, "service/node", {"spec.ports.0.port": 8080, "spec.type": "NodePort"})
    kubectl("expose service web --name=again --port=90")
    check(kubectl, "service/again", {"spec.ports.0.port": 90})
    kubectl("run one --image=busybox --labels=a=b")
    kubectl("expose pod one --port=70")
    check(kubectl, "service/one", {"spec.selector": {"a": "b"}})


def test_jobs_from_cron_jobs(kubectl: Kubectl) -> None:
    """A Job is made now from a CronJob's template, and belongs to it."""
    kubectl("create cronjob nightly --image=busybox --schedule='0 0 * * *' -- date")
    assert kubectl("create job now --from=cronjob/nightly") == "job.batch/now created\n"
    job = kubectl.json("get job now")
    assert job["metadata"]["annotations"]["cronjob.kubernetes.io/instantiate"] == "manual"
    assert job["metadata"]["ownerReferences"][0]["kind"] == "CronJob"
    assert job["spec"]["template"]["spec"]["containers"][0]["command"] == ["date"]
    today = datetime.datetime.now(datetime.UTC).year
    assert job["metadata"]["creationTimestamp"].startswith(str(today))
