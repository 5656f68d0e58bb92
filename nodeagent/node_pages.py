"""The table of the node's pages, and what each is made from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry

from flotilla.api.objects import name_of, namespace_of
from nodeagent.cgroups import CgroupLayout
from nodeagent.disk.meter import DiskMeter
from nodeagent.metrics.cadvisor import cadvisor_page
from nodeagent.metrics.exposition import exposition
from nodeagent.metrics.page_view import PageView
from nodeagent.metrics.pages import EXPOSITION, JSON, Page, Pages
from nodeagent.metrics.resource_page import resource_page
from nodeagent.metrics.summary import boot_unix_s, pod_list, summary_page
from nodeagent.node_view import NodeView

DISK_AGE_S = 60.0


class NodePages:
    """Makes the pages. Disk figures are measured when a page shows them and they are a minute old."""

    def __init__(
        self,
        view: NodeView,
        meter: DiskMeter,
        series: CollectorRegistry,
        *,
        layout: CgroupLayout,
        node_name: str,
        link_of: Callable[[str], str],
    ) -> None:
        self._view, self._meter, self._series = view, meter, series
        self._layout, self._node_name, self._link_of = layout, node_name, link_of

    def table(self, healthy: Callable[[], bool]) -> Pages:
        """All pages."""
        return Pages(
            {
                "/metrics": Page(EXPOSITION, self._metrics),
                "/metrics/cadvisor": Page(EXPOSITION, self._cadvisor),
                "/metrics/resource": Page(EXPOSITION, self._resource),
                "/stats/summary": Page(JSON, self._summary),
                "/pods": Page(JSON, self._pods, private=True),
            },
            healthy=healthy,
        )

    async def _metrics(self, query: Mapping[str, str]) -> bytes:
        return await asyncio.to_thread(exposition, self._series)

    async def _cadvisor(self, query: Mapping[str, str]) -> bytes:
        return await asyncio.to_thread(cadvisor_page, await self._gather(disks=True))

    async def _resource(self, query: Mapping[str, str]) -> bytes:
        return await asyncio.to_thread(resource_page, await self._gather(disks=False))

    async def _summary(self, query: Mapping[str, str]) -> bytes:
        brief = query.get("only_cpu_and_memory") == "true"
        view = await self._gather(disks=not brief)
        return await asyncio.to_thread(lambda: summary_page(view, only_cpu_and_memory=brief))

    async def _pods(self, query: Mapping[str, str]) -> bytes:
        return pod_list([{"kind": "Pod", "apiVersion": "v1", **pod.pod} for pod in self._view.pods()])

    async def _gather(self, *, disks: bool) -> PageView:
        pods = self._view.pods()
        if disks:
            await self._meter.measure([pod.places for pod in pods], older_than_s=DISK_AGE_S)
        return PageView(
            round=self._view.newest(),
            pods=pods,
            disks={pod.uid: disk for pod in pods if (disk := self._meter.disk(pod.uid)) is not None},
            links={(namespace_of(pod.pod), name_of(pod.pod)): self._link_of(pod.uid) for pod in pods},
            layout=self._layout,
            data_dir=self._view.data_dir,
            recent=self._view.recent(),
            node_name=self._node_name,
            boot_unix_s=boot_unix_s(),
        )
