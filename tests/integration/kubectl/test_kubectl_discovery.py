"""What the server is and serves, as kubectl shows it: versions, resources, explanations, who the user is."""

from __future__ import annotations

import json
import urllib.request

import pytest

from tests.integration.kubectl.lab import Kubectl, until

RESOURCES = """
bindings                                  v1                           true   Binding
configmaps                        cm      v1                           true   ConfigMap
endpoints                         ep      v1                           true   Endpoints
events                            ev      v1                           true   Event
limitranges                       limits  v1                           true   LimitRange
namespaces                        ns      v1                           false  Namespace
nodes                             no      v1                           false  Node
persistentvolumeclaims            pvc     v1                           true   PersistentVolumeClaim
persistentvolumes                 pv      v1                           false  PersistentVolume
pods                              po      v1                           true   Pod
podtemplates                              v1                           true   PodTemplate
replicationcontrollers            rc      v1                           true   ReplicationController
resourcequotas                    quota   v1                           true   ResourceQuota
secrets                                   v1                           true   Secret
serviceaccounts                   sa      v1                           true   ServiceAccount
services                          svc     v1                           true   Service
customresourcedefinitions         crd,crds  apiextensions.k8s.io/v1    false  CustomResourceDefinition
controllerrevisions                       apps/v1                      true   ControllerRevision
daemonsets                        ds      apps/v1                      true   DaemonSet
deployments                       deploy  apps/v1                      true   Deployment
replicasets                       rs      apps/v1                      true   ReplicaSet
statefulsets                      sts     apps/v1                      true   StatefulSet
selfsubjectreviews                        authentication.k8s.io/v1     false  SelfSubjectReview
tokenreviews                              authentication.k8s.io/v1     false  TokenReview
localsubjectaccessreviews                 authorization.k8s.io/v1      true   LocalSubjectAccessReview
selfsubjectaccessreviews                  authorization.k8s.io/v1      false  SelfSubjectAccessReview
selfsubjectrulesreviews                   authorization.k8s.io/v1      false  SelfSubjectRulesReview
subjectaccessreviews                      authorization.k8s.io/v1      false  SubjectAccessReview
horizontalpodautoscalers          hpa     autoscaling/v2               true   HorizontalPodAutoscaler
cronjobs                          cj      batch/v1                     true   CronJob
jobs                                      batch/v1                     true   Job
certificatesigningrequests        csr     certificates.k8s.io/v1       false  CertificateSigningRequest
leases                                    coordination.k8s.io/v1       true   Lease
endpointslices                            discovery.k8s.io/v1          true   EndpointSlice
events                            ev      events.k8s.io/v1             true   Event
nodes                                     metrics.k8s.io/v1beta1       false  NodeMetrics
pods                                      metrics.k8s.io/v1beta1       true   PodMetrics
ingressclasses                            networking.k8s.io/v1         false  IngressClass
ingresses                         ing     networking.k8s.io/v1         true   Ingress
ipaddresses                       ip      networking.k8s.io/v1         false  IPAddress
networkpolicies                   netpol  networking.k8s.io/v1         true   NetworkPolicy
servicecidrs                              networking.k8s.io/v1         false  ServiceCIDR
runtimeclasses                            node.k8s.io/v1               false  RuntimeClass
poddisruptionbudgets              pdb     policy/v1                    true   PodDisruptionBudget
clusterrolebindings                       rbac.authorization.k8s.io/v1 false  ClusterRoleBinding
clusterroles                              rbac.authorization.k8s.io/v1 false  ClusterRole
rolebindings                              rbac.authorization.k8s.io/v1 true   RoleBinding
roles                                     rbac.authorization.k8s.io/v1 true   Role
priorityclasses                   pc      scheduling.k8s.io/v1         false  PriorityClass
csidrivers                                storage.k8s.io/v1            false  CSIDriver
csinodes                                  storage.k8s.io/v1            false  CSINode
csistoragecapacities                      storage.k8s.io/v1            true   CSIStorageCapacity
storageclasses                    sc      storage.k8s.io/v1            false  StorageClass
volumeattachments                         storage.k8s.io/v1            false  VolumeAttachment
"""
VERBS = "create,delete,deletecollection,get,list,patch,update,watch"


def test_version(kubectl: Kubectl) -> None:
    """The client finds the server's version, in every form of output."""
    assert "Server Version: v1.35.0+flotilla" in kubectl.run("version").out
    found = json.loads(kubectl.run("version -o json").out)
    assert (found["serverVersion"]["major"], found["serverVersion"]["minor"]) == ("1", "35")
    assert found["clientVersion"]["minor"] == kubectl.version.partition(".")[2]


def test_api_resources(kubectl: Kubectl) -> None:
    """Every kind is listed with the short names, version and scope that it has on Kubernetes."""
    listed = {tuple(row) for row in kubectl.table("api-resources --no-headers")}
    expected = {tuple(line.split()) for line in RESOURCES.strip().splitlines()}
    assert expected - listed == set()
    assert {row[0] for row in listed} - {row[0] for row in expected} <= {
        "componentstatuses",
        "things",
        "volumeattributesclasses",
    }


