"""Every fault of a pod is found at its path, with Kubernetes' reason and words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flotilla.api.errors import FieldError
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import PODS

Sample = Callable[[Resource], KubeObject]
Edited = Callable[[KubeObject, str, Any], KubeObject]
Faults = Callable[..., list[FieldError]]
_C = "spec.containers.0"
_F = "spec.containers[0]"
_HTTP = {"httpGet": {"port": 80}}

CASES: list[tuple[str, Any, str, str]] = [
    ("spec.containers", [], "spec.containers", "Required value"),
    (f"{_C}.name", "", f"{_F}.name", "Required value"),
    (f"{_C}.name", "Web", f"{_F}.name", 'Invalid value: "Web": a lowercase RFC 1123 label must consist of'),
    (f"{_C}.image", None, f"{_F}.image", "Required value"),
    (f"{_C}.image", " web", f"{_F}.image", "must not have leading or trailing whitespace"),
    (
        f"{_C}.imagePullPolicy",
        "Sometimes",
        f"{_F}.imagePullPolicy",
        'Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"',
    ),
    (f"{_C}.ports", [{"containerPort": 0}], f"{_F}.ports[0].containerPort", "Required value"),
    (
        f"{_C}.ports",
        [{"containerPort": 65536}],
        f"{_F}.ports[0].containerPort",
        "Invalid value: 65536: must be between 1 and 65535, inclusive",
    ),
    (
        f"{_C}.ports",
        [{"name": "http", "containerPort": 80}, {"name": "http", "containerPort": 81}],
        f"{_F}.ports[1].name",
        'Duplicate value: "http"',
    ),
    (
        f"{_C}.ports",
        [{"name": "a-rather-long-name", "containerPort": 80}],
        f"{_F}.ports[0].name",
        "must be no more than 15 characters",
    ),
    (
        f"{_C}.ports",
        [{"containerPort": 80, "protocol": "HTTP"}],
        f"{_F}.ports[0].protocol",
        'supported values: "SCTP", "TCP", "UDP"',
    ),
    (
        f"{_C}.ports",
        [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81, "hostPort": 8080}],
        f"{_F}.ports[1].hostPort",
        'Duplicate value: "TCP//8080"',
    ),
    (f"{_C}.env", [{"name": "A=B", "value": "x"}], f"{_F}.env[0].name", "printable ASCII characters other than '='"),
    (
        f"{_C}.env",
        [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        f"{_F}.env[0].valueFrom",
        "may not be specified when `value` is not empty",
    ),
    (f"{_C}.env", [{"name": "A", "valueFrom": {}}], f"{_F}.env[0].valueFrom", "must specify one of: `fieldRef`"),
    (
        f"{_C}.env",
        [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}}],
        f"{_F}.env[0].valueFrom.fieldRef.fieldPath",
        'Unsupported value: "status.phase"',
    ),
    (
        f"{_C}.env",
        [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": ""}}}],
        f"{_F}.env[0].valueFrom.secretKeyRef.key",
        "Required value",
    ),
    (f"{_C}.envFrom", [{}], f"{_F}.envFrom[0]", "must specify one of: `configMapRef` or `secretRef`"),
    (f"{_C}.volumeMounts", [{"name": "x", "mountPath": "/x"}], f"{_F}.volumeMounts[0].name", 'Not found: "x"'),
    (
        f"{_C}.resources",
        {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}},
        f"{_F}.resources.requests",
        'Invalid value: "2": must be less than or equal to cpu limit of 1',
    ),
    (
        f"{_C}.resources",
        {"requests": {"memory": "-1"}},
        f"{_F}.resources.requests[memory]",
        "must be greater than or equal to 0",
    ),
    (f"{_C}.livenessProbe", {}, f"{_F}.livenessProbe", "must specify a handler type"),
    (
        f"{_C}.livenessProbe",
        {**_HTTP, "tcpSocket": {"port": 80}},
        f"{_F}.livenessProbe.tcpSocket",
        "may not specify more than 1 handler type",
    ),
    (
        f"{_C}.livenessProbe",
        {**_HTTP, "periodSeconds": -1},
        f"{_F}.livenessProbe.periodSeconds",
        "must be greater than or equal to 0",
    ),
    (f"{_C}.livenessProbe", {**_HTTP, "successThreshold": 2}, f"{_F}.livenessProbe.successThreshold", "must be 1"),
    (f"{_C}.readinessProbe", {"exec": {}}, f"{_F}.readinessProbe.exec.command", "Required value"),
    (f"{_C}.lifecycle", {"preStop": {}}, f"{_F}.lifecycle.preStop", "must specify a handler type"),
    (
        f"{_C}.securityContext",
        {"privileged": True, "allowPrivilegeEscalation": False},
        f"{_F}.securityContext",
        "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
    ),
    (
        f"{_C}.securityContext",
        {"runAsUser": -1},
        f"{_F}.securityContext.runAsUser",
        "must be between 0 and 2147483647, inclusive",
    ),
    (f"{_C}.restartPolicy", "Maybe", f"{_F}.restartPolicy", '"Always", "Never", "OnFailure"'),
    (
        f"{_C}.restartPolicyRules",
        [{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}],
        f"{_F}.restartPolicy",
        "Required value: must specify restartPolicy when restart rules are used",
    ),
    (
        "spec.initContainers",
        [{"name": "web", "image": "i:1"}],
        "spec.initContainers[0].name",
        'Duplicate value: "web"',
    ),
    (
        "spec.initContainers",
        [{"name": "init", "image": "i:1", "readinessProbe": _HTTP}],
        "spec.initContainers[0].readinessProbe",
        "may not be set for init containers without restartPolicy=Always",
    ),
    ("spec.restartPolicy", "Maybe", "spec.restartPolicy", 'Unsupported value: "Maybe"'),
    ("spec.terminationGracePeriodSeconds", -1, "spec.terminationGracePeriodSeconds", "greater than or equal to 0"),
    ("spec.activeDeadlineSeconds", 0, "spec.activeDeadlineSeconds", "must be between 1 and 2147483647, inclusive"),
    ("spec.dnsPolicy", "None", "spec.dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None"),
    ("spec.nodeSelector", {"a b": "c"}, "spec.nodeSelector", "name part must consist of"),
    ("spec.hostname", "a.b", "spec.hostname", "a lowercase RFC 1123 label must consist of"),
    ("spec.tolerations", [{"operator": "Equal"}], "spec.tolerations[0].operator", "operator must be Exists when `key`"),
    (
        "spec.tolerations",
        [{"key": "a", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 1}],
        "spec.tolerations[0].effect",
        "effect must be 'NoExecute' when `tolerationSeconds` is set",
    ),
    (
        "spec.volumes",
        [{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}],
        "spec.volumes[1].name",
        "Duplicate value",
    ),
    (
        "spec.volumes",
        [{"name": "a", "emptyDir": {}, "hostPath": {"path": "/a"}}],
        "spec.volumes[0].hostPath",
        "may not specify more than 1 volume type",
    ),
    (
        "spec.volumes",
        [{"name": "a", "hostPath": {"path": "/a/../b"}}],
        "spec.volumes[0].hostPath.path",
        "must not contain",
    ),
    ("spec.volumes", [{"name": "a", "configMap": {"name": ""}}], "spec.volumes[0].configMap.name", "Required value"),
    (
        "spec.volumes",
        [{"name": "a", "secret": {"secretName": "s", "items": [{"key": "k", "path": "/abs"}]}}],
        "spec.volumes[0].secret.items[0].path",
        "must be a relative path",
    ),
    (
        "spec.volumes",
        [{"name": "a", "secret": {"secretName": "s", "defaultMode": 0o1000}}],
        "spec.volumes[0].secret.defaultMode",
        "must be a number between 0 and 0777 (octal), both inclusive",
    ),
    ("spec.ephemeralContainers", [{"name": "d"}], "spec.ephemeralContainers", "cannot be set on create"),
]


@pytest.mark.parametrize(("path", "value", "field", "message"), CASES, ids=[f"{c[0]}={c[1]}"[:60] for c in CASES])
def test_faults(
    sample: Sample, edited: Edited, faults: Faults, path: str, value: Any, field: str, message: str
) -> None:
    """One wrong value must give one fault, at its path."""
    errors = faults(PODS, edited(sample(PODS), path, value))
    assert [error.field for error in errors] == [field]
    assert message in errors[0].message


VALID: list[tuple[str, Any]] = [
    ("spec.initContainers", [{"name": "s", "image": "i:1", "restartPolicy": "Always", "readinessProbe": _HTTP}]),
    ("spec.tolerations", [{"operator": "Exists"}]),
    ("spec.volumes", [{"name": "a", "persistentVolumeClaim": {"claimName": "c"}}]),
    (f"{_C}.resources", {"limits": {"cpu": "0.5", "example.com/gpu": "1", "hugepages-2Mi": "4Mi"}}),
    (f"{_C}.env", [{"name": "my.name", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}}]),
    (f"{_C}.lifecycle", {"preStop": {"sleep": {"seconds": 0}}}),
    (f"{_C}.ports", [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP"}]),
]


@pytest.mark.parametrize(("path", "value"), VALID, ids=[path for path, _ in VALID])
def test_valid_pods(sample: Sample, edited: Edited, faults: Faults, path: str, value: Any) -> None:
    """What Kubernetes accepts must be accepted."""
    assert faults(PODS, edited(sample(PODS), path, value)) == []


UPDATES: list[tuple[str, Any, str, str]] = [
    (f"{_C}.command", ["x"], "spec", "this one changes `spec.containers[0].command`"),
    ("spec.nodeName", "other", "spec", "this one changes `spec.nodeName`"),
    ("spec.containers.0.image", "", f"{_F}.image", "Required value"),
    (
        "spec.tolerations",
        [{"key": "a", "operator": "Exists"}],
        "spec.tolerations",
        "existing toleration can not be modified",
    ),
    ("spec.activeDeadlineSeconds", 11, "spec.activeDeadlineSeconds", "must be less than or equal to previous value"),
    (
        "spec.containers",
        [{"name": "web", "image": "a:1"}, {"name": "b", "image": "b:1"}],
        "spec.containers",
        "may not add or remove containers",
    ),
]


@pytest.mark.parametrize(("path", "value", "field", "message"), UPDATES, ids=[case[0] for case in UPDATES])
def test_what_an_update_may_not_change(
    sample: Sample,
    edited: Edited,
    faults: Faults,
    written: Callable[..., KubeObject],
    path: str,
    value: Any,
    field: str,
    message: str,
) -> None:
    """A running pod's fields are fixed but for a few, and the refusal names the field."""
    old = written(PODS, edited(sample(PODS), "spec.activeDeadlineSeconds", 10))
    if path == "spec.tolerations":
        old = edited(old, "spec.tolerations", [{"key": "b", "operator": "Exists"}])
    new = edited(old, path, value)
    errors = [error for error in faults(PODS, new, old) if message in error.message]
    assert [error.field for error in errors][:1] == [field]


