"""IPAddress and ServiceCIDR: their strategies. They tell which addresses services have, and from which networks."""

from __future__ import annotations

import ipaddress

from flotilla.api.errors import FieldError
from flotilla.api.kinds.columns import spec_of
from flotilla.api.kinds.faults import IMMUTABLE, each_invalid, invalid, required
from flotilla.api.kinds.ingresses import NO_ADDRESS
from flotilla.api.kinds.metadata import (
    begin_status,
    keep_status,
    metadata_fields,
    no_defaults,
    prepare_plain,
    prepare_plain_update,
    validate_metadata,
)
from flotilla.api.kinds.network_policies import NO_NETWORK, parse_network
from flotilla.api.kinds.references import validate_segments
from flotilla.api.kinds.resource import Strategy
from flotilla.api.names import dns_subdomain_faults, path_segment_faults
from flotilla.api.objects import KubeObject

DEFAULT_NETWORK = "kubernetes"
_MOST_NETWORKS = 2
_ONE_A_FAMILY = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"


def _address_faults(name: str) -> list[str]:
    """Faults of a name that has to be an address as Kubernetes writes it."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return [NO_ADDRESS]
    return [] if str(address) == name else [f'must be in canonical form ("{address}")']


def _validate_address(address: KubeObject, old: KubeObject | None) -> list[FieldError]:
    parent, path = spec_of(address).get("parentRef"), "spec.parentRef"
    errors = validate_metadata(address, name_faults=_address_faults)
    if parent is None:
        errors.append(required(path))
    else:
        if parent.get("group"):
            errors += each_invalid(f"{path}.group", parent["group"], dns_subdomain_faults(parent["group"]))
        errors += validate_segments(parent, ("resource", "name"), path)
        if parent.get("namespace"):
            errors += each_invalid(f"{path}.namespace", parent["namespace"], path_segment_faults(parent["namespace"]))
    if old is not None and parent != spec_of(old).get("parentRef"):
        errors.append(invalid(path, parent, IMMUTABLE))
    return errors


def _validate_network(text: str, path: str) -> list[FieldError]:
    network = parse_network(text)
    if network is None:
        return [invalid(path, text, NO_NETWORK)]
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return [invalid(path, text, "must not have bits set beyond the prefix length")]
    return [] if str(network) == text else [invalid(path, text, f'must be in canonical form ("{network}")')]


def _validate_networks(networks: list[str], path: str) -> list[FieldError]:
    if not networks:
        return [required(path, "at least one CIDR required")]
    if len(networks) > _MOST_NETWORKS:
        return [invalid(path, {"cidrs": networks}, "may only hold up to 2 values")]
    errors: list[FieldError] = []
    for index, text in enumerate(networks):
        errors += _validate_network(text, f"{path}[{index}]")
    families = [network.version for network in map(parse_network, networks) if network is not None]
    if len(families) == _MOST_NETWORKS and families[0] == families[1]:
        errors.append(invalid(path, networks, _ONE_A_FAMILY))
    return errors


def _validate_networks_update(networks: list[str], was: list[str], path: str) -> list[FieldError]:
    """Networks stay as they are; a second one may be added."""
    if len(networks) not in (len(was), len(was) + 1):
        return [invalid(path, networks, IMMUTABLE)]
    pairs = enumerate(zip(networks, was, strict=False))
    errors = [invalid(f"{path}[{index}]", new, IMMUTABLE) for index, (new, old) in pairs if new != old]
    return errors + _validate_networks(networks, path) if len(networks) != len(was) else errors


def _validate_service_cidr(service_cidr: KubeObject, old: KubeObject | None) -> list[FieldError]:
    networks, path = spec_of(service_cidr).get("cidrs") or [], "spec.cidrs"
    errors = validate_metadata(service_cidr)
    if old is None:
        return errors + _validate_networks(networks, path)
    return errors + _validate_networks_update(networks, spec_of(old).get("cidrs") or [], path)


def _address_warnings(address: KubeObject) -> list[str]:
    return ["spec: this version of Flotilla keeps no address free for what an IPAddress names"]


def _network_warnings(service_cidr: KubeObject) -> list[str]:
    """The cluster's own network is the one that is used."""
    if service_cidr["metadata"].get("name") == DEFAULT_NETWORK:
        return []
    return ["spec.cidrs: this version of Flotilla gives services addresses of the cluster's own network only"]


ADDRESS_STRATEGY = Strategy(
    default=no_defaults,
    validate=_validate_address,
    prepare_for_create=prepare_plain,
    prepare_for_update=prepare_plain_update,
    warnings=_address_warnings,
    selectable_fields=metadata_fields,
)
SERVICE_CIDR_STRATEGY = Strategy(
    default=no_defaults,
    validate=_validate_service_cidr,
    prepare_for_create=begin_status(),
    prepare_for_update=keep_status,
    warnings=_network_warnings,
    selectable_fields=metadata_fields,
    status_subresource=True,
)
