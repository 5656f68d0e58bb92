"""``kubectl apply`` from the client and from the server, what it prunes, and ``diff``."""

from __future__ import annotations

import json
from typing import Any

import yaml

from tests.integration.kubectl.lab import Kubectl

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: busybox:1
        ports: [{containerPort: 80}, {containerPort: 81}]
        env: [{name: A, value: "1"}]
"""
IMAGE = "jsonpath={.spec.template.spec.containers[*].image}"


def config_map(name: str, **data: str) -> str:
    """A ConfigMap of the set that pruning is tried on."""
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"set": "one"}},
    }
    return yaml.safe_dump(body | {"data": data})


def managers(kubectl: Kubectl, name: str) -> list[tuple[str, str]]:
    """Who manages fields of an object, and how."""
    metadata = kubectl.json("get", name, "--show-managed-fields")["metadata"]
    return sorted((each["manager"], each["operation"]) for each in metadata["managedFields"])


def test_three_way_merge(kubectl: Kubectl) -> None:
    """What the manifest no longer has is removed, what others have set stays, lists are merged by their keys."""
    assert kubectl.apply(DEPLOYMENT) == "deployment.apps/web created\n"
    kubectl("scale deployment web --replicas=2")
    kubectl("set env deployment/web B=2")
    kubectl("annotate deployment web note=kept")
    smaller = (
        DEPLOYMENT.replace("  replicas: 0\n", "").replace(", {containerPort: 81}", "").replace("busybox:1", "busybox:2")
    )
    assert kubectl.apply(smaller) == "deployment.apps/web configured\n"
    found = kubectl.json("get deployment web")
    container = found["spec"]["template"]["spec"]["containers"][0]
    assert [port["containerPort"] for port in container["ports"]] == [80]
    assert sorted(each["name"] for each in container["env"]) == ["A", "B"]
    assert container["image"] == "busybox:2"
    assert found["metadata"]["annotations"]["note"] == "kept"
    assert found["spec"]["replicas"] == 1


def test_directories(kubectl: Kubectl) -> None:
    """All files of a directory are applied in order, those below it with ``-R``."""
    kubectl.write("d/1.yaml", config_map("one", a="1") + "---\n" + config_map("two", a="1"))
    kubectl.write("d/2.json", json.dumps(yaml.safe_load(config_map("three", a="1"))))
    kubectl.write("d/notes.txt", "not a manifest")
    kubectl.write("d/below/4.yaml", config_map("four", a="1"))
    flat = kubectl.lines("apply -f d")
    assert flat == ["configmap/one created", "configmap/two created", "configmap/three created"]
    assert sorted(kubectl.lines("apply -R -f d")) == [
        "configmap/four created",
        "configmap/one unchanged",
        "configmap/three unchanged",
        "configmap/two unchanged",
    ]
    assert kubectl("get configmaps -l set=one -o name").count("\n") == 4


def test_kustomize(kubectl: Kubectl) -> None:
    """A kustomization is built and applied, compared and deleted."""
    kubectl.write("k/deployment.yaml", DEPLOYMENT)
    kubectl.write(
        "k/kustomization.yaml",
        """
