"""Changes to objects that are there: patch, edit, label, annotate, replace, set."""

from __future__ import annotations

import json

import pytest

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
      - {name: web, image: "busybox:1"}
      - {name: other, image: "busybox:1"}
"""
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, labels: {app: web}}\ndata: {key: value}\n"
PATCHES = [
    (
        "strategic",
        '{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"busybox:2"}]}}}}',
        "busybox:2 busybox:1",
    ),
    ("strategic", '{"spec":{"template":{"spec":{"containers":[{"name":"other","$patch":"delete"}]}}}}', "busybox:1"),
    ("merge", '{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"busybox:3"}]}}}}', "busybox:3"),
    ("json", '[{"op":"replace","path":"/spec/template/spec/containers/1/image","value":"x:4"}]', "busybox:1 x:4"),
    (
        "json",
        '[{"op":"test","path":"/spec/replicas","value":0},{"op":"remove","path":"/spec/template/spec/containers/0"}]',
        "busybox:1",
    ),
]
IMAGES = "jsonpath={.spec.template.spec.containers[*].image}"


@pytest.mark.parametrize(("type_", "patch", "images"), PATCHES)
def test_patch(kubectl: Kubectl, type_: str, patch: str, images: str) -> None:
    """Every type of patch changes what it should, and a second time nothing."""
    kubectl.apply(DEPLOYMENT)
    assert kubectl(f"patch deployment web --type={type_}", "-p", patch) == "deployment.apps/web patched\n"
    assert kubectl("get deployment web", "-o", IMAGES) == images
    if type_ != "json":
        assert (
            kubectl(f"patch deployment web --type={type_}", "-p", patch) == "deployment.apps/web patched (no change)\n"
        )


def test_patches_of_subresources(kubectl: Kubectl) -> None:
    """The status changes by its subresource alone, and the scale by its own."""
    kubectl.apply(DEPLOYMENT)
    status = '{"status": {"observedGeneration": 7, "replicas": 3}, "spec": {"replicas": 9}}'
    kubectl("patch deployment web --subresource=scale --type=merge", "-p", '{"spec": {"replicas": 2}}')
    assert kubectl("get deployment web -o jsonpath={.spec.replicas}") == "2"
    kubectl("run one --image=busybox")
    kubectl("patch pod one --subresource=status --type=merge", "-p", '{"status": {"phase": "Failed"}}')
    kubectl("patch pod one --type=merge", "-p", '{"status": {"phase": "Running"}}')
    assert kubectl("get pod one -o jsonpath={.status.phase}") == "Failed"
    kubectl("patch deployment web --type=merge", "-p", status)
    assert kubectl("get deployment web -o jsonpath={.spec.replicas}") == "9"


def test_patches_that_fail(kubectl: Kubectl) -> None:
    """A patch that can't be applied or makes an invalid object is refused with the reason."""
    kubectl.apply(DEPLOYMENT)
    failed = kubectl.fails("patch deployment web --type=json", "-p", '[{"op":"remove","path":"/spec/nothing"}]')
    assert "the server rejected our request due to an error in our request" in failed
    invalid = kubectl.fails("patch deployment web", "-p", '{"spec":{"replicas":-1}}')
    assert invalid == (
        'The Deployment "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0\n'
    )
    selector = kubectl.fails("patch deployment web", "-p", '{"spec":{"selector":{"matchLabels":{"app":"other"}}}}')
    assert "field is immutable" in selector
    tested = kubectl.fails(
        "patch deployment web --type=json", "-p", '[{"op":"test","path":"/spec/replicas","value":5}]'
    )
    assert "Invalid" in tested or "rejected our request" in tested
    gone = kubectl.fails("patch deployment none", "-p", "{}")
    assert gone == 'Error from server (NotFound): deployments.apps "none" not found\n'


def test_patch_dry_runs_and_files(kubectl: Kubectl) -> None:
    """A patch may come from a file or be tried only; ``--local`` prints what a file would become."""
    manifest = kubectl.write("settings.yaml", CONFIG_MAP)
    kubectl.apply(CONFIG_MAP)
    patch = '{"data": {"more": "1"}}'
    tried = kubectl(
        "patch configmap settings --type=merge --dry-run=server", "-p", patch, "-o", "jsonpath={.data.more}"
    )
    assert tried == "1"
    assert kubectl("get configmap settings -o jsonpath={.data.more}") == ""
    kubectl.write("patch.yaml", "data: {more: '2'}\n")
    kubectl("patch configmap settings --type=merge --patch-file=patch.yaml")
    assert kubectl("get configmap settings -o jsonpath={.data.more}") == "2"
    local = kubectl(f"patch -f {manifest} --local --type=merge", "-p", patch, "-o", "jsonpath={.data.more}")
    assert local == "1"


