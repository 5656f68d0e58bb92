"""Validation of containers, init containers and sidecars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.container_restarts import validate_resize_policy, validate_restarts
from flotilla.api.kinds.faults import (
    bad_port,
    duplicate,
    each_invalid,
    forbidden,
    invalid,
    not_among,
    required,
)
from flotilla.api.kinds.pod_environment import validate_environment
from flotilla.api.kinds.pod_handlers import validate_lifecycle, validate_probe
from flotilla.api.kinds.pod_mounts import validate_devices, validate_mounts
from flotilla.api.kinds.pod_security import validate_container_security
from flotilla.api.kinds.resource_requirements import validate_requirements
from flotilla.api.names import dns_label_faults, port_name_faults
from flotilla.api.objects import KubeObject

PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MESSAGE_POLICIES = ("FallbackToLogsOnError", "File")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def _validate_ports(container: Mapping[str, Any], spec: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    names: set[str] = set()
    for index, port in enumerate(container.get("ports") or ()):
        where, name, number = f"{path}.ports[{index}]", port.get("name"), port.get("containerPort")
        if name:
            errors += each_invalid(f"{where}.name", name, port_name_faults(name))
            if name in names:
                errors.append(duplicate(f"{where}.name", name))
            names.add(name)
        errors += bad_port(f"{where}.containerPort", number) if number else [required(f"{where}.containerPort")]
        host_port = port.get("hostPort")
        errors += bad_port(f"{where}.hostPort", host_port) if host_port else []
        if host_port and spec.get("hostNetwork") and host_port != number:
            errors.append(
                invalid(f"{where}.hostPort", host_port, "must match `containerPort` when `hostNetwork` is true")
            )
        errors += not_among(f"{where}.protocol", port.get("protocol"), PROTOCOLS)
    return errors


def _validate_image(container: Mapping[str, Any], path: str) -> list[FieldError]:
    image = container.get("image")
    if not image:
        return [required(f"{path}.image")]
    if image != image.strip():
        return [invalid(f"{path}.image", image, "must not have leading or trailing whitespace")]
    return []


def validate_container(
    container: Mapping[str, Any], spec: Mapping[str, Any], volumes: frozenset[str], *, path: str
) -> list[FieldError]:
    """Faults of one container apart from its name and from what differs between the kinds of containers."""
    errors = _validate_image(container, path)
    errors += not_among(f"{path}.imagePullPolicy", container.get("imagePullPolicy"), _PULL_POLICIES)
    errors += not_among(
        f"{path}.terminationMessagePolicy", container.get("terminationMessagePolicy"), _MESSAGE_POLICIES
    )
    errors += _validate_ports(container, spec, path)
    errors += validate_environment(container, spec, path)
    errors += validate_mounts(container, volumes, path) + validate_devices(container, spec, path)
    if container.get("resources"):
        errors += validate_requirements(container["resources"], f"{path}.resources", claims=claim_names(spec))
    errors += validate_resize_policy(container, spec, f"{path}.resizePolicy")
    for kind in _PROBES:
        if container.get(kind) is not None:
            errors += validate_probe(container[kind], kind, f"{path}.{kind}")
    if container.get("lifecycle") is not None:
        errors += validate_lifecycle(container["lifecycle"], spec, f"{path}.lifecycle")
    if container.get("securityContext"):
        errors += validate_container_security(container["securityContext"], spec, f"{path}.securityContext")
    return errors


def _validate_names(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for kind in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(kind) or ()):
            where, name = f"{path}.{kind}[{index}].name", container.get("name")
            if not name:
                errors.append(required(where))
                continue
            errors += each_invalid(where, name, dns_label_faults(name))
            if name in seen:
                errors.append(duplicate(where, name))
            seen.add(name)
    return errors


def _validate_host_ports(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    """No two containers of a pod may ask for the same port of the node."""
    errors: list[FieldError] = []
    taken: set[str] = set()
    for index, container in enumerate(spec.get("containers") or ()):
        for number, port in enumerate(container.get("ports") or ()):
            if port.get("hostPort"):
                claim = f"{port.get('protocol', 'TCP')}/{port.get('hostIP', '')}/{port['hostPort']}"
                if claim in taken:
                    errors.append(duplicate(f"{path}.containers[{index}].ports[{number}].hostPort", claim))
                taken.add(claim)
    return errors


def _validate_init_container(container: KubeObject, path: str) -> list[FieldError]:
    errors = validate_restarts(container, path, init=True)
    if container.get("resizePolicy") and container.get("restartPolicy") != "Always":
        why = "must not be set to 'RestartContainer' for non-sidecar initContainers"
        errors += [
            invalid(f"{path}.resizePolicy[{index}].restartPolicy", "RestartContainer", why)
            for index, rule in enumerate(container["resizePolicy"])
            if rule.get("restartPolicy") == "RestartContainer"
        ]
    if container.get("restartPolicy") == "Always":
        return errors
    why = "may not be set for init containers without restartPolicy=Always"
    given = [field for field in ("lifecycle", *_PROBES) if container.get(field) is not None]
    return errors + [forbidden(f"{path}.{field}", why) for field in given]


def claim_names(spec: Mapping[str, Any]) -> frozenset[str]:
    """The resource claims of a pod that its containers may name."""
    return frozenset(claim["name"] for claim in spec.get("resourceClaims") or () if claim.get("name"))


def validate_containers(spec: Mapping[str, Any], volumes: frozenset[str], *, path: str) -> list[FieldError]:
    """Faults of all containers of a pod spec at ``path``; ``volumes`` are the names that mounts may use."""
    if not spec.get("containers"):
        return [required(f"{path}.containers")]
    errors = _validate_names(spec, path)
    for index, container in enumerate(spec["containers"]):
        where = f"{path}.containers[{index}]"
        errors += validate_container(container, spec, volumes, path=where)
        errors += validate_restarts(container, where, init=False)
    for index, container in enumerate(spec.get("initContainers") or ()):
        where = f"{path}.initContainers[{index}]"
        errors += validate_container(container, spec, volumes, path=where)
        errors += _validate_init_container(container, where)
    return errors + _validate_host_ports(spec, path)
