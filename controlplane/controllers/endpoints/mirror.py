"""The Endpoints object of a Service, which older clients read. Source: Kubernetes' ``endpoint`` controller.

Pods that are going are in neither list, unless the Service publishes what is not ready.
"""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.controllers.endpoints.plan import Endpoint, Groups, Port, copied_labels
from flotilla.api.objects import KubeObject, labels_of, name_of

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGED_BY_VALUE = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MOST_ADDRESSES = 1000


def mirror(service: KubeObject, groups: Groups) -> KubeObject:
    """The Endpoints object of ``service`` whose pods are ``groups``."""
    include_all = bool(service["spec"].get("publishNotReadyAddresses"))
    subsets = []
    left = MOST_ADDRESSES
    truncated = False
    for ports, endpoints in sorted(groups.items()):
        shown = [each for each in endpoints if include_all or not each.terminating]
        shown.sort(key=lambda each: (not each.ready, each.address))
        truncated |= len(shown) > left
        shown = shown[:left]
        left -= len(shown)
        if shown:
            subsets.append(_subset(ports, shown))
    metadata: KubeObject = {
        "name": name_of(service),
        "namespace": service["metadata"]["namespace"],
        "labels": copied_labels(service, {MANAGED_BY: MANAGED_BY_VALUE}),
    }
    if truncated:
        metadata["annotations"] = {OVER_CAPACITY: "truncated"}
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets}


def _subset(ports: Sequence[Port], endpoints: Sequence[Endpoint]) -> KubeObject:
    subset: KubeObject = {}
    ready = [_address(each) for each in endpoints if each.ready]
    not_ready = [_address(each) for each in endpoints if not each.ready]
    if ready:
        subset["addresses"] = ready
    if not_ready:
        subset["notReadyAddresses"] = not_ready
    if ports:
        subset["ports"] = [_port(port) for port in sorted(ports)]
    return subset


def _port(port: Port) -> KubeObject:
    shown: KubeObject = {"name": port.name} if port.name else {}
    shown |= {"port": port.port, "protocol": port.protocol}
    if port.app_protocol:
        shown["appProtocol"] = port.app_protocol
    return shown


def _address(endpoint: Endpoint) -> KubeObject:
    target = {"kind": "Pod", "namespace": endpoint.namespace, "name": endpoint.pod, "uid": endpoint.uid}
    address: KubeObject = {"ip": endpoint.address, "targetRef": target}
    if endpoint.node:
        address["nodeName"] = endpoint.node
    if endpoint.hostname:
        address["hostname"] = endpoint.hostname
    return address


def same(present: KubeObject, wanted: KubeObject) -> bool:
    """Whether the stored Endpoints say what they shall."""
    marks = [(each["metadata"].get("annotations") or {}).get(OVER_CAPACITY) for each in (present, wanted)]
    return (
        (present.get("subsets") or []) == wanted["subsets"]
        and labels_of(present) == labels_of(wanted)
        and marks[0] == marks[1]
    )


def updated(present: KubeObject, wanted: KubeObject) -> KubeObject:
    """``present``, a private copy, saying what it shall."""
    metadata = present["metadata"] | {"labels": labels_of(wanted)}
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != OVER_CAPACITY}
    metadata["annotations"] = annotations | (wanted["metadata"].get("annotations") or {})
    return present | {"metadata": metadata, "subsets": wanted["subsets"]}