def test_label(kubectl: Kubectl) -> None:
    """Labels are added, changed only with ``--overwrite``, listed and removed."""
    kubectl.apply(CONFIG_MAP)
    assert kubectl("label configmap settings colour=red") == "configmap/settings labeled\n"
    assert kubectl("label configmap settings colour=red") == "configmap/settings not labeled\n"
    assert kubectl.fails("label configmap settings colour=blue") == (
        "error: 'colour' already has a value (red), and --overwrite is false\n"
    )
    assert kubectl("label configmap settings colour=blue --overwrite") == "configmap/settings labeled\n"
    assert sorted(kubectl.lines("label configmap settings --list")) == ["app=web", "colour=blue"]
    assert (
        kubectl("label configmaps -l app=web size=1 --dry-run=server")
        == "configmap/settings labeled (server dry run)\n"
    )
    assert kubectl("label configmap settings colour-") == "configmap/settings unlabeled\n"
    assert kubectl.lines("label configmap settings --list") == ["app=web"]
    assert 'label "none" not found.\n' in kubectl("label configmap settings none-")
    bad = kubectl.fails("label configmap settings 'a=b c'")
    assert "a valid label must be an empty string or consist of alphanumeric characters" in bad
    version = kubectl("get configmap settings -o jsonpath={.metadata.resourceVersion}")
    kubectl(f"label configmap settings size=2 --resource-version={version}")
    stale = kubectl.fails(f"label configmap settings size=3 --overwrite --resource-version={version}")
    assert "the object has been modified; please apply your changes to the latest version and try again" in stale


def test_annotate(kubectl: Kubectl) -> None:
    """Annotations likewise."""
    kubectl("create configmap settings")
    assert kubectl("annotate configmap settings note='two words'") == "configmap/settings annotated\n"
    assert "--overwrite is false" in kubectl.fails("annotate configmap settings note=other")
    kubectl("annotate --overwrite configmap settings note=other")
    assert kubectl.lines("annotate configmap settings --list") == ["note=other"]
    assert kubectl("annotate configmap settings note-") == "configmap/settings annotated\n"
    kubectl("create configmap second")
    assert kubectl("annotate configmaps --all mark=1").count(" annotated\n") == 3
    by_field = kubectl("annotate configmaps --field-selector=metadata.name=second more=1")
    assert by_field == "configmap/second annotated\n"


def test_replace(kubectl: Kubectl) -> None:
    """A whole new state takes the place of the old one, unless that has changed since it was read."""
    kubectl.apply(CONFIG_MAP)
    manifest = kubectl.write("settings.yaml", CONFIG_MAP.replace("key: value", "other: value"))
    assert kubectl(f"replace -f {manifest}") == "configmap/settings replaced\n"
    found = kubectl.json("get configmap settings")
    assert found["data"] == {"other": "value"}
    kubectl("label configmap settings later=1")
    stale = kubectl.fails("replace -f -", stdin=json.dumps(found))
    assert stale == (
        'Error from server (Conflict): error when replacing "STDIN": Operation cannot be fulfilled on configmaps '
        '"settings": the object has been modified; please apply your changes to the latest version and try again\n'
    )
    before = found["metadata"]["uid"]
    assert kubectl(f"replace --force -f {manifest}") == (
        'configmap "settings" deleted\nconfigmap/settings replaced\n'
        if kubectl.version == "1.31"
        else f'configmap "settings" deleted from {kubectl.namespace} namespace\nconfigmap/settings replaced\n'
    )
    assert kubectl("get configmap settings -o jsonpath={.metadata.uid}") != before
    missing = kubectl.fails("replace -f -", stdin=CONFIG_MAP.replace("name: settings", "name: none"))
    assert missing == 'Error from server (NotFound): error when replacing "STDIN": configmaps "none" not found\n'


