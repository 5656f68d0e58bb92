"""Deployments and ReplicaSets, and the autoscaler that sets their size."""

from __future__ import annotations

from typing import Any

from flotilla.api.objects import KubeObject
from flotilla.cli.client import Client
from flotilla.cli.describing.generic import conditions, metadata
from flotilla.cli.describing.pods import describe_template
from flotilla.cli.describing.sheet import Sheet

REVISION = "deployment.kubernetes.io/revision"


def describe_deployment(sheet: Sheet, client: Client, deployment: KubeObject) -> None:
    spec, status = deployment["spec"], deployment.get("status") or {}
    metadata(sheet, deployment)
    sheet.add("Selector", selector_text(spec["selector"]))
    sheet.add("Replicas", _replicas(spec, status))
    strategy = spec.get("strategy") or {}
    sheet.add("Strategy", strategy.get("type"))
    rolling = strategy.get("rollingUpdate") or {}
    if rolling:
        sheet.add("", f"{rolling.get('maxUnavailable')} max unavailable, {rolling.get('maxSurge')} max surge")
    describe_template(sheet, spec["template"])
    conditions(sheet, deployment)
    _replica_sets(sheet, client, deployment)


def _replicas(spec: KubeObject, status: KubeObject) -> str:
    return (
        f"{spec.get('replicas', 1)} desired | {status.get('updatedReplicas', 0)} updated | "
        f"{status.get('replicas', 0)} total | {status.get('availableReplicas', 0)} available | "
        f"{status.get('unavailableReplicas', 0)} unavailable"
    )


def _replica_sets(sheet: Sheet, client: Client, deployment: KubeObject) -> None:
    namespace, uid = deployment["metadata"]["namespace"], deployment["metadata"]["uid"]
    found = client.get(f"/apis/apps/v1/namespaces/{namespace}/replicasets").get("items") or []
    owned = [each for each in found if any(ref["uid"] == uid for ref in each["metadata"].get("ownerReferences") or ())]
    owned.sort(key=_revision, reverse=True)
    rows = [
        [
            _revision(each),
            each["metadata"]["name"],
            each["spec"].get("replicas", 0),
            each["status"].get("readyReplicas", 0),
        ]
        for each in owned
    ]
    with sheet.section("ReplicaSets"):
        sheet.table(["Revision", "Name", "Desired", "Ready"], rows)


def _revision(replica_set: KubeObject) -> int:
    return int((replica_set["metadata"].get("annotations") or {}).get(REVISION) or 0)


def describe_replica_set(sheet: Sheet, _client: Client, replica_set: KubeObject) -> None:
    spec, status = replica_set["spec"], replica_set.get("status") or {}
    metadata(sheet, replica_set)
    sheet.add("Selector", selector_text(spec["selector"]))
    sheet.add("Replicas", f"{status.get('replicas', 0)} current / {spec.get('replicas', 1)} desired")
    sheet.add("Ready", status.get("readyReplicas", 0))
    describe_template(sheet, spec["template"])
    conditions(sheet, replica_set)


def selector_text(selector: KubeObject) -> str:
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    expressions = selector.get("matchExpressions") or ()
    terms += [f"{each['key']} {each['operator']} {each.get('values') or ''}".strip() for each in expressions]
    return ",".join(terms)


def describe_autoscaler(sheet: Sheet, _client: Client, autoscaler: KubeObject) -> None:
    spec, status = autoscaler["spec"], autoscaler.get("status") or {}
    metadata(sheet, autoscaler)
    target = spec["scaleTargetRef"]
    sheet.add("Reference", f"{target['kind']}/{target['name']}")
    current = {_metric_name(each): _metric_values(each, "current") for each in status.get("currentMetrics") or ()}
    metrics = []
    for each in spec.get("metrics") or ():
        name = _metric_name(each)
        metrics.append(f"{name}: {current.get(name) or '<unknown>'} / {_metric_values(each, 'target')}")
    sheet.add("Metrics (current / target)", metrics)
    sheet.add("Min Replicas", spec.get("minReplicas", 1))
    sheet.add("Max Replicas", spec["maxReplicas"])
    sheet.add("Replicas", f"{status.get('currentReplicas', 0)} current / {status.get('desiredReplicas', 0)} desired")
    sheet.maybe("Last Scale Time", status.get("lastScaleTime"))
    if spec.get("behavior"):
        with sheet.section("Behavior"):
            for direction in ("scaleUp", "scaleDown"):
                if spec["behavior"].get(direction):
                    _behavior(sheet, direction, spec["behavior"][direction])
    conditions(sheet, autoscaler)


def _metric_name(metric: KubeObject) -> str:
    kind = metric["type"]
    details = metric.get(kind[:1].lower() + kind[1:]) or {}
    name = details.get("name") or (details.get("metric") or {}).get("name") or kind
    if kind == "Resource":
        return f"resource {name} on pods"
    if kind == "ContainerResource":
        return f"resource {name} of container {details.get('container')}"
    return f'"{name}" ({kind.lower()})'


def _metric_values(metric: KubeObject, field: str) -> str:
    kind = metric["type"]
    values: dict[str, Any] = (metric.get(kind[:1].lower() + kind[1:]) or {}).get(field) or {}
    raw = values.get("averageValue") or values.get("value")
    if values.get("averageUtilization") is not None:
        return f"{values['averageUtilization']}%" + (f" ({raw})" if raw else "")
    return str(raw or "")


def _behavior(sheet: Sheet, direction: str, rules: KubeObject) -> None:
    with sheet.section("Scale Up" if direction == "scaleUp" else "Scale Down"):
        window = rules.get("stabilizationWindowSeconds")
        sheet.maybe("Stabilization Window", f"{window} seconds" if window is not None else "")
        sheet.maybe("Select Policy", rules.get("selectPolicy"))
        policies = rules.get("policies") or ()
        sheet.maybe("Policies", [f"{each['type']} {each['value']} in {each['periodSeconds']} s" for each in policies])
