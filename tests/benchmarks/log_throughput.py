"""How much a container can write while its log keeps up, and whether one who follows the log misses a line.

At full speed the log's writer, conmon, is the limit, and a container that writes faster waits for it. At 50 MB/s the
log is followed as ``kubectl logs -f`` follows it, while it is rotated again and again.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from nodeagent.log_rotation import LogBounds, keep_logs_small
from nodeagent.logs import LogOptions, read_log
from nodeagent.pod_worker import PodWorker
from nodeagent.streams.container_logs import PodRunLogs
from tests.integration.agent_lab import Node, deleted, main_status, pod_of

LINE_BYTES = 128
LINES = 1_500_000
BURST_LINES = 20_480
BURSTS = 80
BURST_PERIOD_S = 0.05
ROTATED_AT_BYTES = 40 << 20
Row = tuple[str, float, str, str]


async def measure_logs(node: Node, name: str) -> list[Row]:
    """Rows of figures for one node."""
    full, lines = await _full_speed(node, f"{name}-full")
    paced, followed = await _paced(node, f"{name}-paced")
    lost = LINES - lines + BURSTS * BURST_LINES - followed
    return [
        (f"{name}: log, as fast as a container writes", full, "MB/s", ">= 50"),
        (f"{name}: log, followed through rotations", paced, "MB/s", ""),
        (f"{name}: log, lines lost", float(lost), "lines", "= 0"),
    ]


async def _full_speed(node: Node, name: str) -> tuple[float, int]:
    """Megabytes a second, and lines in the log."""
    worker = await _begin(node, name, f"yes {'x' * (LINE_BYTES - 1)} | head -n {LINES}")
    began = time.perf_counter()
    await _ended(node, worker)
    rate = LINES * LINE_BYTES / (time.perf_counter() - began) / 1e6
    with node.context.starter.log_path(worker.pod, "main", 0).open("rb") as log:
        lines = sum(1 for _ in log)
    await _remove(node, worker)
    return rate, lines


async def _paced(node: Node, name: str) -> tuple[float, int]:
    """Megabytes a second that were followed, and lines."""
    burst = f"yes {'x' * (LINE_BYTES - 1)} | head -n {BURST_LINES} >/burst"
    script = f"{burst}; for each in $(seq {BURSTS}); do cat /burst; sleep {BURST_PERIOD_S}; done"
    worker = await _begin(node, name, script)
    run = worker.state.container("main").record.run
    assert run is not None
    logs = PodRunLogs(worker, "main", node.context.starter)

    def running() -> list[tuple[str, Path]]:
        return [(run.id, logs.file(0))]

    bounds = LogBounds(ROTATED_AT_BYTES, BURST_PERIOD_S)
    rotating = asyncio.create_task(keep_logs_small(running, node.containers, bounds))
    began, lines = time.perf_counter(), 0
    try:
        async for data in read_log(logs, 0, LogOptions(follow=True)):
            lines += data.count(b"\n")
    finally:
        rotating.cancel()
    rate = lines * LINE_BYTES / (time.perf_counter() - began) / 1e6
    await _remove(node, worker)
    return rate, lines


async def _begin(node: Node, name: str, script: str) -> PodWorker:
    worker = node.add(pod_of(script, name=name, spec={"restartPolicy": "Never"}))
    while "running" not in main_status(worker).get("state", {}):
        node.reports.changed.clear()
        await node.reports.changed.wait()
    return worker


async def _ended(node: Node, worker: PodWorker) -> None:
    while "terminated" not in main_status(worker).get("state", {}):
        node.reports.changed.clear()
        await node.reports.changed.wait()


async def _remove(node: Node, worker: PodWorker) -> None:
    worker.update(deleted(worker.pod, 0))
    await node.reports.until(lambda: worker.over)
