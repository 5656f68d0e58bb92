"""Pods and pod templates: containers with their states and limits, volumes, conditions."""

from __future__ import annotations

from typing import Any

from flotilla.api.objects import KubeObject
from flotilla.cli.client import Client
from flotilla.cli.describing.generic import conditions, controller, metadata
from flotilla.cli.describing.sheet import Sheet


def describe_pod(sheet: Sheet, _client: Client, pod: KubeObject) -> None:
    spec, status = pod["spec"], pod.get("status") or {}
    metadata(sheet, {**pod, "metadata": {**pod["metadata"], "ownerReferences": []}})
    host = f"{spec['nodeName']}/{status.get('hostIP', '')}".rstrip("/") if spec.get("nodeName") else ""
    sheet.add("Node", host)
    sheet.add("Start Time", status.get("startTime"))
    deleting = pod["metadata"].get("deletionTimestamp")
    sheet.add("Status", f"Terminating (since {deleting})" if deleting else status.get("phase"))
    sheet.maybe("Reason", status.get("reason"))
    sheet.maybe("Message", status.get("message"))
    sheet.add("IP", status.get("podIP"))
    sheet.maybe("Controlled By", controller(pod))
    for title, field, states in (
        ("Init Containers", "initContainers", "initContainerStatuses"),
        ("Containers", "containers", "containerStatuses"),
    ):
        by_name = {each["name"]: each for each in status.get(states) or ()}
        if spec.get(field):
            with sheet.section(title):
                for container in spec[field]:
                    describe_container(sheet, container, by_name.get(container["name"]))
    conditions(sheet, pod)
    _volumes(sheet, spec)
    sheet.add("QoS Class", status.get("qosClass"))
    sheet.add("Node-Selectors", spec.get("nodeSelector") or {})
    sheet.add("Tolerations", [_toleration(each) for each in spec.get("tolerations") or ()])


def describe_template(sheet: Sheet, template: KubeObject) -> None:
    with sheet.section("Pod Template"):
        sheet.add("Labels", (template.get("metadata") or {}).get("labels") or {})
        for title, field in (("Init Containers", "initContainers"), ("Containers", "containers")):
            if template["spec"].get(field):
                with sheet.section(title):
                    for container in template["spec"][field]:
                        describe_container(sheet, container, None)
        _volumes(sheet, template["spec"])


def describe_container(sheet: Sheet, container: KubeObject, status: KubeObject | None) -> None:
    with sheet.section(container["name"]):
        if status is not None:
            sheet.maybe("Container ID", status.get("containerID"))
        sheet.add("Image", container.get("image"))
        if status is not None:
            sheet.maybe("Image ID", status.get("imageID"))
        ports = [f"{each['containerPort']}/{each.get('protocol', 'TCP')}" for each in container.get("ports") or ()]
        sheet.maybe("Ports", ", ".join(ports))
        sheet.maybe("Command", container.get("command"))
        sheet.maybe("Args", container.get("args"))
        if status is not None:
            _state(sheet, "State", status.get("state") or {})
            if status.get("lastState"):
                _state(sheet, "Last State", status["lastState"])
            sheet.add("Ready", status.get("ready"))
            sheet.add("Restart Count", status.get("restartCount"))
        resources = container.get("resources") or {}
        sheet.maybe("Limits", resources.get("limits"))
        sheet.maybe("Requests", resources.get("requests"))
        for probe in ("liveness", "readiness", "startup"):
            if container.get(f"{probe}Probe"):
                sheet.add(probe.capitalize(), describe_probe(container[f"{probe}Probe"]))
        sheet.add("Environment", [_variable(each) for each in container.get("env") or ()])
        sheet.maybe("Environment From", [_variables_from(each) for each in container.get("envFrom") or ()])
        sheet.add("Mounts", [_mount(each) for each in container.get("volumeMounts") or ()])


def _state(sheet: Sheet, key: str, state: KubeObject) -> None:
    if not state:
        sheet.add(key, "Waiting")
        return
    name, details = next(iter(state.items()))
    sheet.add(key, name.capitalize())
    for field, label in (
        ("reason", "  Reason"),
        ("message", "  Message"),
        ("exitCode", "  Exit Code"),
        ("signal", "  Signal"),
        ("startedAt", "  Started"),
        ("finishedAt", "  Finished"),
    ):
        sheet.maybe(label, details.get(field))


def describe_probe(probe: KubeObject) -> str:
    """A probe in one line, as kubectl writes it."""
    timing = (
        f"delay={probe.get('initialDelaySeconds', 0)}s timeout={probe.get('timeoutSeconds', 1)}s "
        f"period={probe.get('periodSeconds', 10)}s #success={probe.get('successThreshold', 1)} "
        f"#failure={probe.get('failureThreshold', 3)}"
    )
    return f"{_probe_action(probe)} {timing}"


def _probe_action(probe: KubeObject) -> str:
    if "httpGet" in probe:
        get = probe["httpGet"]
        scheme, host = get.get("scheme", "HTTP").lower(), get.get("host", "")
        return f"http-get {scheme}://{host}:{get['port']}{get.get('path', '/')}"
    if "tcpSocket" in probe:
        return f"tcp-socket {probe['tcpSocket'].get('host', '')}:{probe['tcpSocket']['port']}"
    if "exec" in probe:
        return f"exec {probe['exec'].get('command')}"
    if "grpc" in probe:
        return f"grpc <pod>:{probe['grpc']['port']} {probe['grpc'].get('service') or ''}".rstrip()
    return "unknown"


def _variable(variable: KubeObject) -> str:
    source = variable.get("valueFrom")
    if not source:
        return f"{variable['name']}: {variable.get('value', '')}"
    kind, reference = next(iter(source.items()))
    if kind in {"secretKeyRef", "configMapKeyRef"}:
        holder = "secret" if kind == "secretKeyRef" else "config map"
        return f"{variable['name']}: <set to the key '{reference['key']}' of {holder} '{reference['name']}'>"
    return f"{variable['name']}: ({reference.get('fieldPath') or reference.get('resource')})"


def _variables_from(source: KubeObject) -> str:
    kind = "Secret" if "secretRef" in source else "ConfigMap"
    reference = source.get("secretRef") or source.get("configMapRef") or {}
    return f"{reference.get('name')} {kind}"


def _mount(mount: KubeObject) -> str:
    mode = "ro" if mount.get("readOnly") else "rw"
    return f"{mount['mountPath']} from {mount['name']} ({mode})"


def _volumes(sheet: Sheet, spec: KubeObject) -> None:
    volumes = spec.get("volumes") or []
    if not volumes:
        return
    with sheet.section("Volumes"):
        for volume in volumes:
            kind, source = next(((key, value) for key, value in volume.items() if key != "name"), ("emptyDir", {}))
            sheet.add(volume["name"], f"{kind} {_volume_source(source)}".rstrip())


def _volume_source(source: Any) -> str:
    if not isinstance(source, dict):
        return ""
    return " ".join(f"{key}={value}" for key, value in source.items() if isinstance(value, str | int))


def _toleration(toleration: KubeObject) -> str:
    text: str = toleration.get("key", "")
    if toleration.get("value"):
        text += f"={toleration['value']}"
    text += f":{toleration['effect']}" if toleration.get("effect") else ""
    text += " op=Exists" if toleration.get("operator") == "Exists" else ""
    seconds = toleration.get("tolerationSeconds")
    return text.strip() + (f" for {seconds}s" if seconds is not None else "")
