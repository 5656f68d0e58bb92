"""The rarer parts of pods: affinity, spreading, gates, systems, claims, volumes, restarts."""

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
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_NODE = "spec.affinity.nodeAffinity"
_POD = "spec.affinity.podAffinity"
_SPREAD = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
_SPREADS = "spec.topologySpreadConstraints"
_SELECTOR = {"matchLabels": {"app": "web"}}


def _volume(**source: Any) -> list[KubeObject]:
    return [{"name": "v", **source}]


def _projected(*sources: KubeObject) -> list[KubeObject]:
    return _volume(projected={"sources": list(sources)})


PLACEMENT: list[tuple[str, Any, str, str]] = [
    (
        f"{_NODE}.{_REQUIRED}",
        {"nodeSelectorTerms": []},
        f"{_NODE}.{_REQUIRED}.nodeSelectorTerms",
        "Required value: must have at least one node selector term",
    ),
    (
        f"{_NODE}.{_REQUIRED}",
        {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["x y"]}]}]},
        f"{_NODE}.{_REQUIRED}.nodeSelectorTerms[0].matchExpressions[0].values[0]",
        "a valid label must be an empty string or consist of",
    ),
    (
        f"{_NODE}.{_REQUIRED}",
        {"nodeSelectorTerms": [{"matchFields": [{"key": "spec.x", "operator": "In", "values": ["a"]}]}]},
        f"{_NODE}.{_REQUIRED}.nodeSelectorTerms[0].matchFields[0].key",
        "not a valid field selector key",
    ),
    (
        f"{_NODE}.{_PREFERRED}",
        [{"weight": 101, "preference": {}}],
        f"{_NODE}.{_PREFERRED}[0].weight",
        "Invalid value: 101: must be in the range 1-100",
    ),
    (
        f"{_POD}.{_REQUIRED}",
        [{"topologyKey": ""}],
        f"{_POD}.{_REQUIRED}[0].topologyKey",
        "Required value: can not be empty",
    ),
    (
        f"{_POD}.{_REQUIRED}",
        [{"topologyKey": "zone", "namespaces": ["A"]}],
        f"{_POD}.{_REQUIRED}[0].namespace",
        "a lowercase RFC 1123 label",
    ),
    (
        f"{_POD}.{_REQUIRED}",
        [{"topologyKey": "zone", "matchLabelKeys": ["a"]}],
        f"{_POD}.{_REQUIRED}[0].matchLabelKeys",
        "Forbidden: must not be specified when labelSelector is not set",
    ),
    (
        f"{_POD}.{_REQUIRED}",
        [{"topologyKey": "zone", "labelSelector": {}, "matchLabelKeys": ["a"], "mismatchLabelKeys": ["a"]}],
        f"{_POD}.{_REQUIRED}[0].matchLabelKeys[0]",
        'Invalid value: "a": exists in both matchLabelKeys and mismatchLabelKeys',
    ),
    (_SPREADS, [{**_SPREAD, "maxSkew": 0}], f"{_SPREADS}[0].maxSkew", "Invalid value: 0: must be greater than zero"),
    (
        _SPREADS,
        [{**_SPREAD, "whenUnsatisfiable": "Panic"}],
        f"{_SPREADS}[0].whenUnsatisfiable",
        'supported values: "DoNotSchedule", "ScheduleAnyway"',
    ),
    (
        _SPREADS,
        [{**_SPREAD, "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 2}],
        f"{_SPREADS}[0].minDomains",
        "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
    ),
    (
        _SPREADS,
        [_SPREAD, _SPREAD],
        f"{_SPREADS}[0].{{topologyKey, whenUnsatisfiable}}",
        'Duplicate value: "{zone, DoNotSchedule}"',
    ),
    (
        _SPREADS,
        [{**_SPREAD, "nodeTaintsPolicy": "Maybe"}],
        f"{_SPREADS}[0].nodeTaintsPolicy",
        'supported values: "Honor", "Ignore"',
    ),
    (
        _SPREADS,
        [{**_SPREAD, "labelSelector": _SELECTOR, "matchLabelKeys": ["app"]}],
        f"{_SPREADS}[0].matchLabelKeys[0]",
        "exists in both matchLabelKeys and labelSelector",
    ),
    ("spec.schedulingGates", [{"name": "a"}, {"name": "a"}], "spec.schedulingGates[1]", 'Duplicate value: "a"'),
    ("spec.readinessGates", [{"conditionType": ""}], "spec.readinessGates[0].conditionType", "name part must"),
]

SYSTEM: list[tuple[str, Any, str, str]] = [
    ("spec.os", {"name": "plan9"}, "spec.os.name", 'supported values: "linux", "windows"'),
    (
        "spec",
        {"os": {"name": "windows"}, "hostPID": True, "containers": [{"name": "a", "image": "a"}]},
        "spec.hostPID",
        "Forbidden: cannot be set for a windows pod",
    ),
    (
        "spec",
        {
            "os": {"name": "linux"},
            "containers": [{"name": "a", "image": "a", "securityContext": {"windowsOptions": {}}}],
        },
        f"{_F}.securityContext.windowsOptions",
        "Forbidden: windows options cannot be set for a linux pod",
    ),
    (
        "spec",
        {"hostUsers": False, "hostIPC": True, "containers": [{"name": "a", "image": "a"}]},
        "spec.HostIPC",
        "Forbidden: when `hostUsers` is false",
    ),
    (
        "spec",
        {"hostnameOverride": "a", "setHostnameAsFQDN": True, "containers": [{"name": "a", "image": "a"}]},
        "spec.hostnameOverride",
        "Forbidden: may not be specified when setHostnameAsFQDN is true",
    ),
    ("spec.preemptionPolicy", "Maybe", "spec.preemptionPolicy", '"PreemptLowerPriority", "Never"'),
    ("spec.resourceClaims", [{"name": "a"}], "spec.resourceClaims[0]", "must specify one of: `resourceClaimName`"),
    (f"{_C}.resources.claims", [{"name": "a"}], f"{_F}.resources.claims[0].name", 'Not found: "a"'),
    (
        f"{_C}.resources",
        {"limits": {"hugepages-2Mi": "4Mi"}},
        f"{_F}.resources",
        "Forbidden: HugePages require cpu or memory",
    ),
    (
        f"{_C}.resources",
        {"limits": {"hugepages-2Mi": "3Mi", "cpu": "1"}},
        f"{_F}.resources.limits[hugepages-2Mi]",
        "field value must be an integer multiple of page size: 2Mi",
    ),
    (
        "spec.resources",
        {"limits": {"example.com/gpu": "1"}, "requests": {"example.com/gpu": "1"}},
        "spec.resources.limits[example.com/gpu]",
        'supported values: "cpu", "hugepages-", "memory"',
    ),
    ("spec.dnsConfig", {"nameservers": ["1.2.3"]}, "spec.dnsConfig.nameservers[0]", "must be a valid IP address"),
    ("spec.dnsConfig", {"searches": ["a b"]}, "spec.dnsConfig.searches[0]", "a lowercase RFC 1123 subdomain"),
    ("spec.dnsConfig", {"options": [{"value": "1"}]}, "spec.dnsConfig.options[0]", "must not be empty"),
    (
        "spec.securityContext",
        {"sysctls": [{"name": "A!", "value": "1"}]},
        "spec.securityContext.sysctls[0].name",
        "must have at most 253 characters and match regex",
    ),
    (
        "spec.securityContext",
        {"supplementalGroupsPolicy": "Some"},
        "spec.securityContext.supplementalGroupsPolicy",
        'supported values: "Merge", "Strict"',
    ),
    (
        f"{_C}.securityContext",
        {"appArmorProfile": {"type": "Localhost"}},
        f"{_F}.securityContext.appArmorProfile.localhostProfile",
        "Required value: must be set when AppArmor type is Localhost",
    ),
    (
        f"{_C}.securityContext",
        {"procMount": "Unmasked"},
        f"{_F}.securityContext.procMount",
        "`hostUsers` must be false to use `Unmasked`",
    ),
]

CONTAINERS: list[tuple[str, Any, str, str]] = [
    (
        f"{_C}.resizePolicy",
        [{"resourceName": "disk", "restartPolicy": "NotRequired"}],
        f"{_F}.resizePolicy",
        'Unsupported value: "disk": supported values: "cpu", "memory"',
    ),
    (f"{_C}.lifecycle", {"preStop": {"sleep": {"seconds": 31}}}, f"{_F}.lifecycle.preStop.sleep", "(30)"),
    (f"{_C}.lifecycle", {"stopSignal": "SIGNOT"}, f"{_F}.lifecycle.stopSignal", 'Unsupported value: "SIGNOT"'),
    (
        f"{_C}.volumeDevices",
        [{"name": "d", "devicePath": "/dev/x"}],
        f"{_F}.volumeDevices[0].name",
        'Not found: "d"',
    ),
    (
        f"{_C}.env",
        [{"name": "A", "valueFrom": {"fileKeyRef": {"key": "k", "path": "p", "volumeName": "v"}}}],
        f"{_F}.env[0].valueFrom.fileKeyRef.volumeName",
        'Not found: "v"',
    ),
    (
        f"{_C}.env",
        [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "a b"}}}],
        f"{_F}.env[0].valueFrom.secretKeyRef.key",
        "a valid config key must consist of",
    ),
]

