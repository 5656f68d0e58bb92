"""Any kind: metadata, then the rest of the object as YAML. ConfigMaps show their data, Secrets only its sizes."""

from __future__ import annotations

import base64
from typing import Any

from flotilla.api.objects import KubeObject
from flotilla.cli.client import Client
from flotilla.cli.describing.sheet import Sheet
from flotilla.cli.tables import age, to_yaml

_HEADER_FIELDS = frozenset({"apiVersion", "kind", "metadata"})
_QUIET_ANNOTATIONS = frozenset({"kubectl.kubernetes.io/last-applied-configuration"})


def metadata(sheet: Sheet, obj: KubeObject) -> None:
    """Name, namespace, labels, annotations."""
    meta = obj["metadata"]
    sheet.add("Name", meta["name"])
    sheet.maybe("Namespace", meta.get("namespace"))
    sheet.add("Labels", meta.get("labels") or {})
    annotations = {
        key: value for key, value in (meta.get("annotations") or {}).items() if key not in _QUIET_ANNOTATIONS
    }
    sheet.add("Annotations", annotations)
    sheet.maybe("Controlled By", controller(obj))


def controller(obj: KubeObject) -> str:
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return f"{reference['kind']}/{reference['name']}"
    return ""


def conditions(sheet: Sheet, obj: KubeObject) -> None:
    found = (obj.get("status") or {}).get("conditions") or []
    rows = [[each["type"], each["status"], each.get("reason"), each.get("message")] for each in found]
    with sheet.section("Conditions"):
        sheet.table(["Type", "Status", "Reason", "Message"], rows)


def events(sheet: Sheet, client: Client, obj: KubeObject) -> None:
    """The events about ``obj``, oldest first."""
    meta = obj["metadata"]
    selector = f"involvedObject.kind={obj['kind']},involvedObject.name={meta['name']}"
    if obj["kind"] != "Node" and meta.get("uid"):
        selector += f",involvedObject.uid={meta['uid']}"
    namespace = meta.get("namespace") or "default"
    found = client.get(f"/api/v1/namespaces/{namespace}/events", {"fieldSelector": selector}).get("items") or []
    rows = [
        [
            each.get("type"),
            each.get("reason"),
            _event_age(each),
            _event_source(each),
            (each.get("message") or "").strip(),
        ]
        for each in sorted(found, key=_event_order)
    ]
    with sheet.section("Events"):
        sheet.table(["Type", "Reason", "Age", "From", "Message"], rows)


def _event_time(event: KubeObject) -> str:
    series = event.get("series") or {}
    time = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return str(time or event["metadata"]["creationTimestamp"])


def _event_order(event: KubeObject) -> tuple[str, int]:
    return _event_time(event)[:19], int(event["metadata"].get("resourceVersion") or 0)


def _event_age(event: KubeObject) -> str:
    count = (event.get("series") or {}).get("count") or event.get("count") or 1
    last = age(_event_time(event))
    return f"{last} (x{count} over {age(event.get('firstTimestamp') or event.get('eventTime'))})" if count > 1 else last


def _event_source(event: KubeObject) -> str:
    return str(event.get("reportingComponent") or (event.get("source") or {}).get("component") or "")


def describe(sheet: Sheet, _client: Client, obj: KubeObject) -> None:
    metadata(sheet, obj)
    if obj["kind"] == "Secret":
        sheet.add("Type", obj.get("type"))
        _data_sizes(sheet, obj)
        return
    rest = {key: value for key, value in obj.items() if key not in _HEADER_FIELDS}
    status_conditions = (
        (rest.get("status") or {}).pop("conditions", None) if isinstance(rest.get("status"), dict) else None
    )
    rest = {key: value for key, value in rest.items() if value not in (None, {}, [])}
    if rest:
        for key, value in rest.items():
            with sheet.section(key[:1].upper() + key[1:]):
                sheet.text(value if isinstance(value, str) else to_yaml(value))
    if status_conditions:
        conditions(sheet, {"status": {"conditions": status_conditions}})


def _data_sizes(sheet: Sheet, secret: KubeObject) -> None:
    data: dict[str, Any] = secret.get("data") or {}
    with sheet.section("Data"):
        for key, value in sorted(data.items()):
            sheet.add(key, f"{len(base64.b64decode(value))} bytes")
