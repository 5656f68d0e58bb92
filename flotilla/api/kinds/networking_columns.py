"""The kinds of networking.k8s.io: their table columns."""

from __future__ import annotations

from datetime import datetime

from flotilla.api.kinds.columns import AGE, NAME, NONE, column, selector_text, spec_of, status_of
from flotilla.api.objects import KubeObject

_MOST_HOSTS = 3


def _hosts(ingress: KubeObject, now: datetime) -> str:
    rules = spec_of(ingress).get("rules") or []
    named = [index for index, rule in enumerate(rules) if rule.get("host")]
    shown = ",".join(rules[index]["host"] for index in named[:_MOST_HOSTS])
    if len(named) >= _MOST_HOSTS and named[_MOST_HOSTS - 1] < len(rules) - 1:
        return f"{shown} + {len(rules) - _MOST_HOSTS} more..."
    return shown or "*"


def _addresses(ingress: KubeObject, now: datetime) -> str:
    points = (status_of(ingress).get("loadBalancer") or {}).get("ingress") or ()
    return ",".join(sorted({point.get("ip") or point.get("hostname") or "" for point in points} - {""}))


def _ports(ingress: KubeObject, now: datetime) -> str:
    return "80, 443" if spec_of(ingress).get("tls") else "80"


def _ingress_class(ingress: KubeObject, now: datetime) -> str:
    name = spec_of(ingress).get("ingressClassName")
    return NONE if name is None else str(name)


def _parameters(ingress_class: KubeObject, now: datetime) -> str:
    parameters = spec_of(ingress_class).get("parameters")
    if parameters is None:
        return NONE
    group = parameters.get("apiGroup")
    kind = parameters.get("kind", "") if group is None else f"{parameters.get('kind', '')}.{group}"
    return f"{kind}/{parameters.get('name', '')}"


def _parent(address: KubeObject, now: datetime) -> str:
    parent = spec_of(address).get("parentRef")
    if not parent:
        return NONE
    group, resource = parent.get("group"), parent.get("resource", "")
    path = [f"{resource}.{group}" if group else resource, parent.get("namespace"), parent.get("name")]
    return "/".join(part for part in path if part)


INGRESS_COLUMNS = (
    NAME,
    column("Class", _ingress_class, description="The name of the IngressClass resource that should be used."),
    column("Hosts", _hosts, description="Hosts that incoming requests are matched against before the ingress rule"),
    column("Address", _addresses, description="Address is a list containing ingress points for the load-balancer"),
    column("Ports", _ports, description="Ports of TLS configurations that open"),
    AGE,
)
INGRESS_CLASS_COLUMNS = (
    NAME,
    column(
        "Controller",
        lambda obj, now: spec_of(obj).get("controller", ""),
        description="Controller that is responsible for handling this class",
    ),
    column("Parameters", _parameters, description="A reference to a resource with additional parameters"),
    AGE,
)
NETWORK_POLICY_COLUMNS = (
    NAME,
    column(
        "Pod-Selector",
        lambda obj, now: selector_text(spec_of(obj).get("podSelector") or {}),
        description="Selects the pods to which the policy applies.",
    ),
    AGE,
)
ADDRESS_COLUMNS = (
    NAME,
    column("ParentRef", _parent, description="The object that the address belongs to."),
)
SERVICE_CIDR_COLUMNS = (
    NAME,
    column(
        "CIDRs",
        lambda obj, now: ",".join(spec_of(obj).get("cidrs") or ()),
        description="The networks that services get their addresses from.",
    ),
    AGE,
)
