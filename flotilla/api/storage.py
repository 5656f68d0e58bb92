"""Persistent storage: the names and the few rules that API, controllers, scheduler and nodes agree on.

A volume of the built-in provisioner is a directory of one node. Its PersistentVolume names the node and, as a CSI
source's handle, the directory; where that lies is the node's own business. A finalizer keeps the object until the node
has deleted the directory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flotilla.api.objects import annotations_of, controller_of, is_deleting, name_of, namespace_of, uid_of

LOCAL_PATH = "flotilla.dev/local-path"
"""The built-in provisioner, and the finalizer of its volumes."""

LOCAL_PATH_DRIVER = "local-path.flotilla.dev"
"""The driver in its volumes' sources, a domain name as all of them are."""

NODE_ATTRIBUTE = "flotilla.dev/node"
CLAIM_PROTECTION = "kubernetes.io/pvc-protection"
VOLUME_PROTECTION = "kubernetes.io/pv-protection"

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
STORAGE_PROVISIONERS = ("volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner")
SELECTED_NODE = "volume.kubernetes.io/selected-node"
_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"

NO_PROVISIONER = "kubernetes.io/no-provisioner"
WAIT_FOR_FIRST_CONSUMER = "WaitForFirstConsumer"
HOST_NAME_LABEL = "kubernetes.io/hostname"


def class_name(obj: Mapping[str, Any]) -> str | None:
    """The storage class of a claim or a volume; ``""`` for none on purpose, None where nothing is said."""
    annotated: str | None = annotations_of(obj).get(_CLASS_ANNOTATION)
    name: str | None = (obj.get("spec") or {}).get("storageClassName")
    return name if annotated is None else annotated


def claim_of(pod: Mapping[str, Any], volume: Mapping[str, Any]) -> str:
    """The name of the claim behind one of a pod's volumes, made for the pod or not; empty for other volumes."""
    if volume.get("ephemeral") is not None:
        return f"{name_of(pod)}-{volume['name']}"
    name: str = (volume.get("persistentVolumeClaim") or {}).get("claimName") or ""
    return name


def claims_of(pod: Mapping[str, Any]) -> Iterator[str]:
    """The names of all claims that the pod's volumes are from."""
    for volume in pod["spec"].get("volumes") or ():
        if name := claim_of(pod, volume):
            yield name


def ephemeral_fault(pod: Mapping[str, Any], volume: Mapping[str, Any], claim: Mapping[str, Any]) -> str:
    """Why a claim of the right name is not the one that was made for the pod's ephemeral volume; empty if it is."""
    owner = controller_of(claim)
    if volume.get("ephemeral") is None or (owner is not None and owner.get("uid") == uid_of(pod)):
        return ""
    named = f"{namespace_of(claim)}/{name_of(claim)}"
    return f"PVC {named} was not created for pod {namespace_of(pod)}/{name_of(pod)} (pod is not owner)"


def is_bound(claim: Mapping[str, Any]) -> bool:
    """Whether both the claim and its volume say that they belong together."""
    return bool((claim.get("spec") or {}).get("volumeName")) and BIND_COMPLETED in annotations_of(claim)


def is_for(reference: Mapping[str, Any], claim: Mapping[str, Any]) -> bool:
    """Whether a volume's ``claimRef`` means this very claim; one without a uid means any of the name."""
    same = reference.get("namespace") == namespace_of(claim) and reference.get("name") == name_of(claim)
    return same and reference.get("uid") in (None, "", uid_of(claim))


def local_node(volume: Mapping[str, Any]) -> str:
    """The node that has the directory of a volume of the built-in provisioner; empty for other volumes."""
    source = (volume.get("spec") or {}).get("csi") or {}
    if source.get("driver") != LOCAL_PATH_DRIVER:
        return ""
    node: str = (source.get("volumeAttributes") or {}).get(NODE_ATTRIBUTE) or ""
    return node


def awaits_removal(volume: Mapping[str, Any]) -> bool:
    """Whether the directory of a volume of the built-in provisioner is to be deleted: nobody has a claim to it now."""
    finalizers = volume["metadata"].get("finalizers") or ()
    deletes = (volume.get("spec") or {}).get("persistentVolumeReclaimPolicy") == "Delete"
    return is_deleting(volume) and deletes and LOCAL_PATH in finalizers and VOLUME_PROTECTION not in finalizers


def storage_of(amounts: Mapping[str, Any] | None) -> Any:
    """The ``storage`` of a capacity or of requests, 0 if there is none."""
    return (amounts or {}).get("storage") or 0


def requested(claim: Mapping[str, Any]) -> Any:
    """How much a claim asks for."""
    return storage_of(((claim.get("spec") or {}).get("resources") or {}).get("requests"))
