"""What kubectl prints of manifests that the server refuses."""

from __future__ import annotations

import pytest

from tests.integration.kubectl.lab import Kubectl

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: busybox
        ports: [{containerPort: 80}]
"""


@pytest.mark.parametrize(
    ("find", "replace", "expected"),
    [
        ("replicas: 2", "replicas: 2\n  foo: 1", 'strict decoding error: unknown field "spec.foo"'),
        ("replicas: 2", "replicas: three", "spec.replicas"),
        ("replicas: 2", "replicas: -1", 'The Deployment "web" is invalid: spec.replicas: Invalid value: -1'),
        ("name: web, labels", "name: Web, labels", "a lowercase RFC 1123 subdomain"),
        ("image: busybox\n        ", "", "spec.template.spec.containers[0].image: Required value"),
        ("matchLabels: {app: web}", "matchLabels: {app: other}", "`selector` does not match template `labels`"),
        ("name: web\n", "name: web\n      - name: web\n", 'containers[1].name: Duplicate value: "web"'),
    ],
)
def test_bad_manifests(kubectl: Kubectl, find: str, replace: str, expected: str) -> None:
    """kubectl prints what is wrong with which object and field, and nothing of that object is stored."""
    assert expected in kubectl.fails("apply -f -", stdin=MANIFEST.replace(find, replace, 1))
    assert kubectl("get deployments -o name") == ""


@pytest.mark.parametrize("verb", ["apply", "create", "delete"])
def test_a_kind_that_is_not_served(kubectl: Kubectl, verb: str) -> None:
    """kubectl, which looks for the kind in OpenAPI 3 and then in OpenAPI 2, says which one is unknown."""
    unknown = MANIFEST.replace("apps/v1", "apps/v7").replace("name: web", "name: bad", 1)
    assert kubectl.fails(f"{verb} -f -", stdin=unknown) == (
        'error: resource mapping not found for name: "bad" namespace: "" from "STDIN": '
        'no matches for kind "Deployment" in version "apps/v7"\nensure CRDs are installed first\n'
    )


def test_one_bad_manifest_among_good_ones(kubectl: Kubectl) -> None:
    """The good ones are applied, the bad one is named by its file, and kubectl fails."""
    config_map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n"
    path = kubectl.write("manifest.yaml", config_map % "first" + "---" + MANIFEST.replace("2", "-2", 1))
    kubectl.write("manifest.yaml", path.read_text("utf-8") + "---\n" + config_map % "last")
    done = kubectl.run(f"apply -f {path}")
    assert (done.code, done.out) == (1, "configmap/first created\nconfigmap/last created\n")
    assert done.err.startswith('The Deployment "web" is invalid: spec.replicas: Invalid value: -2')
