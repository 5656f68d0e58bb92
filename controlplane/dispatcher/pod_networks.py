"""Each node's network for its pods: a /24 out of the cluster's, kept for as long as the Node exists.

Only the leader hands networks out, from a cache that has caught up, and one at a time; the others wait until the Node
shows its network. A network that the agent already uses (its Node was deleted, or lost with the store) is kept if it is
still free, so that pods that run keep their addresses.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network

NODE_PREFIX = 24


class NetworksExhaustedError(Exception):
    """Every network of the cluster's range belongs to a node."""


def pick_network(cluster: IPv4Network, taken: Iterable[str], *, preferred: str = "") -> str:
    """``preferred`` if it is free and part of ``cluster``, else the lowest free /24. NetworksExhaustedError."""
    used = set(taken)
    if preferred and preferred not in used and _belongs(preferred, cluster):
        return preferred
    for network in cluster.subnets(new_prefix=max(NODE_PREFIX, cluster.prefixlen)):
        if str(network) not in used:
            return str(network)
    raise NetworksExhaustedError(f"no free network for another node in {cluster}")


def _belongs(text: str, cluster: IPv4Network) -> bool:
    try:
        network = IPv4Network(text)
    except ValueError:
        return False
    return network.prefixlen == max(NODE_PREFIX, cluster.prefixlen) and network.subnet_of(cluster)
