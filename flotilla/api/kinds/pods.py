"""Pod: its strategy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import forbidden
from flotilla.api.kinds.metadata import keep_status, metadata_fields, validate_metadata
from flotilla.api.kinds.pod_defaults import default_pod
from flotilla.api.kinds.pod_spec import validate_pod_spec
from flotilla.api.kinds.pod_subresources import validate_pod_subresource
from flotilla.api.kinds.pod_updates import validate_pod_update
from flotilla.api.kinds.pod_warnings import pod_spec_warnings
from flotilla.api.kinds.resource import Strategy
from flotilla.api.mirrors import validate_mirror
from flotilla.api.objects import KubeObject
from flotilla.api.workloads import qos_class


def _prepare_for_create(pod: KubeObject) -> None:
    pod["metadata"]["generation"] = 1
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(pod.get("spec") or {})}


def _prepare_for_update(pod: KubeObject, old: KubeObject) -> None:
    """Being bound to a node is not a new desired state."""
    keep_status(pod, old)
    changed = {**pod["spec"], "nodeName": ""} != {**old["spec"], "nodeName": ""}
    pod["metadata"]["generation"] = old["metadata"].get("generation", 1) + changed


def _validate(pod: KubeObject, old: KubeObject | None) -> list[FieldError]:
    errors = validate_metadata(pod) + validate_mirror(pod, old) + validate_pod_spec(pod["spec"], "spec")
    if old is not None:
        return errors + validate_pod_update(pod, old)
    if pod["spec"].get("nodeName") and pod["spec"].get("schedulingGates"):
        errors.append(forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    if pod["spec"].get("ephemeralContainers"):
        errors.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
    return errors


def _warnings(pod: KubeObject) -> list[str]:
    return pod_spec_warnings(pod["spec"], "spec")


def _selectable_fields(pod: Mapping[str, Any]) -> dict[str, str]:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    return metadata_fields(pod) | {
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.restartPolicy": spec.get("restartPolicy", ""),
        "spec.schedulerName": spec.get("schedulerName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "spec.hostNetwork": "true" if spec.get("hostNetwork") else "false",
        "status.phase": status.get("phase", ""),
        "status.podIP": status.get("podIP", ""),
        "status.nominatedNodeName": status.get("nominatedNodeName", ""),
    }


STRATEGY = Strategy(
    default=default_pod,
    validate=_validate,
    prepare_for_create=_prepare_for_create,
    prepare_for_update=_prepare_for_update,
    warnings=_warnings,
    selectable_fields=_selectable_fields,
    graceful_deletion=True,
    status_subresource=True,
    validate_subresource=validate_pod_subresource,
)
