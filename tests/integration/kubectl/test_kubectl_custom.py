"""Kinds of one's own with kubectl: define, explain, create, print, apply, patch, scale, watch, wait, delete."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.integration.kubectl.lab import Kubectl

_DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: crontabs.{group}
spec:
  group: {group}
  scope: Namespaced
  names: {{plural: crontabs, kind: CronTab, shortNames: [ct{suffix}], categories: [jobs{suffix}]}}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        description: A CronTab says what runs when.
        properties:
          spec:
            type: object
            required: [cronSpec]
            x-kubernetes-validations:
            - rule: "self.replicas <= self.most"
              message: replicas must not exceed most
            properties:
              cronSpec:
                type: string
                description: When it runs.
                pattern: '^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){{4}}$'
              image: {{type: string, default: "cron:1"}}
              replicas: {{type: integer, default: 1, minimum: 0}}
              most: {{type: integer, default: 10}}
              env:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties:
                    name: {{type: string}}
                    value: {{type: string}}
          status:
            type: object
            properties:
              replicas: {{type: integer}}
              selector: {{type: string}}
              conditions:
                type: array
                items:
                  type: object
                  properties:
                    type: {{type: string}}
                    status: {{type: string}}
    subresources:
      status: {{}}
      scale: {{specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
    additionalPrinterColumns:
    - {{name: Spec, type: string, jsonPath: .spec.cronSpec, description: When it runs.}}
    - {{name: Replicas, type: integer, jsonPath: .spec.replicas}}
    - {{name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status', priority: 1}}
  - name: v1beta1
    served: true
    storage: false
    deprecated: true
    schema:
      openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
_OBJECT = """
apiVersion: {group}/v1
kind: CronTab
metadata: {{name: tab}}
spec: {{cronSpec: "*/5 * * * *", env: [{{name: A, value: "1"}}]}}
"""


@pytest.fixture
def group(kubectl: Kubectl) -> Iterator[str]:
    """The group of a kind of the test's own, deleted afterwards."""
    suffix = uuid.uuid4().hex[:6]
    name = f"t{suffix}.example.com"
    kubectl.apply(_DEFINITION.format(group=name, suffix=suffix))
    kubectl(f"wait --for=condition=Established crd/crontabs.{name} --timeout=10s")
    yield name
    kubectl(f"delete crd crontabs.{name} --ignore-not-found --timeout=20s")


def test_a_kind_is_found_and_explained(kubectl: Kubectl, group: str) -> None:
    """Names, categories and descriptions of a kind must be known as soon as it is established."""
    row = next(line for line in kubectl.table(f"api-resources --api-group={group} --no-headers") if line)
    assert (row[0], row[2:]) == ("crontabs", [f"{group}/v1", "true", "CronTab"])
    explained = kubectl(f"explain crontabs.spec.cronSpec --api-version={group}/v1")
    assert "When it runs." in explained
    assert "A CronTab says what runs when." in kubectl(f"explain crontabs.{group} --recursive")
    assert f"{group}/v1" in kubectl("api-versions").split()


def test_objects_go_the_way_of_all_objects(kubectl: Kubectl, group: str) -> None:
    """Create, print, patch, label, scale, wait, watch and delete must work as for a built-in kind."""
    manifest, kind = _OBJECT.format(group=group), f"crontabs.{group}"
    assert kubectl.apply(manifest) == f"crontab.{group}/tab created\n"
    assert kubectl.apply(manifest) == f"crontab.{group}/tab unchanged\n"
    header, row = kubectl.lines("get", kind)
    assert header.split() == ["NAME", "SPEC", "REPLICAS"]
    assert row.split() == ["tab", "*/5", "*", "*", "*", "*", "1"]
    kubectl.set_status(kind, "tab", {"conditions": [{"type": "Ready", "status": "True"}]})
    assert kubectl.lines("get", kind, "-o", "wide")[0].split() == ["NAME", "SPEC", "REPLICAS", "READY"]
    kubectl(f"wait {kind}/tab --for=condition=Ready --timeout=5s")
    kubectl(f"scale {kind}/tab --replicas=3")
    assert kubectl(f"get {kind} tab -o jsonpath={{.spec.replicas}}") == "3"
    kubectl("patch", kind, "tab", "--type=merge", "-p", '{"spec": {"image": "cron:2"}}')
    kubectl(f"label {kind} tab a=b")
    assert kubectl(f"get {kind} -l a=b -o name") == f"crontab.{group}/tab\n"
    changed = manifest.replace('value: "1"', 'value: "2"')
    assert kubectl.run("diff -f -", stdin=changed).code == 1
    assert kubectl.apply(changed) == f"crontab.{group}/tab configured\n"
    spec = kubectl.json("get", kind, "tab")["spec"]
    assert (spec["image"], spec["replicas"], spec["env"]) == ("cron:2", 3, [{"name": "A", "value": "2"}])
    with kubectl.started("get", kind, "tab", "--watch", "-o", "name") as watching:
        assert watching.line() == f"crontab.{group}/tab"
        kubectl(f"delete {kind} tab")
        assert watching.line() == f"crontab.{group}/tab"
    assert kubectl("get", kind, "-o", "name") == ""