namePrefix: my-
labels: [{pairs: {team: blue}}]
resources: [deployment.yaml]
images: [{name: busybox, newTag: "7"}]
configMapGenerator: [{name: settings, literals: [a=b], options: {disableNameSuffixHash: true}}]
""",
    )
    assert "name: my-web" in kubectl("kustomize k")
    assert kubectl.lines("apply -k k") == ["configmap/my-settings created", "deployment.apps/my-web created"]
    assert kubectl("get deployment my-web", "-o", IMAGE) == "busybox:7"
    assert kubectl("get deployment -l team=blue -o name") == "deployment.apps/my-web\n"
    assert kubectl("diff -k k") == ""
    assert kubectl("delete -k k").count("deleted") == 2


def test_last_applied(kubectl: Kubectl) -> None:
    """What was applied last is shown, set without applying it, and edited."""
    kubectl.apply(config_map("settings", a="1"))
    shown = yaml.safe_load(kubectl("apply view-last-applied configmap settings"))
    assert shown["data"] == {"a": "1"}
    manifest = kubectl.write("settings.yaml", config_map("settings", a="1", b="2"))
    assert kubectl(f"apply set-last-applied -f {manifest}") == "configmap/settings configured\n"
    assert kubectl.json("get configmap settings")["data"] == {"a": "1"}
    assert yaml.safe_load(kubectl("apply view-last-applied configmap/settings"))["data"] == {"a": "1", "b": "2"}
    editing = kubectl.with_editor("""sed -i 's/b: "2"/c: "3"/' "$1" """)
    assert editing("apply edit-last-applied configmap settings") == "configmap/settings edited\n"
    assert yaml.safe_load(kubectl("apply view-last-applied configmap settings"))["data"] == {"a": "1", "c": "3"}
    kubectl("create configmap bare")
    assert kubectl("apply view-last-applied configmap bare") == ""
    kubectl("create configmap saved --save-config --from-literal=x=y")
    assert yaml.safe_load(kubectl("apply view-last-applied configmap saved"))["data"] == {"x": "y"}


def test_apply_dry_runs(kubectl: Kubectl) -> None:
    """The server or kubectl says what it would do, and nothing is done."""
    assert kubectl.apply(DEPLOYMENT, "--dry-run=server") == "deployment.apps/web created (server dry run)\n"
    assert kubectl.apply(DEPLOYMENT, "--dry-run=client") == "deployment.apps/web created (dry run)\n"
    kubectl.apply(DEPLOYMENT)
    changed = DEPLOYMENT.replace("busybox:1", "busybox:2")
    assert kubectl.apply(changed, "--dry-run=server", "-o", IMAGE) == "busybox:2"
    assert kubectl.apply(changed, "--dry-run=server") == "deployment.apps/web configured (server dry run)\n"
    kubectl("create configmap settings --from-literal=a=1")
    settings = config_map("settings", a="2")
    assert kubectl.apply(settings, "--server-side", "--force-conflicts", "--dry-run=server") == (
        "configmap/settings serverside-applied (server dry run)\n"
    )
    assert kubectl("get deployment web", "-o", IMAGE) == "busybox:1"


def test_apply_of_what_was_created(kubectl: Kubectl) -> None:
    """kubectl warns of an object without the annotation, and adds it."""
    kubectl("create configmap settings --from-literal=a=1")
    warned = kubectl.run("apply -f -", stdin=config_map("settings", b="2"))
    assert (warned.code, warned.out) == (0, "configmap/settings configured\n")
    assert warned.err.startswith(
        "Warning: resource configmaps/settings is missing the kubectl.kubernetes.io/last-applied"
    )
    assert kubectl.json("get configmap settings")["data"] == {"a": "1", "b": "2"}


def test_apply_force(kubectl: Kubectl) -> None:
    """``--force`` deletes and makes again what can't be changed in place."""
    kubectl.apply(DEPLOYMENT)
    other = DEPLOYMENT.replace("matchLabels: {app: web}", "matchLabels: {app: new}").replace(
        "metadata: {labels: {app: web}}", "metadata: {labels: {app: new}}"
    )
    refused = kubectl.fails("apply -f -", stdin=other)
    assert "spec.selector: Invalid value:" in refused
    assert "field is immutable" in refused
    assert kubectl.run("apply --force -f -", stdin=other).out == "deployment.apps/web configured\n"
    assert kubectl.json("get deployment web")["spec"]["selector"] == {"matchLabels": {"app": "new"}}


def test_server_side_apply(kubectl: Kubectl) -> None:
    """Fields have owners; another's field is a conflict that names the owner, until it is forced or shared."""
    settings = config_map("settings", a="1", b="1")
    assert kubectl.apply(settings, "--server-side") == "configmap/settings serverside-applied\n"
    assert managers(kubectl, "configmap/settings") == [("kubectl", "Apply")]
    other = ("--server-side", "--field-manager=other")
    assert kubectl.apply(config_map("settings", a="1"), *other) == "configmap/settings serverside-applied\n"
    conflict = kubectl.fails("apply -f -", *other, stdin=config_map("settings", a="2"))
    assert conflict.startswith(
        'error: Apply failed with 1 conflict: conflict with "kubectl": .data.a\n'
        "Please review the fields above--they currently have other managers."
    )
    kubectl.apply(config_map("settings", a="2"), *other, "--force-conflicts")
    assert kubectl.json("get configmap settings")["data"] == {"a": "2", "b": "1"}
    kubectl.apply(config_map("settings", b="1"), "--server-side")
    assert kubectl.json("get configmap settings")["data"] == {"a": "2", "b": "1"}
    kubectl.apply(config_map("settings"), *other)
    assert kubectl.json("get configmap settings")["data"] == {"b": "1"}
    assert managers(kubectl, "configmap/settings") == [("kubectl", "Apply"), ("other", "Apply")]


def test_conflicts_are_all_named(kubectl: Kubectl) -> None:
    """Several conflicts are listed by manager and field, also those with managers that update."""
    kubectl.apply(DEPLOYMENT, "--server-side")
    kubectl("scale deployment web --replicas=3")
    kubectl("set image deployment/web web=busybox:3")
    conflict = kubectl.fails("apply --server-side -f -", stdin=DEPLOYMENT)
    assert "Apply failed with 2 conflicts" in conflict
    assert "conflict" in conflict and ".spec.replicas" in conflict
    assert '.spec.template.spec.containers[name="web"].image' in conflict
    kubectl.apply(DEPLOYMENT, "--server-side", "--force-conflicts")
    assert kubectl("get deployment web -o jsonpath={.spec.replicas}") == "0"


