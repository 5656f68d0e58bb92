"""Which addresses and ports stand behind a Service, and how they are laid out in slices: pure functions.

Endpoints stay in the slice in which they are, so that one pod's change is one write. A slice has one list of ports;
pods that give a named port different numbers go into different slices. Source: Kubernetes' ``endpointslice`` package.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flotilla.api.objects import KubeObject, is_deleting, labels_of, name_of, owner_reference, uid_of
from flotilla.api.workloads import pod_is_ready

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGED_BY_VALUE = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
MOST_IN_SLICE = 100
_ENDED = ("Succeeded", "Failed")
_LONGEST_PREFIX = 57
_SUFFIX_LENGTH = 5


@dataclass(frozen=True, slots=True, order=True)
class Port:
    name: str
    port: int
    protocol: str
    app_protocol: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One pod's address. ``ready`` is what load balancers go by, ``serving`` ignores that a pod is going."""

    address: str
    ready: bool
    serving: bool
    terminating: bool
    node: str
    namespace: str
    pod: str
    uid: str
    hostname: str

    def to_object(self) -> KubeObject:
        endpoint: KubeObject = {
            "addresses": [self.address],
            "conditions": {"ready": self.ready, "serving": self.serving, "terminating": self.terminating},
            "targetRef": {"kind": "Pod", "namespace": self.namespace, "name": self.pod, "uid": self.uid},
        }
        if self.node:
            endpoint["nodeName"] = self.node
        if self.hostname:
            endpoint["hostname"] = self.hostname
        return endpoint


Groups = dict[tuple[Port, ...], list[Endpoint]]


def is_headless(service: Mapping[str, Any]) -> bool:
    return bool(service["spec"].get("clusterIP") == "None")


def has_endpoints(service: Mapping[str, Any]) -> bool:
    """Whether this controller keeps endpoints for the Service: it has a selector and is no ExternalName."""
    return bool(service["spec"].get("selector")) and service["spec"].get("type") != "ExternalName"


def group_endpoints(service: KubeObject, pods: Iterable[KubeObject]) -> Groups:
    """The endpoints of the Service's pods that have an address and have not ended, by their ports."""
    groups: Groups = defaultdict(list)
    for pod in sorted(pods, key=name_of):
        status = pod.get("status") or {}
        if status.get("phase") not in _ENDED and status.get("podIP"):
            groups[_ports(service, pod)].append(_endpoint(service, pod))
    return dict(groups)


def _endpoint(service: KubeObject, pod: KubeObject) -> Endpoint:
    serving, terminating = pod_is_ready(pod), is_deleting(pod)
    spec = pod["spec"]
    named = spec.get("hostname") if spec.get("subdomain") == name_of(service) else None
    return Endpoint(
        address=pod["status"]["podIP"],
        ready=bool(service["spec"].get("publishNotReadyAddresses")) or (serving and not terminating),
        serving=serving,
        terminating=terminating,
        node=spec.get("nodeName") or "",
        namespace=pod["metadata"]["namespace"],
        pod=name_of(pod),
        uid=uid_of(pod),
        hostname=named or "",
    )


def _ports(service: KubeObject, pod: KubeObject) -> tuple[Port, ...]:
    found = []
    for port in service["spec"].get("ports") or ():
        protocol = port.get("protocol") or "TCP"
        number = _port_number(port.get("targetPort") or port["port"], protocol, pod)
        if number is not None:
            found.append(Port(port.get("name") or "", number, protocol, port.get("appProtocol") or ""))
    return tuple(found)


