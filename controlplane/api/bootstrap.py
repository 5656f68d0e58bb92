"""What every cluster has before its first user: the system namespaces, the services of the API and of DNS, the network
of services, the two classes of critical pods, the roles that people bind their users to, and a class of storage.

Idempotent, and repeated at each start: what is there is left as its users have changed it, except the address of the
API server, which follows this server. What the cache shows is not written again, so that a restart costs nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from datetime import UTC, datetime

from controlplane.api.bootstrap_roles import cluster_role_bindings, cluster_roles
from controlplane.api.operations import Operations
from controlplane.store.cache import Subscription, SubscriptionError
from flotilla.api.conditions import set_condition
from flotilla.api.errors import ApiError
from flotilla.api.kinds.priority_classes import SYSTEM_CLASSES, system_class
from flotilla.api.kinds.storage_classes import DEFAULT_ANNOTATION
from flotilla.api.objects import KubeObject, name_of, namespace_of
from flotilla.api.registry import Resource
from flotilla.api.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    ENDPOINT_SLICES,
    ENDPOINTS,
    NAMESPACES,
    PRIORITY_CLASSES,
    SERVICE_CIDRS,
    SERVICES,
    STORAGE_CLASSES,
)
from flotilla.api.storage import LOCAL_PATH, WAIT_FOR_FIRST_CONSUMER

logger = logging.getLogger(__name__)

MANAGER = "flotilla-bootstrap"
NAMES = ("default", "kube-system", "kube-public", "kube-node-lease")
RETRY_S = 1.0
_KINDS = (
    NAMESPACES,
    SERVICES,
    ENDPOINTS,
    ENDPOINT_SLICES,
    SERVICE_CIDRS,
    PRIORITY_CLASSES,
    CLUSTER_ROLES,
    CLUSTER_ROLE_BINDINGS,
    STORAGE_CLASSES,
)
LOCAL_PATH_CLASS = "local-path"
_API = "kubernetes"
_PORT_NAME = "https"


async def bootstrap(
    operations: Operations, *, api_address: str, api_port: int, cluster_dns: str, service_cidr: str
) -> None:
    """Create what is missing. Pods reach this server at ``api_address:api_port``, unless that is this machine's own
    loopback: then the service has no endpoint. Raises ApiError.
    """
    for resource, obj in _plain_objects():
        await _ensure(operations, resource, obj)
    await _ensure_network(operations, service_cidr)
    first = str(ipaddress.IPv4Network(service_cidr).network_address + 1)
    await _ensure(operations, SERVICES, _api_service(first, api_port))
    await _ensure(operations, SERVICES, _dns_service(cluster_dns))
    await _publish(operations, ENDPOINTS, _endpoints(api_address, api_port))
    await _publish(operations, ENDPOINT_SLICES, _endpoint_slice(api_address, api_port))


async def keep_bootstrapped(
    operations: Operations, *, api_address: str, api_port: int, cluster_dns: str, service_cidr: str
) -> None:
    """:func:`bootstrap` until it succeeds, and again whenever one of its objects was deleted, until cancelled."""
    while True:
        subscription = operations.cache.subscribe(_KINDS)
        try:
            await bootstrap(
                operations,
                api_address=api_address,
                api_port=api_port,
                cluster_dns=cluster_dns,
                service_cidr=service_cidr,
            )
            await _deletion(subscription)
        except SubscriptionError:
            continue
        except ApiError as error:
            logger.warning("bootstrap_failed", extra={"error": error.message})
            await asyncio.sleep(RETRY_S)
        finally:
            subscription.close()


async def _deletion(subscription: Subscription) -> None:
    """Return once one of the objects was deleted."""
    known = _known_places()
    async for event in subscription:
        entry = event.entry
        if event.type == "DELETED" and (entry.resource, entry.namespace, entry.name) in known:
            return


def _plain_objects() -> list[tuple[Resource, KubeObject]]:
    """What is the same in all clusters."""
    classes = [system_class(name, priority, why) for name, priority, why in SYSTEM_CLASSES]
    return [
        *((NAMESPACES, {"metadata": {"name": name}}) for name in NAMES),
        *((PRIORITY_CLASSES, priority_class) for priority_class in classes),
        *((CLUSTER_ROLES, role) for role in cluster_roles()),
        *((CLUSTER_ROLE_BINDINGS, binding) for binding in cluster_role_bindings()),
        (STORAGE_CLASSES, _local_path_class()),
    ]


def _local_path_class() -> KubeObject:
    """The class of volumes that are directories of nodes, made where the first pod that uses them runs."""
    return {
        "metadata": {"name": LOCAL_PATH_CLASS, "annotations": {DEFAULT_ANNOTATION: "true"}},
        "provisioner": LOCAL_PATH,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": WAIT_FOR_FIRST_CONSUMER,
        "allowVolumeExpansion": True,
    }


def _known_places() -> frozenset[tuple[Resource, str, str]]:
    """Where everything is that this module makes."""
    plain = {(resource, "", name_of(obj)) for resource, obj in _plain_objects()}
    api = {(resource, "default", _API) for resource in (SERVICES, ENDPOINTS, ENDPOINT_SLICES)}
    return frozenset(plain | api | {(SERVICES, "kube-system", "kube-dns"), (SERVICE_CIDRS, "", _API)})


async def _ensure(operations: Operations, resource: Resource, obj: KubeObject) -> bool:
    """Create ``obj`` unless it is there; whether it was created."""
    if operations.cache.get(resource, namespace_of(obj), name_of(obj)) is not None:
        return False
    try:
        await operations.create(resource, obj, manager=MANAGER)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
        return False
    return True


async def _ensure_network(operations: Operations, service_cidr: str) -> None:
    """The network that services get their addresses from, and that it may be used."""
    await _ensure(operations, SERVICE_CIDRS, {"metadata": {"name": _API}, "spec": {"cidrs": [service_cidr]}})

    def ready(network: KubeObject) -> KubeObject:
        conditions = network.setdefault("status", {}).setdefault("conditions", [])
        message = "Kubernetes Service CIDR is ready"
        set_condition(conditions, "Ready", status="True", reason="", message=message, now=datetime.now(UTC))
        return network

    await operations.mutate(SERVICE_CIDRS, "", _API, ready, manager=MANAGER, subresource="status")


async def _publish(operations: Operations, resource: Resource, obj: KubeObject) -> None:
    """Create ``obj``, or give the one that is there its addresses and ports."""
    if await _ensure(operations, resource, obj):
        return

    def change(current: KubeObject) -> KubeObject:
        return current | {name: value for name, value in obj.items() if name != "metadata"}

    metadata = obj["metadata"]
    await operations.mutate(resource, metadata["namespace"], metadata["name"], change, manager=MANAGER)


def _api_service(cluster_ip: str, port: int) -> KubeObject:
    labels = {"component": "apiserver", "provider": "kubernetes"}
    spec = {
        "type": "ClusterIP",
        "clusterIP": cluster_ip,
        "clusterIPs": [cluster_ip],
        "ports": [{"name": _PORT_NAME, "protocol": "TCP", "port": 443, "targetPort": port}],
    }
    return {"metadata": {"name": _API, "namespace": "default", "labels": labels}, "spec": spec}


def _dns_service(cluster_ip: str) -> KubeObject:
    labels = {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "DNS"}
    spec = {
        "type": "ClusterIP",
        "clusterIP": cluster_ip,
        "clusterIPs": [cluster_ip],
        "ports": [
            {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": 53},
            {"name": "dns-tcp", "protocol": "TCP", "port": 53, "targetPort": 53},
        ],
    }
    return {"metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": labels}, "spec": spec}


def _endpoints(address: str, port: int) -> KubeObject:
    subset = {
        "addresses": [{"ip": address}],
        "ports": [{"name": _PORT_NAME, "port": port, "protocol": "TCP"}],
    }
    subsets = [subset] if _reachable(address) else []
    return {"metadata": {"name": _API, "namespace": "default"}, "subsets": subsets}


def _endpoint_slice(address: str, port: int) -> KubeObject:
    endpoint = {"addresses": [address], "conditions": {"ready": True}}
    return {
        "metadata": {
            "name": _API,
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": _API},
        },
        "addressType": "IPv4",
        "endpoints": [endpoint] if _reachable(address) else [],
        "ports": [{"name": _PORT_NAME, "port": port, "protocol": "TCP"}],
    }


def _reachable(address: str) -> bool:
    """Whether pods can reach it; a server that listens on its own machine only has no endpoint for them."""
    try:
        return not ipaddress.IPv4Address(address).is_loopback
    except ValueError:
        return False
