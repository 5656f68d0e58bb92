"""Every form of ``kubectl get``, and watches."""

from __future__ import annotations

import itertools

import pytest
import yaml

from tests.integration.kubectl.lab import Kubectl, Running, until

CONFIG_MAPS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: a, labels: {colour: red, size: "1", kind: test}}
data: {order: "3"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: b, labels: {colour: green, kind: test}}
data: {order: "1"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c, labels: {colour: blue, size: "3", kind: test}}
data: {order: "2"}
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "busybox:1"}]}
"""


def test_tables(kubectl: Kubectl) -> None:
    """Narrow, wide, without headings, with labels, and several kinds at once."""
    kubectl.apply(DEPLOYMENT)
    (heading, row) = kubectl.table("get deployment web")
    assert heading == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert row[:2] == ["web", "0/2"]
    (heading, row) = kubectl.table("get deployment web -o wide --show-labels")
    assert heading[-4:] == ["CONTAINERS", "IMAGES", "SELECTOR", "LABELS"]
    assert row[-4:] == ["web", "busybox:1", "app=web", "app=web"]
    assert kubectl.table("get deployment web --no-headers -L app")[0][-1] == "web"
    both = kubectl("get deployments,replicasets")
    assert both.startswith("NAME                  READY   UP-TO-DATE   AVAILABLE   AGE\ndeployment.apps/web   ")
    assert "\n\nNAME                             DESIRED   CURRENT   READY   AGE\nreplicaset.apps/web-" in both
    assert "deployment.apps/web" in kubectl("get all")
    everywhere = kubectl.table("get deployments -A")
    assert everywhere[0][:2] == ["NAMESPACE", "NAME"]
    assert kubectl.namespace in {row[0] for row in everywhere}
    assert kubectl.run("get statefulsets").err == f"No resources found in {kubectl.namespace} namespace.\n"


def test_missing(kubectl: Kubectl) -> None:
    """What is not there is named as on Kubernetes, or passed over if that was asked for."""
    assert kubectl.fails("get pod none") == 'Error from server (NotFound): pods "none" not found\n'
    assert kubectl.fails("get deploy none") == 'Error from server (NotFound): deployments.apps "none" not found\n'
    assert kubectl.fails("get none") == 'error: the server doesn\'t have a resource type "none"\n'
    assert kubectl("get pod none --ignore-not-found") == ""


def test_outputs(kubectl: Kubectl) -> None:
    """The object itself, and what templates make of it."""
    kubectl.apply(CONFIG_MAPS)
    as_yaml = yaml.safe_load(kubectl("get configmap a -o yaml"))
    assert as_yaml == kubectl.json("get configmap a")
    assert "managedFields" not in as_yaml["metadata"]
    managed = yaml.safe_load(kubectl("get configmap a -o yaml --show-managed-fields"))["metadata"]["managedFields"]
    assert [(each["manager"], each["operation"]) for each in managed] == [("kubectl-client-side-apply", "Update")]
    assert kubectl.json("get configmaps -l kind=test")["kind"] == "List"
    assert kubectl("get configmaps -l kind=test -o name") == "configmap/a\nconfigmap/b\nconfigmap/c\n"
    assert kubectl("get configmaps a b", "-o", "jsonpath={.items[*].data.order}") == "3 1"
    path = '{range .items[*]}{.metadata.name}{"="}{.data.order}{"\\n"}{end}'
    assert kubectl("get configmaps -l kind=test", "-o", f"jsonpath={path}") == "a=3\nb=1\nc=2\n"
    columns = "custom-columns=NAME:.metadata.name,ORDER:.data.order,SIZE:.metadata.labels.size"
    assert kubectl.table("get configmaps -l kind=test", "-o", columns) == [
        ["NAME", "ORDER", "SIZE"],
        ["a", "3", "1"],
        ["b", "1", "<none>"],
        ["c", "2", "3"],
    ]
    template = "{{range .items}}{{.metadata.name}};{{end}}"
    assert kubectl("get configmaps -l kind=test", "-o", f"go-template={template}") == "a;b;c;"
    kubectl.write("columns", "N\n.metadata.name\n")
    assert kubectl.table("get configmap a -o custom-columns-file=columns") == [["N"], ["a"]]


def test_sorting(kubectl: Kubectl) -> None:
    """Rows are sorted by a field, which kubectl reads from the objects in the rows."""
    kubectl.apply(CONFIG_MAPS)
    names = [row[0] for row in kubectl.table("get configmaps -l kind=test --no-headers --sort-by=.data.order")]
    assert names == ["b", "c", "a"]
    assert (
        kubectl("get configmaps -l kind=test -o name --sort-by=.metadata.name")
        == "configmap/a\nconfigmap/b\nconfigmap/c\n"
    )
    assert kubectl.table("get cm -l kind=test --sort-by=.metadata.creationTimestamp")[0] == ["NAME", "DATA", "AGE"]


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("colour=red", "a"),
        ("colour!=red,kind=test", "b c"),
        ("colour in (red,blue)", "a c"),
        ("colour notin (red,blue),kind", "b"),
        ("size", "a c"),
        ("!size,kind=test", "b"),
        ("colour==green,kind in (test)", "b"),
    ],
)
def test_label_selectors(newest_kubectl: Kubectl, selector: str, names: str) -> None:
    """Objects are chosen by labels, by equality and by sets."""
    newest_kubectl.apply(CONFIG_MAPS)
    found = newest_kubectl("get configmaps", "-l", selector, "-o", "jsonpath={.items[*].metadata.name}")
    assert found == names


def test_field_selectors(kubectl: Kubectl) -> None:
    """Objects are chosen by the fields of their kind; other fields are refused."""
    kubectl.apply(CONFIG_MAPS)
    kubectl("run one --image=busybox")
    assert kubectl("get configmaps --field-selector=metadata.name=b -o name") == "configmap/b\n"
    assert kubectl("get pods --field-selector=status.phase=Pending -o name") == "pod/one\n"
    assert kubectl("get pods --field-selector=status.phase!=Pending -o name") == ""
    assert kubectl("get pods --field-selector=spec.nodeName=,status.phase=Pending -o name") == "pod/one\n"
    refused = kubectl.fails("get configmaps --field-selector=data.order=1")
    assert refused == (
        'Error from server (BadRequest): Unable to find "/v1, Resource=configmaps" that match label selector "", '
        'field selector "data.order=1": "data.order" is not a known field selector: only "metadata.name", '
        '"metadata.namespace"\n'
    )
    unknown = kubectl.fails("get pods --field-selector=spec.none=1")
    assert unknown.endswith('field selector "spec.none=1": field label not supported: spec.none\n')


def test_a_thousand_objects_in_pages(newest_kubectl: Kubectl) -> None:
    """Pages of ten and of the usual size show all of a thousand objects, each once."""
    kubectl = newest_kubectl
    path = f"/api/v1/namespaces/{kubectl.namespace}/configmaps"
    names = [f"page-{number:04}" for number in range(1000)]
    for name in names:
        kubectl.server.request("POST", path, {"metadata": {"name": name, "labels": {"paged": "yes"}}})
    get = "get configmaps -l paged=yes"
    with kubectl.started(f"{get} --chunk-size=10 -o name") as paged, kubectl.started(f"{get} --chunk-size=10") as table:
        for size in ("500", "0"):
            assert kubectl.lines(f"{get} -o name --chunk-size={size}") == [f"configmap/{name}" for name in names]
        assert paged.finish().out.splitlines() == [f"configmap/{name}" for name in names]
        assert [line.split()[0] for line in table.finish().out.splitlines()[1:]] == names


def test_subresources(kubectl: Kubectl) -> None:
    """The status and the scale of an object can be shown by themselves."""
    kubectl.apply(DEPLOYMENT)
    heading, row = kubectl.table("get deployment web --subresource=scale")
    assert (heading, row[:2]) == (["NAME", "DESIRED", "AVAILABLE", "AGE"], ["web", "2"])
    scale = kubectl.json("get deployment web --subresource=scale")
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert scale["status"]["selector"] == "app=web"
    assert kubectl.json("get deployment web --subresource=status")["kind"] == "Deployment"
    assert kubectl.table("get deployment web --subresource=status")[1][:2] == ["web", "0/2"]


def test_versions_of_a_kind(kubectl: Kubectl) -> None:
    """An object can be read in each of its versions by naming it."""
    kubectl.apply(DEPLOYMENT)
    kubectl(
        "autoscale deployment web --max=5 --cpu-percent=40"
        if kubectl.version == "1.31"
        else "autoscale deployment web --max=5 --cpu=40%"
    )
    first = kubectl.json("get horizontalpodautoscalers.v1.autoscaling web")
    assert (first["apiVersion"], first["spec"]["targetCPUUtilizationPercentage"]) == ("autoscaling/v1", 40)
    second = kubectl.json("get horizontalpodautoscalers.v2.autoscaling web")
    assert second["spec"]["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 40}
    assert kubectl.table("get hpa web")[0] == ["NAME", "REFERENCE", "TARGETS", "MINPODS", "MAXPODS", "REPLICAS", "AGE"]


def test_watch(kubectl: Kubectl) -> None:
    """``-w`` shows what is there, then a row for each change, the one that ends a match too."""
    kubectl.apply(CONFIG_MAPS)
    with kubectl.started("get configmaps -l kind=test -w --no-headers") as watch:
        assert [watch.words(2) for _ in "abc"] == [["a", "1"], ["b", "1"], ["c", "1"]]
        kubectl("patch configmap b --type=merge", "-p", '{"data": {"more": "1"}}')
        assert watch.words(2) == ["b", "2"]
        kubectl("label configmap b kind=other --overwrite")
        assert watch.words(2) == ["b", "2"]


def test_watch_only_events(kubectl: Kubectl) -> None:
    """``--watch-only`` begins with the first change, ``--output-watch-events`` names its type."""
    kubectl.apply(CONFIG_MAPS)
    with kubectl.started("get configmaps -l kind=test -w --output-watch-events -o name") as started:
        assert [started.line() for _ in "abc"] == ["configmap/a", "configmap/b", "configmap/c"]
        with kubectl.started("get cm -l kind=test --watch-only --output-watch-events --no-headers") as watch:
            _until_watched(kubectl, watch)
            for command in ("create configmap d", "label configmap d kind=test", "label configmap d size=9"):
                kubectl(command)
            kubectl("delete configmap d")
            rows = [watch.words(2) for _ in range(3)]
        assert rows == [["ADDED", "d"], ["MODIFIED", "d"], ["DELETED", "d"]]
        started.skip_to("configmap/d")


def _until_watched(kubectl: Kubectl, watch: Running) -> None:
    """Change an object until the watch shows it; then drop what it has shown."""
    numbers = itertools.count()

    def shown() -> bool:
        kubectl(f"annotate configmap a number={next(numbers)} --overwrite")
        return watch.waiting()

    until("the watch shows a change", shown)
    while watch.waiting():
        assert watch.words(2) == ["MODIFIED", "a"]


def test_watch_of_one_object(kubectl: Kubectl) -> None:
    """A watch of one name shows every state of that object."""
    kubectl.apply(DEPLOYMENT)
    with kubectl.started("get deployment web -w", "-o", "jsonpath={.spec.replicas}{'\\n'}") as watch:
        assert watch.line() == "2"
        kubectl("scale deployment web --replicas=3")
        watch.skip_to("3")