def test_hand_over_to_the_server(kubectl: Kubectl) -> None:
    """Fields that were applied by the client are taken over without a conflict, and can be removed then."""
    kubectl.apply(config_map("settings", a="1", b="1"))
    assert managers(kubectl, "configmap/settings") == [("kubectl-client-side-apply", "Update")]
    kubectl.apply(config_map("settings", a="2", b="1"), "--server-side")
    assert managers(kubectl, "configmap/settings") == [("kubectl", "Apply"), ("kubectl-last-applied", "Apply")]
    kubectl.apply(config_map("settings", a="2"), "--server-side")
    found = kubectl.json("get configmap settings")
    assert found["data"] == {"a": "2"}
    assert '"a":"2"' in found["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
    assert kubectl.apply(config_map("settings", a="3")) == "configmap/settings configured\n"
    assert kubectl.json("get configmap settings")["data"] == {"a": "3"}


def test_prune_by_label(kubectl: Kubectl) -> None:
    """Objects of the set that the manifests no longer have are deleted, of the kinds that are allowed."""
    both = config_map("one", a="1") + "---\n" + config_map("two", a="1")
    kubectl.apply(both)
    kubectl("create configmap foreign")
    kubectl("label configmap foreign set=one")
    allowed = "--prune-allowlist=core/v1/ConfigMap"
    tried = kubectl.apply(config_map("one", a="1"), "--prune", "-l", "set=one", allowed, "--dry-run=server")
    assert tried == "configmap/one unchanged (server dry run)\nconfigmap/two pruned (server dry run)\n"
    pruned = kubectl.apply(config_map("one", a="1"), "--prune", "-l", "set=one", allowed)
    assert pruned == "configmap/one unchanged\nconfigmap/two pruned\n"
    assert kubectl("get configmaps -l set=one -o name") == "configmap/foreign\nconfigmap/one\n"
    kubectl.apply(
        DEPLOYMENT.replace("labels: {app: web}}\nspec:\n  replicas", "labels: {app: web, set: one}}\nspec:\n  replicas")
    )
    everything = kubectl.run("apply --prune -l set=one -f -", stdin=config_map("one", a="1"))
    assert everything.code == 0, everything.err
    assert "deployment.apps/web pruned" in everything.out


def test_prune_by_apply_set(kubectl: Kubectl) -> None:
    """An ApplySet remembers its members in a parent object, and loses what the manifests no longer have."""
    with_sets = kubectl.with_environment(KUBECTL_APPLYSET="true")
    command = f"apply --prune --applyset=secrets/release -n {kubectl.namespace} -f -"
    both = config_map("one", a="1") + "---\n" + config_map("two", a="1")
    assert with_sets.run(command, stdin=both).out == "configmap/one created\nconfigmap/two created\n"
    parent = kubectl.json("get secret release")["metadata"]
    assert parent["annotations"]["applyset.kubernetes.io/contains-group-kinds"] == "ConfigMap"
    identity = parent["labels"]["applyset.kubernetes.io/id"]
    members = kubectl("get configmaps -o name", "-l", f"applyset.kubernetes.io/part-of={identity}")
    assert members == "configmap/one\nconfigmap/two\n"
    assert (
        with_sets.run(command, stdin=config_map("two", a="1")).out == "configmap/two unchanged\nconfigmap/one pruned\n"
    )
    assert kubectl("get configmaps -l set=one -o name") == "configmap/two\n"


def test_diff(kubectl: Kubectl) -> None:
    """The exit code is 0 without a difference, 1 with one, more when it can't be told; nothing is changed."""
    new = kubectl.run("diff -f -", stdin=DEPLOYMENT)
    assert new.code == 1
    assert "+  name: web" in new.out
    kubectl.apply(DEPLOYMENT)
    assert kubectl.run("diff -f -", stdin=DEPLOYMENT).code == 0
    changed = kubectl.run("diff -f -", stdin=DEPLOYMENT.replace("busybox:1", "busybox:2"))
    assert changed.code == 1
    differing = [" ".join(line.split()) for line in changed.out.splitlines() if line.startswith(("- ", "+ "))]
    assert differing == ["- generation: 1", "+ generation: 2", "- image: busybox:1", "+ image: busybox:2"]
    assert kubectl.run("diff --server-side -f -", stdin=DEPLOYMENT.replace("replicas: 0", "replicas: -3")).code > 1
    assert kubectl.run("diff -f none.yaml").code > 1
    assert kubectl("get deployment web", "-o", IMAGE) == "busybox:1"
    manifest = "apiVersion: v1\nkind: Secret\nmetadata: {name: hidden}\nstringData: {password: %s}\n"
    kubectl.apply(manifest % "first")
    masked = kubectl.run("diff -f -", stdin=manifest % "second")
    assert masked.code == 1
    assert "***" in masked.out
    assert "second" not in masked.out


def test_diff_with_prune(kubectl: Kubectl) -> None:
    """``diff --prune`` shows what would be deleted."""
    kubectl.apply(config_map("one", a="1") + "---\n" + config_map("two", a="1"))
    shown = kubectl.run(
        "diff --prune -l set=one --prune-allowlist=core/v1/ConfigMap -f -", stdin=config_map("one", a="1")
    )
    assert shown.code == 1
    assert "-  name: two" in shown.out
    assert "-  name: one" not in shown.out