def test_api_resources_by_property(kubectl: Kubectl) -> None:
    """Verbs and categories are shown, and what is listed can be chosen by scope, group, verb and category."""
    wide = {row[0]: row for row in kubectl.table("api-resources -o wide --api-group=apps --no-headers")}
    assert wide["deployments"] == ["deployments", "deploy", "apps/v1", "true", "Deployment", VERBS, "all"]
    assert wide["controllerrevisions"][-1] == VERBS
    assert set(wide) == {"controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets"}
    cluster_wide = kubectl.lines("api-resources --namespaced=false -o name")
    assert {"namespaces", "nodes", "persistentvolumes", "clusterroles.rbac.authorization.k8s.io"} <= set(cluster_wide)
    assert "pods" not in cluster_wide
    only_created = kubectl.lines("api-resources -o name --verbs=create --api-group=authorization.k8s.io")
    assert len(only_created) == 4
    assert kubectl("api-resources -o name --verbs=list --api-group=authorization.k8s.io") == ""
    in_all = kubectl.lines("api-resources -o name --categories=all")
    assert sorted(in_all) == [
        "cronjobs.batch",
        "daemonsets.apps",
        "deployments.apps",
        "horizontalpodautoscalers.autoscaling",
        "jobs.batch",
        "pods",
        "replicasets.apps",
        "replicationcontrollers",
        "services",
        "statefulsets.apps",
    ]


def test_api_versions(kubectl: Kubectl) -> None:
    """Every version of every group is named."""
    listed = set(kubectl.lines("api-versions"))
    assert {line.split()[-3] for line in RESOURCES.strip().splitlines()} | {"autoscaling/v1"} <= listed


def test_explain(kubectl: Kubectl) -> None:
    """A kind and the fields at a path are explained as on Kubernetes, from OpenAPI 3."""
    pod = kubectl("explain pods")
    assert pod.startswith("KIND:       Pod\nVERSION:    v1\n\nDESCRIPTION:\n    Pod is a collection of containers")
    assert "\n  spec\t<PodSpec>\n    Specification of the desired behavior of the pod." in pod
    surge = kubectl("explain deploy.spec.strategy.rollingUpdate.maxSurge")
    assert surge.startswith(
        "GROUP:      apps\nKIND:       Deployment\nVERSION:    v1\n\nFIELD: maxSurge <IntOrString>\n"
    )
    assert "rounding up" in surge
    containers = kubectl("explain pod.spec.containers")
    assert "FIELD: containers <[]Container>" in containers
    assert "  name\t<string> -required-" in containers
    assert 'field "nothing" does not exist' in kubectl.fails("explain pod.spec.nothing")
    assert "doesn't have a resource type" in kubectl.fails("explain nothing")


def test_explain_versions(kubectl: Kubectl) -> None:
    """Each version of a kind has an explanation of its own."""
    assert "targetCPUUtilizationPercentage" in kubectl("explain hpa.spec --api-version=autoscaling/v1")
    newer = kubectl("explain hpa.spec --api-version=autoscaling/v2")
    assert "metrics\t<[]MetricSpec>" in newer
    assert "GROUP:      events.k8s.io" in kubectl("explain events --api-version=events.k8s.io/v1")


def test_explain_from_openapi_2(kubectl: Kubectl) -> None:
    """The older document explains the same."""
    assert "containers\t<[]Object> -required-" in kubectl("explain --output=plaintext-openapiv2 pod.spec")
    recursive = kubectl("explain --output=plaintext-openapiv2 --recursive deployment.spec.template")
    assert "      containers\t<[]Object>" in recursive
    assert "         livenessProbe\t<Object>" in recursive


@pytest.mark.parametrize("line", RESOURCES.strip().splitlines(), ids=lambda line: line.split()[0])
def test_explain_every_kind(newest_kubectl: Kubectl, line: str) -> None:
    """``explain --recursive`` shows all fields of every kind, with descriptions of the kind and its first fields."""
    words = line.split()
    plural, version, kind = words[0], words[-3], words[-1]
    group, _, number = version.rpartition("/")
    explained = newest_kubectl(f"explain {plural} --api-version={version} --recursive")
    head = f"GROUP:      {group}\n" if group else ""
    assert explained.startswith(f"{head}KIND:       {kind}\nVERSION:    {number}\n\nDESCRIPTION:\n    ")
    assert "<empty>" not in explained.partition("FIELDS:")[0]
    fields = explained.partition("FIELDS:")[2]
    assert "\n  apiVersion\t<string>\n  " in fields
    assert "\n  metadata\t<ObjectMeta>" in fields
    assert "\n    annotations\t<map[string]string>\n" in fields


