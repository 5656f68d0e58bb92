"""From the text of a manifest to pods as a node runs them; pure.

The rules are the kubelet's (``pkg/kubelet/config/common.go``): the node's name is appended to the pod's, a hash of the
manifest is its uid, so that a changed manifest is another pod, and no taint evicts it. It may not refer to objects of
the API, because it has to run without one. Unlike the kubelet's, a file may hold several documents, and its fields are
checked as the API checks them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from flotilla.api.documents import ManifestError, parse_documents
from flotilla.api.mirrors import MIRROR_ANNOTATION, is_mirror
from flotilla.api.objects import KubeObject, annotations_of, encode, format_time, name_of, namespace_of, uid_of

CONFIG_SOURCE = "kubernetes.io/config.source"
CONFIG_HASH = "kubernetes.io/config.hash"
CONFIG_SEEN = "kubernetes.io/config.seen"
MANIFEST_FILE = "flotilla.dev/manifest-file"
_DEFINITION = "io.k8s.api.core.v1.Pod"
_EVICTED_BY_NOTHING = {"operator": "Exists", "effect": "NoExecute"}
_OBJECT_FIELDS = ("serviceAccountName", "runtimeClassName", "resourceClaims", "imagePullSecrets")
_OBJECT_VOLUMES = ("configMap", "secret", "persistentVolumeClaim", "ephemeral")
_OBJECT_PROJECTIONS = ("configMap", "secret", "serviceAccountToken", "clusterTrustBundle", "podCertificate")
_OBJECT_VARIABLES = ("configMapKeyRef", "secretKeyRef")
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


def is_static(pod: Mapping[str, Any]) -> bool:
    """Whether a pod of this node comes from a manifest of its own."""
    return annotations_of(pod).get(CONFIG_SOURCE) == "file" and not is_mirror(pod)


def mirror_of(pod: KubeObject) -> KubeObject:
    """The pod to create in the API for a static one. Its priority is left to the class that it names."""
    own = pod["metadata"]
    metadata = {name: own[name] for name in ("name", "namespace", "labels", "annotations") if name in own}
    metadata["annotations"] = {**annotations_of(pod), MIRROR_ANNOTATION: uid_of(pod)}
    spec = {name: value for name, value in pod["spec"].items() if name not in ("priority", "preemptionPolicy")}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def static_pods(file: str, text: bytes, *, node: str, now: datetime) -> list[KubeObject]:
    """The pods of a manifest, ready to run on ``node``. Raises ManifestError for the first fault."""
    pods: list[KubeObject] = []
    for document in parse_documents(file, text):
        try:
            pods.append(_static_pod(document.obj, file, node=node, now=now))
        except ManifestError as error:
            raise ManifestError(f"{document.label}: {error}") from error
    return pods


def _static_pod(obj: KubeObject, file: str, *, node: str, now: datetime) -> KubeObject:
    _check_shape(obj)
    source = encode(obj)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": dict(obj["metadata"]), "spec": obj["spec"]}
    metadata = pod["metadata"]
    metadata["name"] = f"{name_of(obj)}-{node}"
    metadata.setdefault("namespace", "default")
    _refuse_references(pod["spec"])
    _apply_rules(pod)
    pod["spec"]["nodeName"] = node
    tolerations = pod["spec"].setdefault("tolerations", [])
    if _EVICTED_BY_NOTHING not in tolerations:
        tolerations.append(dict(_EVICTED_BY_NOTHING))
    uid = hashlib.sha256(b"\0".join((node.encode(), file.encode(), source))).hexdigest()[:32]
    seen = format_time(now)
    metadata["uid"], metadata["creationTimestamp"], metadata["generation"] = uid, seen, 1
    metadata["annotations"] = {
        **(metadata.get("annotations") or {}),
        CONFIG_SOURCE: "file",
        CONFIG_HASH: uid,
        CONFIG_SEEN: seen,
        MANIFEST_FILE: file,
    }
    return pod


def _check_shape(obj: KubeObject) -> None:
    """Edit out nulls, and refuse what the API would refuse to decode."""
    from flotilla.api.schema_check import check, drop_nulls

    if (obj.get("apiVersion"), obj.get("kind")) != ("v1", "Pod"):
        raise ManifestError(f"kind: {obj.get('apiVersion')}/{obj.get('kind')} can't be a static pod, only v1/Pod can")
    drop_nulls(obj)
    report = check(_DEFINITION, obj)
    if report.unknown:
        raise ManifestError(f'unknown field "{report.unknown[0]}"')
    if report.errors:
        raise ManifestError(str(report.errors[0]))
    if not obj.get("spec"):
        raise ManifestError("spec: required")


def _apply_rules(pod: KubeObject) -> None:
    """Default and validate as the API does."""
    from flotilla.api.kinds.pods import STRATEGY

    STRATEGY.default(pod)
    for name in ("serviceAccountName", "serviceAccount"):
        pod["spec"].pop(name, None)
    faults = STRATEGY.validate(pod, None)
    if faults:
        raise ManifestError(str(faults[0]))


def _refuse_references(spec: Mapping[str, Any]) -> None:
    found = next(_references(spec), "")
    if found:
        raise ManifestError(f"spec.{found}: a static pod may not refer to objects of the API")


def _references(spec: Mapping[str, Any]) -> Iterator[str]:
    """Paths below the spec of everything that only a server could resolve."""
    yield from (name for name in _OBJECT_FIELDS if spec.get(name))
    for index, volume in enumerate(spec.get("volumes") or ()):
        yield from (f"volumes[{index}].{kind}" for kind in _OBJECT_VOLUMES if kind in volume)
        for number, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
            where = f"volumes[{index}].projected.sources[{number}]"
            yield from (f"{where}.{kind}" for kind in _OBJECT_PROJECTIONS if kind in source)
    for kind in _CONTAINERS:
        for index, container in enumerate(spec.get(kind) or ()):
            where = f"{kind}[{index}]"
            if container.get("envFrom"):
                yield f"{where}.envFrom"
            for number, variable in enumerate(container.get("env") or ()):
                sources = variable.get("valueFrom") or {}
                yield from (f"{where}.env[{number}].valueFrom.{name}" for name in _OBJECT_VARIABLES if name in sources)


def same_name(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two pods have the same place, so that one has to go before the other comes."""
    return (namespace_of(one), name_of(one)) == (namespace_of(other), name_of(other))