VOLUMES: list[tuple[str, Any, str, str]] = [
    ("spec.volumes", _volume(persistentVolumeClaim={}), "spec.volumes[0].persistentVolumeClaim.claimName", "Required"),
    ("spec.volumes", _volume(csi={}), "spec.volumes[0].csi.driver", "Required value"),
    ("spec.volumes", _volume(ephemeral={}), "spec.volumes[0].ephemeral.volumeClaimTemplate", "Required value"),
    (
        "spec.volumes",
        _volume(ephemeral={"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"]}}}),
        "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources[storage]",
        "Required value",
    ),
    ("spec.volumes", _volume(image={"pullPolicy": "Maybe"}), "spec.volumes[0].image.pullPolicy", '"Always"'),
    ("spec.volumes", _volume(nfs={"path": "/a"}), "spec.volumes[0].nfs.server", "Required value"),
    (
        "spec.volumes",
        _projected({"clusterTrustBundle": {"path": "a"}}),
        "spec.volumes[0].projected.sources[0].clusterTrustBundle",
        "either name or signerName must be specified",
    ),
    (
        "spec.volumes",
        _projected({"podCertificate": {"signerName": "a/b", "keyType": "DES", "keyPath": "k"}}),
        "spec.volumes[0].projected.sources[0].podCertificate.keyType",
        'Unsupported value: "DES"',
    ),
    (
        "spec.volumes",
        _projected({"serviceAccountToken": {"path": "t"}}, {"serviceAccountToken": {"path": "t"}}),
        "spec.volumes[0].projected",
        'Invalid value: "t": conflicting duplicate paths',
    ),
]


