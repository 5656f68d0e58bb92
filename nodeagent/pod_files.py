"""The small files every pod gets: host name, hosts, resolver configuration. Texts only; the sandbox writes them.

Their contents are the kubelet's (``kubelet_pods.go``, ``network/dns/dns.go``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HOST_NAME_LIMIT = 63
FULL_NAME_LIMIT = 64
MAXIMUM_NAMESERVERS = 3
_LOCAL_HOSTS = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


@dataclass(frozen=True, slots=True)
class Resolver:
    """What a resolv.conf says."""

    nameservers: Sequence[str] = ()
    searches: Sequence[str] = ()
    options: Sequence[str] = ()


def parse_resolver(text: str) -> Resolver:
    """The meaning of a ``resolv.conf``; the last ``search`` line counts, as for the C library."""
    nameservers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            nameservers.append(words[1])
        elif words[0] in ("search", "domain"):
            searches = words[1:]
        elif words[0] == "options":
            options.extend(words[1:])
    return Resolver(nameservers, searches, options)


class HostNameError(Exception):
    """The pod can't have the host name that it asks for."""


def host_name(pod: Mapping[str, Any]) -> str:
    """The pod's short host name: ``spec.hostname`` or its name, cut to what the kernel takes."""
    spec = pod["spec"]
    if spec.get("hostnameOverride"):
        return str(spec["hostnameOverride"])
    name: str = spec.get("hostname") or pod["metadata"]["name"]
    return name[:HOST_NAME_LIMIT].rstrip("-.")


def kernel_host_name(pod: Mapping[str, Any], *, cluster_domain: str, node: str) -> str:
    """What ``hostname`` prints in the pod: on the node's network the node's (``node``). Raises HostNameError."""
    spec = pod["spec"]
    if spec.get("hostNetwork"):
        return node
    name = domain_name(pod, cluster_domain) if spec.get("setHostnameAsFQDN") else ""
    if len(name) > FULL_NAME_LIMIT:
        why = f"is too long ({FULL_NAME_LIMIT} characters is the max, {len(name)} characters requested)"
        raise HostNameError(f"failed to construct FQDN from pod hostname and cluster domain, FQDN {name} {why}")
    return name or host_name(pod)


def domain_name(pod: Mapping[str, Any], cluster_domain: str) -> str:
    """The fully qualified name of a pod with a subdomain, else an empty string."""
    subdomain = pod["spec"].get("subdomain")
    if not subdomain or pod["spec"].get("hostnameOverride"):
        return ""
    return f"{host_name(pod)}.{subdomain}.{pod['metadata'].get('namespace', '')}.svc.{cluster_domain}"


def hosts_text(pod: Mapping[str, Any], ip: str, *, cluster_domain: str, host_text: str = "") -> str:
    """``/etc/hosts``. On the host's network it is the node's own (``host_text``) with the pod's aliases."""
    if pod["spec"].get("hostNetwork"):
        text = f"# Kubernetes-managed hosts file (host network).\n{host_text}"
    else:
        names = [name for name in (domain_name(pod, cluster_domain), host_name(pod)) if name]
        text = "# Kubernetes-managed hosts file.\n" + _LOCAL_HOSTS + "\t".join([ip, *names]) + "\n"
    aliases = pod["spec"].get("hostAliases") or ()
    if not aliases:
        return text
    lines = ["\t".join([alias["ip"], *(alias.get("hostnames") or ())]) for alias in aliases]
    return text + "\n# Entries added by HostAliases.\n" + "\n".join(lines) + "\n"


def resolver_of(pod: Mapping[str, Any], *, dns_address: str, cluster_domain: str, host: Resolver) -> Resolver:
    """What the pod's ``dnsPolicy`` and ``dnsConfig`` come to."""
    spec = pod["spec"]
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    on_host = bool(spec.get("hostNetwork")) and policy == "ClusterFirst"
    if policy == "None":
        base = Resolver()
    elif policy == "Default" or on_host or not dns_address:
        base = host
    else:
        namespace = pod["metadata"].get("namespace", "")
        searches = [f"{namespace}.svc.{cluster_domain}", f"svc.{cluster_domain}", cluster_domain, *host.searches]
        base = Resolver([dns_address], searches, ["ndots:5"])
    return _merged(base, spec.get("dnsConfig") or {})


def _merged(base: Resolver, config: Mapping[str, Any]) -> Resolver:
    nameservers = list(dict.fromkeys([*base.nameservers, *(config.get("nameservers") or ())]))
    searches = list(dict.fromkeys([*base.searches, *(config.get("searches") or ())]))
    options = {option.partition(":")[0]: option for option in base.options}
    for option in config.get("options") or ():
        value = option.get("value")
        options[option["name"]] = option["name"] if value in (None, "") else f"{option['name']}:{value}"
    return Resolver(nameservers[:MAXIMUM_NAMESERVERS], searches, list(options.values()))


def resolver_text(resolver: Resolver) -> str:
    """The ``resolv.conf`` that says it."""
    lines = [f"search {' '.join(resolver.searches)}"] if resolver.searches else []
    lines += [f"nameserver {address}" for address in resolver.nameservers]
    lines += [f"options {' '.join(resolver.options)}"] if resolver.options else []
    return "\n".join(lines) + "\n"