def _port_number(target: int | str, protocol: str, pod: KubeObject) -> int | None:
    """The port's number in the pod; None if no container names it."""
    if isinstance(target, int):
        return target
    spec = pod["spec"]
    sidecars = [each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always"]
    for container in (*spec["containers"], *sidecars):
        for port in container.get("ports") or ():
            if port.get("name") == target and (port.get("protocol") or "TCP") == protocol:
                number: int = port["containerPort"]
                return number
    return None


@dataclass(frozen=True, slots=True)
class SlicePlan:
    create: tuple[KubeObject, ...]
    update: tuple[KubeObject, ...]
    delete: tuple[KubeObject, ...]


@dataclass(slots=True)
class _Draft:
    """A slice to be: ``origin`` is the stored one that it continues, None for a new one."""

    origin: KubeObject | None
    ports: tuple[Port, ...]
    endpoints: list[Endpoint]


def plan_slices(
    service: KubeObject, slices: Sequence[KubeObject], groups: Groups, *, taken: Callable[[str], bool]
) -> SlicePlan:
    """What to write so that the Service's ``slices`` hold ``groups``. ``taken`` tells names that can't be used."""
    wanted = groups or {(): []}
    drafts: list[_Draft] = []
    spare: list[KubeObject] = []
    left = {ports: {each.uid: each for each in endpoints} for ports, endpoints in wanted.items()}
    for present in slices:
        draft = _kept(present, left)
        if draft is not None and (draft.endpoints or not groups) and not is_deleting(present):
            drafts.append(draft)
        elif not is_deleting(present):
            spare.append(present)
    for ports, endpoints in left.items():
        same = [draft for draft in drafts if draft.ports == ports]
        drafts += _fill(same, ports, list(endpoints.values()))
    if not drafts:
        drafts.append(_Draft(None, (), []))
    if not groups:
        # An empty Service keeps one empty slice, which tells watchers that nobody is behind it.
        spare += [draft.origin for draft in drafts[1:] if draft.origin is not None]
        del drafts[1:]
    return _writes(service, drafts, spare, taken)


def _kept(present: KubeObject, left: dict[tuple[Port, ...], dict[str, Endpoint]]) -> _Draft | None:
    """The slice with those of its endpoints that are still wanted, as they are now; they leave ``left``."""
    ports = tuple(
        Port(port.get("name") or "", port["port"], port.get("protocol") or "TCP", port.get("appProtocol") or "")
        for port in present.get("ports") or ()
    )
    wanted = left.get(ports)
    if wanted is None:
        return None
    uids = [(each.get("targetRef") or {}).get("uid", "") for each in present.get("endpoints") or ()]
    kept = [wanted.pop(uid) for uid in uids if uid in wanted]
    return _Draft(present, ports, kept)


def _fill(drafts: list[_Draft], ports: tuple[Port, ...], endpoints: list[Endpoint]) -> list[_Draft]:
    """Put endpoints into the fullest slices that have room; the new slices for the rest."""
    for draft in sorted(drafts, key=lambda each: len(each.endpoints), reverse=True):
        room = MOST_IN_SLICE - len(draft.endpoints)
        draft.endpoints += endpoints[:room]
        endpoints = endpoints[room:]
    starts = range(0, len(endpoints), MOST_IN_SLICE)
    return [_Draft(None, ports, endpoints[start : start + MOST_IN_SLICE]) for start in starts]


def _writes(
    service: KubeObject, drafts: Sequence[_Draft], spare: list[KubeObject], taken: Callable[[str], bool]
) -> SlicePlan:
    create, update = [], []
    names: set[str] = set()
    for draft in drafts:
        if draft.origin is None and spare:
            draft.origin = spare.pop()
        if draft.origin is None:
            name = _new_name(service, lambda each: each in names or taken(each))
            names.add(name)
            create.append(_slice(service, draft, name))
            continue
        wanted = _slice(service, draft, name_of(draft.origin))
        if any(wanted.get(part) != draft.origin.get(part) for part in ("endpoints", "ports")) or (
            labels_of(wanted) != labels_of(draft.origin)
        ):
            update.append(_continued(draft.origin, wanted))
    return SlicePlan(tuple(create), tuple(update), tuple(spare))


def _continued(origin: KubeObject, wanted: KubeObject) -> KubeObject:
    metadata = origin["metadata"] | {"labels": labels_of(wanted)}
    return origin | {"metadata": metadata, "endpoints": wanted["endpoints"], "ports": wanted["ports"]}


def _new_name(service: KubeObject, taken: Callable[[str], bool]) -> str:
    number = 0
    while True:
        identity = f"{uid_of(service)}/{number}".encode()
        suffix = hashlib.blake2b(identity, digest_size=8).hexdigest()[:_SUFFIX_LENGTH]
        name = f"{name_of(service)[:_LONGEST_PREFIX]}-{suffix}"
        if not taken(name):
            return name
        number += 1


def copied_labels(service: KubeObject, own: Mapping[str, str]) -> dict[str, str]:
    """The Service's labels with ``own`` ones, and the mark of headless Services."""
    labels = {key: value for key, value in labels_of(service).items() if key != HEADLESS} | dict(own)
    if is_headless(service):
        labels[HEADLESS] = ""
    return labels


def _slice(service: KubeObject, draft: _Draft, name: str) -> KubeObject:
    labels = copied_labels(service, {SERVICE_NAME: name_of(service), MANAGED_BY: MANAGED_BY_VALUE})
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": service["metadata"]["namespace"],
            "labels": labels,
            "ownerReferences": [owner_reference(service)],
        },
        "addressType": "IPv4",
        "endpoints": [endpoint.to_object() for endpoint in draft.endpoints],
        "ports": [port_object(port) for port in draft.ports],
    }


def port_object(port: Port) -> KubeObject:
    """The port as an EndpointSlice shows it."""
    shown: KubeObject = {"name": port.name, "protocol": port.protocol, "port": port.port}
    if port.app_protocol:
        shown["appProtocol"] = port.app_protocol
    return shown
