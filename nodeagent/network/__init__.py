"""Pods' network namespaces and addresses, and services, on one node.

Every pod is routed: a veth pair, a /32 in the pod and a host route to it, no bridge. Packets between two pods of a
node pass the host's IP stack like those between nodes, so that service translation, and undoing it for the replies,
works whatever ``br_netfilter`` is set to; a pod reaches itself through a service the same way.

:mod:`nodeagent.network.pod_network` makes namespaces and links, :mod:`nodeagent.network.services` keeps the nftables
maps of services; :mod:`nodeagent.network.netlink` and :mod:`nodeagent.network.nftables` speak to the kernel.
"""
