"""What the classes of a cluster add to new objects, and which objects they refuse: decided where the classes are known.

A pod gets the number of its PriorityClass, from its RuntimeClass what the runtime costs and where it is installed, and
its ServiceAccount's pull secrets where it names none; an Ingress and a volume claim that name no class get the default
one, and a claim grows only where its class allows it; a certificate request says who made it. The rules and the words
are those of Kubernetes' admission plug-ins Priority, RuntimeClass, DefaultIngressClass, DefaultStorageClass,
PersistentVolumeClaimResize and CertificateSubjectRestriction, and the part of ServiceAccount that is about images.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from controlplane.api.authn import MASTERS, User
from controlplane.store.cache import Cache
from flotilla.api.errors import ApiError, forbidden
from flotilla.api.kinds.certificate_requests import CLIENT_SIGNER
from flotilla.api.kinds.ingress_classes import DEFAULT_ANNOTATION
from flotilla.api.kinds.ingresses import CLASS_ANNOTATION
from flotilla.api.kinds.priority_classes import DEFAULT_POLICY, SYSTEM_CLASSES, system_class
from flotilla.api.kinds.storage_classes import newest_default
from flotilla.api.objects import KubeObject, annotations_of
from flotilla.api.quantities import parse_quantity
from flotilla.api.registry import Resource
from flotilla.api.resources import (
    CERTIFICATE_SIGNING_REQUESTS,
    INGRESS_CLASSES,
    INGRESSES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    PRIORITY_CLASSES,
    RUNTIME_CLASSES,
    SERVICE_ACCOUNTS,
    STORAGE_CLASSES,
)
from flotilla.api.storage import class_name, is_bound, requested

_CLAIM_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
_MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
_PRIORITY_FIELDS = {"priority": "integer value of priority", "preemptionPolicy": "string value of PreemptionPolicy"}
_SYSTEM = {name: system_class(name, priority, why) for name, priority, why in SYSTEM_CLASSES}


class Classes:
    """Decides on the classes that the cache shows."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def know(self, resource: Resource, obj: Mapping[str, Any]) -> None:
        """Wait for the newest classes if a pod names one that the cache has not seen."""
        if resource is not PODS:
            return
        spec = obj.get("spec") or {}
        named = ((PRIORITY_CLASSES, "priorityClassName"), (RUNTIME_CLASSES, "runtimeClassName"))
        if any(spec.get(field) and not self._known(row, spec[field]) for row, field in named):
            await self._cache.barrier()

    def complete(self, resource: Resource, obj: KubeObject, user: User | None) -> None:
        """Fill a new object, which is edited. Forbidden. ``user`` is None for what the server itself writes."""
        if resource is PODS:
            self._prioritize(obj)
            self._place_on_runtime(obj)
            self._pull_as_account(obj)
        elif resource is INGRESSES:
            self._default_ingress(obj)
        elif resource is PERSISTENT_VOLUME_CLAIMS:
            self._default_claim(obj)
        elif resource is PRIORITY_CLASSES:
            self._refuse_second_default(obj)
        elif resource is CERTIFICATE_SIGNING_REQUESTS:
            _attribute(obj, user)

    def complete_update(self, resource: Resource, obj: KubeObject, old: Mapping[str, Any]) -> None:
        """Fill an updated object, which is edited, with what the classes gave it. Forbidden."""
        if resource is PODS:
            for field in _PRIORITY_FIELDS:
                if obj["spec"].get(field) is None and old["spec"].get(field) is not None:
                    obj["spec"][field] = old["spec"][field]
        elif resource is PRIORITY_CLASSES:
            self._refuse_second_default(obj)
        elif resource is PERSISTENT_VOLUME_CLAIMS:
            self._check_growth(obj, old)

    def _known(self, resource: Resource, name: str) -> KubeObject | None:
        entry = self._cache.get(resource, "", name)
        if entry is not None:
            return entry.obj
        return _SYSTEM.get(name) if resource is PRIORITY_CLASSES else None

    def _default(self, resource: Resource, is_default: Callable[[Mapping[str, Any]], bool]) -> KubeObject | None:
        """The newest class that is marked as the default one."""
        found = [entry.obj for entry in self._cache.list(resource) if is_default(entry.obj)]
        found.sort(key=lambda obj: obj["metadata"]["name"])
        return max(found, key=lambda obj: obj["metadata"].get("creationTimestamp") or "", default=None)

    def _prioritize(self, pod: KubeObject) -> None:
        spec = pod["spec"]
        name = spec.get("priorityClassName")
        chosen = self._known(PRIORITY_CLASSES, name) if name else self._default_priority()
        if chosen is None and name:
            raise _refused(PODS, pod, f"no PriorityClass with name {name} was found")
        if chosen is not None:
            spec["priorityClassName"] = chosen["metadata"]["name"]
        computed = {
            "priority": (chosen or {}).get("value", 0),
            "preemptionPolicy": (chosen or {}).get("preemptionPolicy") or DEFAULT_POLICY,
        }
        for field, what in _PRIORITY_FIELDS.items():
            given = spec.setdefault(field, computed[field])
            if given != computed[field]:
                why = f"priority admission controller computed {computed[field]} from the given PriorityClass name"
                raise _refused(PODS, pod, f"the {what} ({given}) must not be provided in pod spec; {why}")

    def _default_priority(self) -> KubeObject | None:
        """Of several global defaults, which only a race can bring about, the lowest counts."""
        found = [entry.obj for entry in self._cache.list(PRIORITY_CLASSES) if entry.obj.get("globalDefault")]
        return min(found, key=lambda obj: int(obj.get("value", 0)), default=None)

    def _refuse_second_default(self, priority_class: KubeObject) -> None:
        current = self._default_priority() if priority_class.get("globalDefault") else None
        if current is not None and current["metadata"]["name"] != priority_class["metadata"]["name"]:
            name = current["metadata"]["name"]
            why = f"PriorityClass {name} is already marked as default. Only one default can exist"
            raise _refused(PRIORITY_CLASSES, priority_class, why)

    def _place_on_runtime(self, pod: KubeObject) -> None:
        spec = pod["spec"]
        name = spec.get("runtimeClassName")
        chosen = self._known(RUNTIME_CLASSES, name) if name else None
        if name and chosen is None:
            raise _refused(PODS, pod, f'pod rejected: RuntimeClass "{name}" not found')
        overhead = ((chosen or {}).get("overhead") or {}).get("podFixed")
        if overhead and spec.setdefault("overhead", dict(overhead)) != overhead:
            why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
            raise _refused(PODS, pod, why)
        if spec.get("overhead") and not overhead:
            why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
            raise _refused(PODS, pod, why)
        _schedule_as(pod, (chosen or {}).get("scheduling") or {})

    def _account(self, pod: Mapping[str, Any]) -> KubeObject | None:
        metadata = pod.get("metadata") or {}
        name = pod["spec"].get("serviceAccountName") or ""
        entry = self._cache.get(SERVICE_ACCOUNTS, metadata.get("namespace") or "", name)
        return entry.obj if entry is not None else None

    def _pull_as_account(self, pod: KubeObject) -> None:
        """The account's pull secrets for a pod without any; a mirror of a static pod is what its node runs already."""
        if pod["spec"].get("imagePullSecrets") or _MIRROR_ANNOTATION in annotations_of(pod):
            return
        secrets = (self._account(pod) or {}).get("imagePullSecrets")
        if secrets:
            pod["spec"]["imagePullSecrets"] = [dict(secret) for secret in secrets]

    def _default_ingress(self, ingress: KubeObject) -> None:
        spec = ingress.setdefault("spec", {})
        if spec.get("ingressClassName") is not None or CLASS_ANNOTATION in annotations_of(ingress):
            return
        chosen = self._default(INGRESS_CLASSES, _is_default_ingress_class)
        if chosen is not None:
            spec["ingressClassName"] = chosen["metadata"]["name"]

    def _default_claim(self, claim: KubeObject) -> None:
        spec = claim.setdefault("spec", {})
        if spec.get("storageClassName") is not None or _CLAIM_ANNOTATION in annotations_of(claim):
            return
        chosen = newest_default(entry.obj for entry in self._cache.list(STORAGE_CLASSES))
        if chosen is not None:
            spec["storageClassName"] = chosen["metadata"]["name"]

    def _check_growth(self, claim: KubeObject, old: Mapping[str, Any]) -> None:
        if parse_quantity(requested(claim)) <= parse_quantity(requested(old)):
            return
        if not is_bound(old):
            raise _refused(PERSISTENT_VOLUME_CLAIMS, claim, "Only bound persistent volume claims can be expanded")
        entry = self._cache.get(STORAGE_CLASSES, "", class_name(old) or "")
        if entry is None or not entry.obj.get("allowVolumeExpansion"):
            why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must"
            raise _refused(PERSISTENT_VOLUME_CLAIMS, claim, f"{why} support resize")