def test_bad_objects_are_explained(kubectl: Kubectl, group: str) -> None:
    """A user must read which field is wrong and why."""
    manifest = _OBJECT.format(group=group)
    bad = kubectl.fails("create -f -", stdin=manifest.replace('"*/5 * * * *"', "often"))
    assert 'spec.cronSpec: Invalid value: "often": spec.cronSpec in body should match' in bad
    ruled = kubectl.fails("create -f -", stdin=manifest.replace("spec: {", "spec: {replicas: 20, "))
    assert "replicas must not exceed most" in ruled
    unknown = kubectl.fails("create -f -", stdin=manifest.replace("spec: {", "spec: {colour: red, "))
    assert 'unknown field "spec.colour"' in unknown
    refused = kubectl.fails("patch", f"crontabs.{group}", "tab", "--type=strategic", "-p", "{}")
    assert "NotFound" in refused or "application/strategic-merge-patch+json is not supported" in refused


def test_server_side_apply_and_a_second_version(kubectl: Kubectl, group: str) -> None:
    """Managers must share a list by its keys, and the other version must show the same object with a warning."""
    manifest = _OBJECT.format(group=group)
    kubectl("apply --server-side --field-manager=one -f -", stdin=manifest)
    other = manifest.replace("name: A", "name: B")
    kubectl("apply --server-side --field-manager=two -f -", stdin=other)
    env = kubectl.json(f"get crontabs.{group} tab")["spec"]["env"]
    assert [each["name"] for each in env] == ["A", "B"]
    conflict = kubectl.fails("apply --server-side --field-manager=two -f -", stdin=manifest.replace('"1"', '"9"'))
    assert 'conflict with "one": .spec.env[name="A"].value' in conflict
    old = kubectl.run(f"get crontabs.v1beta1.{group} tab -o json")
    assert f'"apiVersion": "{group}/v1beta1"' in old.out
    assert f"Warning: {group}/v1beta1 CronTab is deprecated" in old.err


def test_a_definition_takes_its_objects_along(kubectl: Kubectl, group: str) -> None:
    """Deleting a definition must delete its objects, and its names must be unknown afterwards."""
    kubectl.apply(_OBJECT.format(group=group))
    kubectl(f"delete crd crontabs.{group} --timeout=20s")
    assert "the server doesn't have a resource type" in kubectl.fails(f"get crontabs.{group}")


def test_a_namespace_takes_custom_objects_along(kubectl: Kubectl, group: str) -> None:
    """Deleting a namespace must delete custom objects in it, with their dependents."""
    kubectl(f"create namespace n-{group.replace('.', '-')}")
    kubectl("apply -f - -n", f"n-{group.replace('.', '-')}", stdin=_OBJECT.format(group=group))
    kubectl(f"delete namespace n-{group.replace('.', '-')} --timeout=20s")
    assert kubectl(f"get crontabs.{group} -A -o name") == ""


def test_dependents_of_custom_objects_are_collected(kubectl: Kubectl, group: str) -> None:
    """What a custom object owns must go with it, as an operator's children do."""
    kubectl.apply(_OBJECT.format(group=group))
    uid = kubectl(f"get crontabs.{group} tab -o jsonpath={{.metadata.uid}}")
    owner = f"{{apiVersion: {group}/v1, kind: CronTab, name: tab, uid: {uid}, blockOwnerDeletion: true}}"
    kubectl.apply(f"---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: child, ownerReferences: [{owner}]}}}}")
    kubectl(f"delete crontabs.{group} tab --cascade=foreground --timeout=20s")
    assert "NotFound" in kubectl.fails("get configmap child")
