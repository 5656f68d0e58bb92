"""The node's service table: ClusterIPs and NodePorts by nftables, changed one transaction at a time.

What was applied is remembered, and only the difference goes to the kernel. A table that someone else has flushed, or
that does not take a change, is made anew in one transaction, without a moment in which a service is missing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence

from flotilla.api.objects import KubeObject
from nodeagent.network.conntrack import forget_udp_flows, table_exists
from nodeagent.network.nftables import Nftables, NftablesError, delete_table
from nodeagent.network.service_plan import Endpoint, ServicePort, plan_services
from nodeagent.network.service_rules import ServiceRules
from nodeagent.waking.held import WAKER_PORT

logger = logging.getLogger(__name__)


class ServiceTableError(Exception):
    """nftables refused the services; the message is its own."""


class ServiceTable:
    """Services on this node. Methods block for about a millisecond; any thread may call them."""

    def __init__(
        self,
        *,
        table: str = "flotilla",
        cluster_cidr: str = "10.42.0.0/16",
        service_cidr: str = "10.43.0.0/16",
        gateway: str = "10.42.0.1",
        dns_address: str = "10.43.0.10",
        links: str = "flt*",
        node_name: str = "",
    ) -> None:
        self._rules = ServiceRules(
            table=table, cluster_cidr=cluster_cidr, service_cidr=service_cidr, gateway=gateway, links=links
        )
        self._dns_address = dns_address
        self._node_name = node_name
        self._nftables = Nftables()
        self._applied: dict[str, ServicePort] | None = None
        self._guard = threading.Lock()

    def sync(self, services: Sequence[KubeObject], slices: Sequence[KubeObject]) -> bool:
        """Make the node's services exactly these; True if anything was changed. Raises :class:`ServiceTableError`."""
        wanted = plan_services(
            services,
            slices,
            node_name=self._node_name,
            own_addresses=(self._dns_address,),
            waker=Endpoint(self._dns_address, WAKER_PORT),
        )
        with self._guard:
            before = self._applied
            try:
                changed = self._apply(wanted)
                self._applied = wanted
            except NftablesError as error:
                self._applied = None
                raise ServiceTableError(str(error)) from error
            gone = _udp_endpoints(before or {}) - _udp_endpoints(wanted)
            if gone:
                forget_udp_flows(gone)
        return changed

    def purge(self) -> None:
        """Remove the table; idempotent."""
        with self._guard:
            self._nftables.run(delete_table("ip", self._rules.table))
            self._applied = None

    def close(self) -> None:
        self._nftables.close()

    def _apply(self, wanted: Mapping[str, ServicePort]) -> bool:
        if self._applied is not None and table_exists(self._rules.table):
            script = self._rules.changes(self._applied, wanted)
            if not script:
                return False
            try:
                self._nftables.run(script)
            except NftablesError as error:
                logger.warning("service_table_differs", extra={"error": str(error)})
            else:
                return True
        self._nftables.run(self._rules.whole(wanted))
        return True


def _udp_endpoints(plan: Mapping[str, ServicePort]) -> set[Endpoint]:
    return {
        endpoint
        for port in plan.values()
        if port.protocol == "udp"
        for endpoint in (*port.endpoints, *port.node_endpoints)
    }