def _is_default_ingress_class(ingress_class: Mapping[str, Any]) -> bool:
    return annotations_of(ingress_class).get(DEFAULT_ANNOTATION) == "true"


def _schedule_as(pod: KubeObject, scheduling: Mapping[str, Any]) -> None:
    """Add where a runtime is installed to where the pod wants to run."""
    spec = pod["spec"]
    selector = dict(spec.get("nodeSelector") or {})
    for key, value in (scheduling.get("nodeSelector") or {}).items():
        if selector.setdefault(key, value) != value:
            where = f"runtimeClass.scheduling.nodeSelector[{key}] = {value}"
            raise _refused(PODS, pod, f"conflict: {where}; pod.spec.nodeSelector[{key}] = {selector[key]}")
    if selector:
        spec["nodeSelector"] = selector
    tolerations = list(spec.get("tolerations") or ())
    tolerations += [each for each in scheduling.get("tolerations") or () if each not in tolerations]
    if tolerations:
        spec["tolerations"] = tolerations


def _attribute(request: KubeObject, user: User | None) -> None:
    """Say who makes a certificate request, whatever it says itself; nobody gets into ``system:masters`` by one."""
    spec = request.setdefault("spec", {})
    if user is not None:
        for field in ("uid", "extra"):
            spec.pop(field, None)
        spec["username"], spec["groups"] = user.name, list(user.groups)
    if spec.get("signerName") == CLIENT_SIGNER and MASTERS in _organizations(spec.get("request") or ""):
        why = f"use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed"
        raise _refused(CERTIFICATE_SIGNING_REQUESTS, request, why)


def _organizations(request: str) -> list[str]:
    """The organizations in the subject of a base64 PEM request; none if it can't be read, which validation refuses."""
    try:
        subject = x509.load_pem_x509_csr(base64.b64decode(request)).subject
    except ValueError:
        return []
    return [str(attribute.value) for attribute in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]


def _refused(resource: Resource, obj: Mapping[str, Any], why: str) -> ApiError:
    name = obj["metadata"].get("name") or ""
    qualified = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
    error = forbidden(f'{qualified} "{name}" is forbidden: {why}')
    error.details = {"name": name, "kind": resource.plural} | ({"group": resource.group} if resource.group else {})
    return error
