"""From manifests to static pods."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from flotilla.api.documents import ManifestError
from flotilla.api.objects import KubeObject, annotations_of, uid_of
from nodeagent.static_pods.manifests import is_static, mirror_of, static_pods

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
WEB = b"""\
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers: [{name: main, image: "nginx:1"}]
"""


def pods_of(text: bytes, *, node: str = "n1") -> list[KubeObject]:
    return static_pods("web.yaml", text, node=node, now=NOW)


def test_a_manifest_becomes_the_nodes_pod() -> None:
    """Name, node, defaults, tolerations and annotations are what the kubelet makes of them."""
    (pod,) = pods_of(WEB)
    assert (pod["metadata"]["name"], pod["metadata"]["namespace"]) == ("web-n1", "default")
    assert pod["spec"]["nodeName"] == "n1"
    assert pod["spec"]["restartPolicy"] == "Always"
    assert {"operator": "Exists", "effect": "NoExecute"} in pod["spec"]["tolerations"]
    assert annotations_of(pod) == {
        "kubernetes.io/config.source": "file",
        "kubernetes.io/config.hash": uid_of(pod),
        "kubernetes.io/config.seen": "2026-11-24T12:00:00Z",
        "flotilla.dev/manifest-file": "web.yaml",
    }
    assert is_static(pod)


def test_a_changed_manifest_is_another_pod() -> None:
    """The uid follows content, node and file, and nothing else."""
    (pod,) = pods_of(WEB)
    later = static_pods("web.yaml", WEB, node="n1", now=NOW.replace(hour=13))[0]
    assert uid_of(later) == uid_of(pod)
    others = [*pods_of(WEB.replace(b"nginx:1", b"nginx:2")), *pods_of(WEB, node="n2")]
    assert len({uid_of(pod), *(uid_of(other) for other in others)}) == 3


def test_a_file_may_hold_several_documents() -> None:
    """YAML streams, JSON and Lists are read."""
    two = WEB + b"---\n" + WEB.replace(b"name: web,", b"name: db,")
    assert [pod["metadata"]["name"] for pod in pods_of(two)] == ["web-n1", "db-n1"]
    as_json = (
        b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"j"},"spec":{"containers":[{"name":"c","image":"i"}]}}'
    )
    assert [pod["metadata"]["name"] for pod in pods_of(as_json)] == ["j-n1"]
    assert not pods_of(b"# nothing yet\n")


def test_a_mirror_names_the_static_pod() -> None:
    """What goes to the API carries the static pod's uid as an annotation, not as its own."""
    (pod,) = pods_of(WEB)
    mirror = mirror_of(pod)
    assert annotations_of(mirror)["kubernetes.io/config.mirror"] == uid_of(pod)
    assert "uid" not in mirror["metadata"]
    assert not is_static(mirror)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ((b"image:", b"imagee:"), 'unknown field "spec.containers[0].imagee"'),
        ((b"kind: Pod", b"kind: Service"), "only v1/Pod can"),
        ((b'"nginx:1"', b"a}, {name: main, image: x"), "spec.containers[1].name"),
        ((b"name: main", b"name: Main_"), "spec.containers[0].name"),
        ((b"spec:", b"spec:\n  restartPolicy: 3"), "spec.restartPolicy"),
        ((b"spec:", b"spec:\n  volumes: [{name: v, secret: {secretName: s}}]"), "spec.volumes[0].secret"),
        ((b"spec:", b"spec:\n  serviceAccountName: root"), "spec.serviceAccountName"),
        ((b"name: main,", b"name: main, envFrom: [{configMapRef: {name: c}}],"), "spec.containers[0].envFrom"),
        ((b"name: web,", b"name: 'we b',"), "metadata.name"),
        ((b"spec:", b"spec: ["), "not valid YAML"),
    ],
)
def test_a_bad_manifest_is_refused_by_file_and_field(change: tuple[bytes, bytes], fault: str) -> None:
    """The message names the file, the document, and the field where there is one."""
    with pytest.raises(ManifestError) as refused:
        pods_of(WEB.replace(*change))
    assert str(refused.value).startswith("web.yaml: document 1")
    assert fault in str(refused.value)


def test_references_to_the_api_are_refused_wherever_they_are() -> None:
    """A pod that runs without a server can't depend on its objects."""
    env: dict[str, Any] = {"b": b"env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}], "}
    with pytest.raises(ManifestError, match=r"spec.containers\[0\].env\[0\].valueFrom.secretKeyRef"):
        pods_of(WEB.replace(b"name: main, ", b"name: main, " + env["b"]))