@pytest.mark.parametrize(("path", "value", "field", "message"), [*PLACEMENT, *SYSTEM, *CONTAINERS, *VOLUMES])
def test_faults(
    sample: Sample, edited: Edited, faults: Faults, path: str, value: Any, field: str, message: str
) -> None:
    """A wrong value must be named first, at its path."""
    error = faults(PODS, edited(sample(PODS), path, value))[0]
    assert error.field == field
    assert message in error.message


VALID: list[tuple[str, Any]] = [
    (_SPREADS, [{**_SPREAD, "minDomains": 2, "labelSelector": _SELECTOR, "matchLabelKeys": ["pod-template-hash"]}]),
    (f"{_POD}.{_PREFERRED}", [{"weight": 1, "podAffinityTerm": {"topologyKey": "zone", "namespaceSelector": {}}}]),
    (f"{_NODE}.{_PREFERRED}", [{"weight": 1, "preference": {"matchFields": []}}]),
    ("spec.schedulingGates", [{"name": "example.com/wait"}]),
    ("spec.resourceClaims", [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]),
    ("spec.resources", {"limits": {"cpu": "2", "memory": "1Gi"}}),
    ("spec.dnsConfig", {"searches": [".", "_tcp.example.com."], "options": [{"name": "ndots", "value": "2"}]}),
    (f"{_C}.restartPolicy", "OnFailure"),
    (f"{_C}.resizePolicy", [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]),
    ("spec.volumes", _volume(image={"reference": "registry/a:1", "pullPolicy": "Never"})),
    (
        "spec.volumes",
        _volume(
            ephemeral={
                "volumeClaimTemplate": {
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
                }
            }
        ),
    ),
    ("spec.os", {"name": "linux"}),
    ("spec.hostUsers", False),
]


@pytest.mark.parametrize(("path", "value"), VALID, ids=[path for path, _ in VALID])
def test_valid_pods(sample: Sample, edited: Edited, faults: Faults, path: str, value: Any) -> None:
    """What Kubernetes accepts must be accepted."""
    assert faults(PODS, edited(sample(PODS), path, value)) == []


def test_several_faults_are_all_told(sample: Sample, edited: Edited, faults: Faults) -> None:
    """A resource that is neither standard nor qualified must be refused with both of Kubernetes' reasons."""
    errors = faults(PODS, edited(sample(PODS), f"{_C}.resources", {"limits": {"gpus": "1"}}))
    assert [error.message.rpartition(": ")[2] for error in errors[:2]] == [
        "must be a standard resource type or fully qualified",
        "must be a standard resource for containers",
    ]


def test_warnings_for_files(sample: Sample, edited: Edited) -> None:
    """Variables from files must be named as not acted upon."""
    pod = edited(sample(PODS), f"{_C}.env", [{"name": "A", "valueFrom": {"fileKeyRef": {"key": "k"}}}])
    paths = [warning.partition(": ")[0] for warning in PODS.strategy.warnings(pod)]
    assert paths == [f"{_F}.env[0].valueFrom.fileKeyRef"]


def test_warnings_for_volumes(sample: Sample, edited: Edited) -> None:
    """Bounds on directories and read-only mounts below a mount are acted upon: nothing is said of them."""
    volumes = [{"name": "disk", "emptyDir": {"sizeLimit": "1Mi"}}, {"name": "m", "emptyDir": {"medium": "Memory"}}]
    mount = {"name": "disk", "mountPath": "/d", "readOnly": True, "recursiveReadOnly": "Enabled"}
    pod = edited(edited(sample(PODS), "spec.volumes", volumes), f"{_C}.volumeMounts", [mount])
    paths = [warning.partition(": ")[0] for warning in PODS.strategy.warnings(pod)]
    assert paths == []