def test_raw_requests(kubectl: Kubectl) -> None:
    """``--raw`` gets, creates, replaces and deletes by path."""
    path = f"/api/v1/namespaces/{kubectl.namespace}/configmaps"
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "raw"}, "data": {"a": "b"}}
    assert kubectl("get --raw /readyz") == "ok"
    made = json.loads(kubectl(f"create --raw {path} -f -", stdin=json.dumps(config_map)))
    assert made["metadata"]["name"] == "raw"
    replaced = json.loads(
        kubectl(f"replace --raw {path}/raw -f -", stdin=json.dumps(config_map | {"data": {"a": "c"}}))
    )
    assert replaced["data"] == {"a": "c"}
    assert json.loads(kubectl(f"delete --raw {path}/raw"))["status"] == "Success"
    assert "not found" in kubectl.fails(f"get --raw {path}/raw")
    assert json.loads(kubectl("get --raw /apis/apps/v1"))["groupVersion"] == "apps/v1"
    assert "apiserver_" in kubectl("get --raw /metrics") or "flotilla_" in kubectl("get --raw /metrics")


def test_cluster_info(kubectl: Kubectl) -> None:
    """The addresses of the API and of the services that belong to the cluster, and a dump of everything."""
    plain = kubectl("cluster-info").replace("\x1b[0;32m", "").replace("\x1b[0;33m", "").replace("\x1b[0m", "")
    assert f"Kubernetes control plane is running at {kubectl.server.url}\n" in plain
    dns = "/api/v1/namespaces/kube-system/services/kube-dns:dns/proxy"
    assert f"KubeDNS is running at {kubectl.server.url}{dns}\n" in plain or "DNS is running at" in plain
    kubectl.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: one}\nspec: {containers: [{name: c, image: i}]}\n")
    directory = kubectl.home / "dump"
    kubectl(f"cluster-info dump --output-directory={directory} --namespaces={kubectl.namespace}")
    dumped = {path.name for path in (directory / kubectl.namespace).iterdir() if path.is_file()}
    assert {"events.json", "pods.json", "services.json", "deployments.json", "daemonsets.json"} <= dumped
    pods = json.loads((directory / kubectl.namespace / "pods.json").read_text())
    assert [pod["metadata"]["name"] for pod in pods["items"]] == ["one"]
    assert json.loads((directory / "nodes.json").read_text())["kind"] == "NodeList"


def test_config(kubectl: Kubectl) -> None:
    """The kubeconfig is one that kubectl shows and changes."""
    shown = kubectl.json("config view --minify")
    assert shown["clusters"][0]["cluster"]["server"] == kubectl.server.url
    assert shown["contexts"][0]["context"]["namespace"] == kubectl.namespace
    assert kubectl("config current-context").strip() == shown["current-context"]
    kubectl("config set-context --current --namespace=elsewhere")
    assert kubectl.json("config view --minify")["contexts"][0]["context"]["namespace"] == "elsewhere"


def test_auth(kubectl: Kubectl) -> None:
    """Who the user is, and what this one and another may do."""
    whoami = kubectl("auth whoami")
    assert whoami.startswith("ATTRIBUTE")
    assert "system:masters" in whoami
    assert "system:authenticated" in kubectl.json("auth whoami")["status"]["userInfo"]["groups"]
    assert kubectl("auth can-i create pods") == "yes\n"
    assert kubectl("auth can-i '*' '*' --all-namespaces") == "yes\n"
    assert kubectl("auth can-i get /healthz") == "yes\n"
    assert kubectl("auth can-i patch deployments.apps/web --subresource=scale") == "yes\n"
    rules = kubectl("auth can-i --list")
    assert rules.splitlines()[0].split() == ["Resources", "Non-Resource", "URLs", "Resource", "Names", "Verbs"]
    assert ["*.*", "[]", "[]", "[*]"] in [line.split() for line in rules.splitlines()]
    nobody = kubectl.run("auth can-i delete nodes --as=somebody")
    assert (nobody.code, nobody.out) == (1, "no\n")
    forbidden = kubectl.fails("get pods --as=somebody --as-group=few")
    assert forbidden == (
        'Error from server (Forbidden): pods is forbidden: User "somebody" cannot list resource "pods" '
        f'in API group "" in the namespace "{kubectl.namespace}"\n'
    )


def test_completion(kubectl: Kubectl) -> None:
    """Names of objects, kinds and namespaces are completed from the server."""
    kubectl("create configmap completed")
    assert "completed" in kubectl.lines("__complete get configmaps comp")
    assert kubectl.namespace in kubectl.lines("__complete get pods --namespace test-")
    assert "configmaps" in kubectl.lines("__complete get config")


def test_proxy(kubectl: Kubectl) -> None:
    """``kubectl proxy`` gives the API to programs that can't authenticate themselves."""
    kubectl("create configmap proxied --from-literal=a=b")
    with kubectl.started("proxy --port=0") as proxy:
        address = proxy.line().split()[-1]
        url = f"http://{address}/api/v1/namespaces/{kubectl.namespace}/configmaps/proxied"
        with until("the proxy answers", lambda: urllib.request.urlopen(url, timeout=10)) as response:
            assert json.load(response)["data"] == {"a": "b"}
