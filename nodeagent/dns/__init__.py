"""The node's DNS: a process of its own that answers pods' questions while the agent is away.

The agent writes what services there are to ``<run-dir>/dns/zone.json`` (:mod:`nodeagent.dns.zone`); the process reloads
that file when it changes (:mod:`nodeagent.dns.server`), answers the cluster's names from it
(:mod:`nodeagent.dns.answers`) and passes everything else to the host's own resolvers
(:mod:`nodeagent.dns.forwarder`). It listens on the cluster's DNS address, which the pod network has put on ``flt0``.
"""
