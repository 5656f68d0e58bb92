"""Defaults of pods and pod templates.

A template gets the defaults of a pod spec; a pod gets these too and what Kubernetes' admission would add: requests
from limits, the service account, and the tolerations that let it outlive a short loss of its node. What depends on the
cluster's classes (priority, overhead) is added where the classes are known, in the control plane.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.kinds.volume_defaults import default_claim_spec, default_source
from flotilla.api.objects import KubeObject
from flotilla.api.quantities import format_bytes, format_cpu_millis
from flotilla.api.workloads import pod_requests

TOLERATION_SECONDS = 5
_NODE_LOSS_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_DEFAULT_MODE = 0o644
_TOKEN_EXPIRATION_S = 3600
_CERTIFICATE_EXPIRATION_S = 86400
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_PROBE_NUMBERS = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_SOURCES_WITH_MODE = ("secret", "configMap", "downwardAPI", "projected")


def fill(target: KubeObject, key: str, value: Any) -> None:
    """Set a field that is absent or empty (not one that is False or 0)."""
    if target.get(key) in (None, ""):
        target[key] = value


def pull_policy(image: str) -> str:
    """``Always`` for the tag latest or none, ``IfNotPresent`` for any other tag and for digests."""
    if "@" in image:
        return "IfNotPresent"
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def _default_http_get(handler: Mapping[str, Any]) -> None:
    request = handler.get("httpGet")
    if request is not None:
        fill(request, "path", "/")
        fill(request, "scheme", "HTTP")


def _default_probe(probe: KubeObject) -> None:
    for field, number in _PROBE_NUMBERS.items():
        if not probe.get(field):
            probe[field] = number
    _default_http_get(probe)
    if probe.get("grpc") is not None:
        probe["grpc"].setdefault("service", "")


def _default_field_references(entries: list[KubeObject]) -> None:
    for entry in entries:
        reference = (entry.get("valueFrom") or entry).get("fieldRef")
        if reference is not None:
            fill(reference, "apiVersion", "v1")


def _default_container(container: KubeObject) -> None:
    if container.get("image"):
        fill(container, "imagePullPolicy", pull_policy(container["image"]))
    if container.get("resources") is None:
        container["resources"] = {}
    fill(container, "terminationMessagePath", "/dev/termination-log")
    fill(container, "terminationMessagePolicy", "File")
    for port in container.get("ports") or ():
        fill(port, "protocol", "TCP")
    for name in _PROBES:
        if container.get(name) is not None:
            _default_probe(container[name])
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict):
            _default_http_get(hook)
    _default_field_references(container.get("env") or [])


def _default_projection(source: KubeObject) -> None:
    token = source.get("serviceAccountToken")
    if token is not None:
        token.setdefault("expirationSeconds", _TOKEN_EXPIRATION_S)
    if source.get("podCertificate") is not None:
        source["podCertificate"].setdefault("maxExpirationSeconds", _CERTIFICATE_EXPIRATION_S)
    _default_field_references((source.get("downwardAPI") or {}).get("items") or [])


def _default_volume(volume: KubeObject) -> None:
    if len(volume) == 1 and "name" in volume:
        volume["emptyDir"] = {}
    for kind in _SOURCES_WITH_MODE:
        if volume.get(kind) is not None:
            volume[kind].setdefault("defaultMode", _DEFAULT_MODE)
    default_source(volume)
    image, template = volume.get("image"), (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
    if image is not None:
        fill(image, "pullPolicy", pull_policy(image.get("reference") or ""))
    if template is not None:
        default_claim_spec(template.setdefault("spec", {}))
    for source in (volume.get("projected") or {}).get("sources") or ():
        _default_projection(source)
    _default_field_references((volume.get("downwardAPI") or {}).get("items") or [])


def _containers(spec: Mapping[str, Any]) -> list[KubeObject]:
    kinds = ("containers", "initContainers", "ephemeralContainers")
    return [container for kind in kinds for container in spec.get(kind) or ()]


def default_pod_spec(spec: KubeObject) -> None:
    """Fill what every pod spec has, in a pod as in a template."""
    fill(spec, "restartPolicy", "Always")
    fill(spec, "terminationGracePeriodSeconds", 30)
    fill(spec, "dnsPolicy", "ClusterFirst")
    fill(spec, "schedulerName", "default-scheduler")
    spec.setdefault("securityContext", {})
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for container in _containers(spec):
        _default_container(container)
    for volume in spec.get("volumes") or ():
        _default_volume(volume)


def _request_limits(holder: Mapping[str, Any]) -> None:
    """What has a limit and no request asks for as much as it may use."""
    resources = holder.get("resources")
    if resources and resources.get("limits"):
        resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}


def _request_for_all(spec: Mapping[str, Any]) -> None:
    """What the whole pod has a limit for and no request: what its containers ask for together, or else the limit."""
    resources = spec.get("resources")
    if not resources or not resources.get("limits"):
        return
    asked = {
        name for container in _containers(spec) for name in (container.get("resources") or {}).get("requests") or ()
    }
    missing = {
        name: limit for name, limit in resources["limits"].items() if name not in (resources.get("requests") or {})
    }
    together = pod_requests({**spec, "resources": {}, "overhead": {}})
    texts = {"cpu": format_cpu_millis(together["cpu"]), "memory": format_bytes(together["memory"])}
    found = {name: texts[name] if name in asked and name in texts else limit for name, limit in missing.items()}
    resources["requests"] = {**(resources.get("requests") or {}), **found}


def _use_ports_of_the_host(spec: Mapping[str, Any]) -> None:
    if not spec.get("hostNetwork"):
        return
    for container in _containers(spec):
        for port in container.get("ports") or ():
            if not port.get("hostPort"):
                port["hostPort"] = port.get("containerPort")


def _tolerates(toleration: Mapping[str, Any], taint: str) -> bool:
    return toleration.get("key", "") in (taint, "") and toleration.get("effect", "") in ("NoExecute", "")


def _tolerate_node_loss(spec: KubeObject) -> None:
    tolerations = list(spec.get("tolerations") or ())
    for taint in _NODE_LOSS_TAINTS:
        if not any(_tolerates(toleration, taint) for toleration in tolerations):
            tolerations.append(
                {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS}
            )
    spec["tolerations"] = tolerations


def default_pod(pod: KubeObject) -> None:
    """Fill a pod; a second call changes nothing."""
    spec = pod.setdefault("spec", {})
    default_pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    if not spec.get("serviceAccountName"):
        spec["serviceAccountName"] = spec["serviceAccount"] = "default"
    for container in _containers(spec):
        _request_limits(container)
    _request_for_all(spec)
    _use_ports_of_the_host(spec)
    _tolerate_node_loss(spec)
