"""The built-in provisioner: directories of nodes as volumes; pure.

A new volume is only an object: the node makes the directory when the first pod mounts it, and deletes it when the
volume is to be deleted. Its size is written down and not enforced, as with every provisioner of plain directories.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from controlplane.controllers.persistent_volumes.binding import claim_reference
from flotilla.api.conditions import is_true
from flotilla.api.objects import KubeObject, labels_of, name_of, uid_of
from flotilla.api.storage import (
    HOST_NAME_LABEL,
    LOCAL_PATH,
    LOCAL_PATH_DRIVER,
    NODE_ATTRIBUTE,
    PROVISIONED_BY,
    VOLUME_PROTECTION,
    class_name,
    local_node,
    requested,
)

_ONE_NODE = ("ReadWriteOnce", "ReadWriteOncePod")


def volume_name(claim: Mapping[str, Any]) -> str:
    """The name of the volume that is made for a claim."""
    return f"pvc-{uid_of(claim)}"


def refusal(claim: Mapping[str, Any], storage_class: Mapping[str, Any]) -> str:
    """Why no directory of a node can be what the claim and its class ask for; empty if one can."""
    if unknown := sorted(storage_class.get("parameters") or ()):
        return f"{LOCAL_PATH} has no parameters: {', '.join(unknown)} is unknown"
    if storage_class.get("mountOptions"):
        return f"{LOCAL_PATH} makes directories: mountOptions are not supported"
    spec = claim["spec"]
    if spec.get("volumeMode") == "Block":
        return f"{LOCAL_PATH} makes directories: volumeMode Block is not supported"
    if far := [mode for mode in spec.get("accessModes") or () if mode not in _ONE_NODE]:
        return f"{LOCAL_PATH} makes volumes of one node: accessModes {', '.join(far)} is not supported"
    if spec.get("selector") is not None:
        return "claim Selector is not supported"
    if spec.get("dataSourceRef") is not None or spec.get("dataSource") is not None:
        return f"{LOCAL_PATH} makes empty volumes: dataSource is not supported"
    return ""


def new_volume(claim: KubeObject, storage_class: KubeObject, node: KubeObject) -> KubeObject:
    """The volume for a claim on a node, bound to the claim from its side."""
    name = volume_name(claim)
    host = labels_of(node).get(HOST_NAME_LABEL)
    term = (
        {"matchExpressions": [{"key": HOST_NAME_LABEL, "operator": "In", "values": [host]}]}
        if host
        else {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name_of(node)]}]}
    )
    spec: KubeObject = {
        "capacity": {"storage": requested(claim)},
        "accessModes": claim["spec"]["accessModes"],
        "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
        "storageClassName": class_name(claim),
        "volumeMode": "Filesystem",
        "claimRef": claim_reference(claim),
        "csi": {"driver": LOCAL_PATH_DRIVER, "volumeHandle": name, "volumeAttributes": {NODE_ATTRIBUTE: name_of(node)}},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
    }
    metadata = {
        "name": name,
        "annotations": {PROVISIONED_BY: LOCAL_PATH},
        "finalizers": [VOLUME_PROTECTION, LOCAL_PATH],
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec}


def choose_node(nodes: Iterable[KubeObject], volumes: Iterable[KubeObject]) -> KubeObject | None:
    """Where to put a volume that waits for no pod: the ready node with the fewest; None if no node is ready."""
    counts: dict[str, int] = {}
    for volume in volumes:
        counts[local_node(volume)] = counts.get(local_node(volume), 0) + 1
    usable = [node for node in nodes if is_true(node, "Ready") and not (node.get("spec") or {}).get("unschedulable")]
    return min(usable, key=lambda node: (counts.get(name_of(node), 0), name_of(node)), default=None)
