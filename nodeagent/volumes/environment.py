"""A container's environment variables, resolved as the kubelet does; pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping

from flotilla.api.objects import KubeObject, name_of, namespace_of
from nodeagent.expansion import expand
from nodeagent.volumes.fields import FieldError, NodeResources, field_value, resource_value
from nodeagent.volumes.payload import AssignedObjects, VolumeError, secret_values

_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_ALWAYS_LINKED = ("default", "kubernetes")


class MissingReferenceError(Exception):
    """Something that a container's environment refers to does not exist: a CreateContainerConfigError."""


def container_environment(
    pod: KubeObject,
    container: KubeObject,
    objects: AssignedObjects,
    *,
    services: Iterable[KubeObject],
    node: NodeResources,
) -> list[tuple[str, str]]:
    """Names and values, later ones having replaced earlier ones of the same name.

    ``services`` are all that the node knows; ``pod`` has its addresses in its status. Raises
    :class:`MissingReferenceError`.
    """
    linked = service_variables(pod, services)
    result: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        result |= _all_of(pod, source, objects)
    for variable in container.get("env") or ():
        value = _value(pod, container, variable, objects, node=node, known=linked | result)
        if value is not None:
            result[variable["name"]] = value
    return list((linked | result).items())


def service_variables(pod: KubeObject, services: Iterable[KubeObject]) -> dict[str, str]:
    """The ``WEB_SERVICE_HOST`` family for the services of the pod's namespace, and always for the API's own."""
    variables: dict[str, str] = {}
    all_linked = pod["spec"].get("enableServiceLinks") is not False
    for service in services:
        key = (namespace_of(service), name_of(service))
        if key == _ALWAYS_LINKED or (all_linked and key[0] == namespace_of(pod)):
            variables |= _variables_of(service)
    return variables


def _variables_of(service: KubeObject) -> dict[str, str]:
    address, ports = service["spec"].get("clusterIP") or "", service["spec"].get("ports") or ()
    if not ports or not _is_address(address):
        return {}
    prefix = name_of(service).upper().replace("-", "_")
    variables = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(ports[0]["port"])}
    for position, port in enumerate(ports):
        number, protocol = port["port"], port.get("protocol") or "TCP"
        url = f"{protocol.lower()}://{address}:{number}"
        if port.get("name"):
            variables[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(number)
        if position == 0:
            variables[f"{prefix}_PORT"] = url
        link = f"{prefix}_PORT_{number}_{protocol}"
        variables |= {
            link: url,
            f"{link}_PROTO": protocol.lower(),
            f"{link}_PORT": str(number),
            f"{link}_ADDR": address,
        }
    return variables


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _all_of(pod: KubeObject, source: KubeObject, objects: AssignedObjects) -> dict[str, str]:
    """Every key of one ``envFrom`` source that makes a variable name; others are left out, as by the kubelet."""
    kind = "configMapRef" if "configMapRef" in source else "secretRef"
    reference = source.get(kind) or {}
    values = _values(pod, reference, objects, secret=kind == "secretRef")
    prefix = source.get("prefix") or ""
    named = {prefix + key: value for key, value in (values or {}).items()}
    return {name: _text(value, name) for name, value in named.items() if _NAME.fullmatch(name)}


def _value(
    pod: KubeObject,
    container: KubeObject,
    variable: KubeObject,
    objects: AssignedObjects,
    *,
    node: NodeResources,
    known: Mapping[str, str],
) -> str | None:
    source = variable.get("valueFrom")
    if not source:
        return expand(variable.get("value") or "", known)
    try:
        if "fieldRef" in source:
            return field_value(pod, source["fieldRef"]["fieldPath"])
        if "resourceFieldRef" in source:
            return resource_value(pod, source["resourceFieldRef"], container=container["name"], node=node)
    except FieldError as error:
        raise MissingReferenceError(str(error)) from error
    secret = "secretKeyRef" in source
    if not secret and "configMapKeyRef" not in source:
        raise MissingReferenceError(f"env {variable['name']}: unsupported valueFrom: {', '.join(source)}")
    reference = source["secretKeyRef" if secret else "configMapKeyRef"]
    values = _values(pod, reference, objects, secret=secret)
    if values is not None and reference["key"] in values:
        return _text(values[reference["key"]], variable["name"])
    if reference.get("optional"):
        return None
    kind = "Secret" if secret else "ConfigMap"
    where = f"{namespace_of(pod)}/{reference.get('name') or ''}"
    raise MissingReferenceError(f"couldn't find key {reference['key']} in {kind} {where}")


def _values(
    pod: KubeObject, reference: KubeObject, objects: AssignedObjects, *, secret: bool
) -> dict[str, bytes] | None:
    """The referenced object's values; None where it is missing and may be."""
    name = reference.get("name") or ""
    found = (objects.secret if secret else objects.config_map)(namespace_of(pod), name)
    if found is None:
        if reference.get("optional"):
            return None
        raise MissingReferenceError(f'{"secret" if secret else "configmap"} "{name}" not found')
    try:
        # binaryData is for volumes only.
        text = {key: value.encode() for key, value in (found.get("data") or {}).items()}
        return secret_values(found) if secret else text
    except VolumeError as error:
        raise MissingReferenceError(f"{name}: {error}") from error


def _text(value: bytes, name: str) -> str:
    if b"\0" in value:
        raise MissingReferenceError(f"the value of {name} holds a zero byte")
    return value.decode("utf-8", "surrogateescape")