def test_replace_of_a_subresource(kubectl: Kubectl) -> None:
    """``--subresource`` replaces the status, or the scale, and nothing else."""
    kubectl("run one --image=busybox --labels=a=b")
    pod = kubectl.json("get pod one")
    pod["status"]["phase"] = "Succeeded"
    pod["spec"]["terminationGracePeriodSeconds"] = 77
    assert kubectl("replace --subresource=status -f -", stdin=json.dumps(pod)) == "pod/one replaced\n"
    after = kubectl.json("get pod one")
    assert (after["status"]["phase"], after["spec"]["terminationGracePeriodSeconds"]) == ("Succeeded", 30)
    immutable = json.loads(json.dumps(after))
    immutable["spec"]["containers"][0]["name"] = "renamed"
    refused = kubectl.fails("replace -f -", stdin=json.dumps(immutable))
    assert "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`" in refused


def test_edit(kubectl: Kubectl) -> None:
    """What the editor has made of an object is stored; nothing if it made nothing of it."""
    kubectl.apply(CONFIG_MAP)
    editing = kubectl.with_editor('sed -i "s/key: value/key: edited/" "$1"')
    assert editing("edit configmap settings") == "configmap/settings edited\n"
    assert kubectl("get configmap settings -o jsonpath={.data.key}") == "edited"
    unchanged = kubectl.with_editor("true").run("edit configmap settings")
    assert (unchanged.code, unchanged.err) == (0, "Edit cancelled, no changes made.\n")
    as_json = kubectl.with_editor('sed -i "s/edited/again/" "$1"')
    assert json.loads(as_json("edit configmap settings -o json"))["data"] == {"key": "again"}
    status = kubectl.with_editor('sed -i "s/phase: Pending/phase: Failed/" "$1"')
    kubectl("run one --image=busybox")
    assert status("edit pod one --subresource=status") == "pod/one edited\n"
    assert kubectl("get pod one -o jsonpath={.status.phase}") == "Failed"


def test_an_invalid_edit_is_opened_again(kubectl: Kubectl) -> None:
    """The editor comes back with the server's reasons on top of what the user had written, until it is right."""
    kubectl.apply(DEPLOYMENT)
    script = """
if grep -q 'must be greater than or equal to 0' "$1"; then
    sed -i 's/replicas: -1/replicas: 3/' "$1"
else
    sed -i 's/replicas: 0/replicas: -1/' "$1"
fi
"""
    edited = kubectl.with_editor(script).run("edit deployment web")
    assert (edited.code, edited.out) == (0, "deployment.apps/web edited\n")
    assert edited.err == 'error: deployments.apps "web" is invalid\n'
    assert kubectl("get deployment web -o jsonpath={.spec.replicas}") == "3"


def test_set(kubectl: Kubectl) -> None:
    """Parts of a template are set by name."""
    kubectl.apply(DEPLOYMENT)
    assert kubectl("set image deployment/web web=busybox:9 other=busybox:8") == "deployment.apps/web image updated\n"
    assert kubectl("get deployment web", "-o", IMAGES) == "busybox:9 busybox:8"
    assert kubectl("set env deployment/web A=B -c web") == "deployment.apps/web env updated\n"
    assert kubectl.lines("set env deployment/web --list") == [
        "# Deployment web, container web",
        "A=B",
        "# Deployment web, container other",
    ]
    kubectl("create configmap values --from-literal=KEY=1")
    kubectl("set env deployment/web --from=configmap/values -c other")
    assert "KEY" in kubectl("set env deployment/web --list")
    kubectl("set env deployment/web A-")
    assert "A=B" not in kubectl("set env deployment/web --list")
    resources = "set resources deployment web -c=web --limits=cpu=200m,memory=64Mi --requests=cpu=100m"
    assert kubectl(resources) == "deployment.apps/web resource requirements updated\n"
    assert kubectl.json("get deployment web")["spec"]["template"]["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "200m", "memory": "64Mi"},
        "requests": {"cpu": "100m"},
    }
    kubectl("create serviceaccount robot")
    assert kubectl("set serviceaccount deployment web robot") == "deployment.apps/web serviceaccount updated\n"
    kubectl("create service clusterip web --tcp=80")
    assert kubectl("set selector service web app=other") == "service/web selector updated\n"
    assert kubectl.json("get service web")["spec"]["selector"] == {"app": "other"}
    kubectl("create rolebinding robots --clusterrole=view --user=somebody")
    subject = f"set subject rolebinding robots --serviceaccount={kubectl.namespace}:robot"
    assert kubectl(subject) == "rolebinding.rbac.authorization.k8s.io/robots subjects updated\n"
