"""``networking.k8s.io``: how traffic gets in, who may talk to whom, and which addresses services have."""

from __future__ import annotations

from functools import partial

from flotilla.api.kinds import (
    ingress_classes,
    ingresses,
    network_policies,
    networking_columns,
    service_networks,
)
from flotilla.api.kinds.resource import Resource, guarded

_networking = partial(Resource, group="networking.k8s.io", version="v1")

INGRESSES = _networking(
    plural="ingresses",
    singular="ingress",
    kind="Ingress",
    namespaced=True,
    definition="io.k8s.api.networking.v1.Ingress",
    columns=networking_columns.INGRESS_COLUMNS,
    strategy=guarded(ingresses.STRATEGY),
    short_names=("ing",),
    subresources=("status",),
)
INGRESS_CLASSES = _networking(
    plural="ingressclasses",
    singular="ingressclass",
    kind="IngressClass",
    namespaced=False,
    definition="io.k8s.api.networking.v1.IngressClass",
    columns=networking_columns.INGRESS_CLASS_COLUMNS,
    strategy=guarded(ingress_classes.STRATEGY),
)
IP_ADDRESSES = _networking(
    plural="ipaddresses",
    singular="ipaddress",
    kind="IPAddress",
    namespaced=False,
    definition="io.k8s.api.networking.v1.IPAddress",
    columns=networking_columns.ADDRESS_COLUMNS,
    strategy=guarded(service_networks.ADDRESS_STRATEGY),
    short_names=("ip",),
)
NETWORK_POLICIES = _networking(
    plural="networkpolicies",
    singular="networkpolicy",
    kind="NetworkPolicy",
    namespaced=True,
    definition="io.k8s.api.networking.v1.NetworkPolicy",
    columns=networking_columns.NETWORK_POLICY_COLUMNS,
    strategy=guarded(network_policies.STRATEGY),
    short_names=("netpol",),
)
SERVICE_CIDRS = _networking(
    plural="servicecidrs",
    singular="servicecidr",
    kind="ServiceCIDR",
    namespaced=False,
    definition="io.k8s.api.networking.v1.ServiceCIDR",
    columns=networking_columns.SERVICE_CIDR_COLUMNS,
    strategy=guarded(service_networks.SERVICE_CIDR_STRATEGY),
    subresources=("status",),
)

ROWS = (INGRESS_CLASSES, INGRESSES, IP_ADDRESSES, NETWORK_POLICIES, SERVICE_CIDRS)
