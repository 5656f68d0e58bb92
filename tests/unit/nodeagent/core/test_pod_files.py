"""The files under /etc of a pod."""

from __future__ import annotations

from typing import Any

import pytest

from flotilla.api.objects import KubeObject
from nodeagent.pod_files import (
    HostNameError,
    Resolver,
    host_name,
    hosts_text,
    kernel_host_name,
    parse_resolver,
    resolver_of,
    resolver_text,
)

HOST = Resolver(["9.9.9.9"], ["corp.example"], ["timeout:1"])


def pod_of(name: str = "web-1", **spec: Any) -> KubeObject:
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": spec}


def resolver(**spec: Any) -> Resolver:
    return resolver_of(pod_of(**spec), dns_address="10.43.0.10", cluster_domain="cluster.local", host=HOST)


def test_cluster_first_searches_the_pods_namespace() -> None:
    """Short service names resolve: the namespace first, then all services, then the node's own domains."""
    assert resolver_text(resolver()) == (
        "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example\n"
        "nameserver 10.43.0.10\n"
        "options ndots:5\n"
    )


@pytest.mark.parametrize("spec", [{"dnsPolicy": "Default"}, {"hostNetwork": True}])
def test_the_nodes_own_resolver(spec: dict[str, Any]) -> None:
    """Pods on the host's network and those that ask for it get what the node has."""
    assert resolver(**spec) == HOST


def test_the_hosts_network_with_cluster_names() -> None:
    """ClusterFirstWithHostNet means the cluster's DNS there too."""
    assert resolver(hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet").nameservers == ["10.43.0.10"]


def test_dns_config_adds_and_overrides() -> None:
    """Options replace those of the same name, everything else is added."""
    config = {
        "nameservers": ["1.1.1.1"],
        "searches": ["example.org"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    }
    found = resolver(dnsConfig=config)
    assert found.nameservers == ["10.43.0.10", "1.1.1.1"]
    assert found.searches[-1] == "example.org"
    assert found.options == ["ndots:2", "edns0"]
    assert resolver(dnsPolicy="None", dnsConfig=config).nameservers == ["1.1.1.1"]


def test_parsing_a_resolver_file() -> None:
    """Comments are ignored and the last search line counts."""
    text = "# made by hand\nnameserver 1.2.3.4\nsearch a b\ndomain c ; note\noptions ndots:1 rotate\nsortlist x\n"
    assert parse_resolver(text) == Resolver(["1.2.3.4"], ["c"], ["ndots:1", "rotate"])


def test_hosts_name_the_pod_and_its_aliases() -> None:
    """The pod finds itself under its name, and whatever its spec adds."""
    pod = pod_of(subdomain="db", hostAliases=[{"ip": "10.1.1.1", "hostnames": ["old", "older"]}])
    text = hosts_text(pod, "10.42.0.7", cluster_domain="cluster.local")
    assert "10.42.0.7\tweb-1.db.shop.svc.cluster.local\tweb-1\n" in text
    assert text.endswith("10.1.1.1\told\tolder\n")


def test_hosts_of_the_hosts_network() -> None:
    """On the host's network the node's own file is shown."""
    assert "192.0.2.1 node" in hosts_text(
        pod_of(hostNetwork=True), "x", cluster_domain="c", host_text="192.0.2.1 node\n"
    )


def test_long_names_are_cut_for_the_kernel() -> None:
    """A host name has 63 characters at most and does not end in punctuation."""
    assert host_name(pod_of("a" * 62 + "-b")) == "a" * 62
    assert host_name(pod_of(hostname="other")) == "other"


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ({}, "web-1"),
        ({"hostname": "db", "subdomain": "data"}, "db"),
        ({"hostname": "db", "subdomain": "data", "setHostnameAsFQDN": True}, "db.data.shop.svc.cluster.local"),
        ({"setHostnameAsFQDN": True}, "web-1"),
        ({"hostname": "db", "subdomain": "data", "hostnameOverride": "my.own.name"}, "my.own.name"),
        ({"hostNetwork": True, "hostname": "db"}, "the-node"),
    ],
)
def test_what_the_pod_takes_itself_for(spec: dict[str, Any], shown: str) -> None:
    """The short name, the whole one on demand, one of its own, or the node's on the node's network."""
    assert kernel_host_name(pod_of(**spec), cluster_domain="cluster.local", node="the-node") == shown


def test_a_full_name_that_the_kernel_does_not_take() -> None:
    """It is refused in Kubernetes' words, not cut."""
    pod = pod_of(subdomain="s" * 40, setHostnameAsFQDN=True)
    with pytest.raises(HostNameError, match=r"is too long \(64 characters is the max, 69 characters requested\)"):
        kernel_host_name(pod, cluster_domain="cluster.local", node="n")


def test_an_overriding_name_is_the_only_one() -> None:
    """The pod's hosts file then has no name in the cluster's domain."""
    pod = pod_of(hostname="db", subdomain="data", hostnameOverride="my.own.name")
    assert hosts_text(pod, "10.42.0.5", cluster_domain="cluster.local").endswith("10.42.0.5\tmy.own.name\n")
