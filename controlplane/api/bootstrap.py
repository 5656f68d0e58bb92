"""What every cluster has before its first user: the system namespaces and the services of the API and of DNS.

Idempotent, and repeated at each start: what is there is left as its users have changed it, except the address of the
API server, which follows this server.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging

from controlplane.api.operations import Operations
from controlplane.store.cache import Subscription, SubscriptionError
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import ENDPOINT_SLICES, ENDPOINTS, NAMESPACES, SERVICES

logger = logging.getLogger(__name__)

MANAGER = "flotilla-bootstrap"
NAMES = ("default", "kube-system", "kube-public", "kube-node-lease")
RETRY_S = 1.0
_KINDS = (NAMESPACES, SERVICES, ENDPOINTS, ENDPOINT_SLICES)
_OBJECTS = frozenset(
    {
        *(("namespaces", "", name) for name in NAMES),
        ("services", "default", "kubernetes"),
        ("services", "kube-system", "kube-dns"),
        ("endpoints", "default", "kubernetes"),
        ("endpointslices", "default", "kubernetes"),
    }
)
_PORT_NAME = "https"


async def bootstrap(
    operations: Operations, *, api_address: str, api_port: int, cluster_dns: str, service_cidr: str
) -> None:
    """Create what is missing. Pods reach this server at ``api_address:api_port``. Raises ApiError."""
    for name in NAMES:
        await _ensure(operations, NAMESPACES, {"metadata": {"name": name}})
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
    async for event in subscription:
        entry = event.entry
        if event.type == "DELETED" and (entry.resource.plural, entry.namespace, entry.name) in _OBJECTS:
            return


async def _ensure(operations: Operations, resource: Resource, obj: KubeObject) -> bool:
    """Create ``obj`` unless it is there; whether it was created."""
    try:
        await operations.create(resource, obj, manager=MANAGER)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
        return False
    return True


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
    return {"metadata": {"name": "kubernetes", "namespace": "default", "labels": labels}, "spec": spec}


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
    return {"metadata": {"name": "kubernetes", "namespace": "default"}, "subsets": [subset]}


def _endpoint_slice(address: str, port: int) -> KubeObject:
    return {
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": _PORT_NAME, "port": port, "protocol": "TCP"}],
    }