def test_what_an_update_may_change(
    sample: Sample, edited: Edited, faults: Faults, written: Callable[..., KubeObject]
) -> None:
    """Images, a first or shorter deadline, more tolerations, labels."""
    old = written(PODS, sample(PODS))
    new = edited(edited(old, "spec.containers.0.image", "web:2"), "spec.activeDeadlineSeconds", 5)
    new["spec"]["tolerations"].append({"key": "a", "operator": "Exists"})
    new["metadata"]["labels"] = {"a": "b"}
    assert faults(PODS, new, old) == []


def test_warnings_name_what_is_not_acted_upon(sample: Sample, edited: Edited) -> None:
    """Accepted fields without effect must each have a warning with the path."""
    pod = edited(sample(PODS), "spec.affinity", {"nodeAffinity": {}, "podAffinity": {"a": {}}})
    pod = edited(pod, "spec.volumes", [{"name": "a", "nfs": {"server": "s", "path": "/"}}])
    pod = edited(pod, f"{_C}.env", [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}])
    paths = [warning.partition(": ")[0] for warning in PODS.strategy.warnings(pod)]
    assert paths == ["spec.affinity.podAffinity", "spec.volumes[0].nfs", f"{_F}.env[1]"]
    assert PODS.strategy.warnings(sample(PODS)) == []
