"""What start pacing is good for: a herd of pods that use CPU until they are ready, with and without it.

    sudo python -m tests.benchmarks.start_pacing [--pods 50] [--work 500000]

Every pod counts to ``--work`` in a shell before it is ready. A liveness probe allows it five seconds to begin with and
three failures, a second apart, which is ample for one alone. Both ways run on the pod side of an agent, with real
containers, one after the other, a minute each at most: time from the first assignment to ready of the first, the median
and the last pod, failures of the probe, and containers that were restarted for it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from dataclasses import replace
from pathlib import Path

from nodeagent.pacing import ANNOTATION, StartPacer
from tests.directories import passable_directory
from tests.integration.agent_lab import Bench, is_ready, main_status, pod_of, running_bench

TOO_LONG_S = 60.0


async def _herd(directory: Path, *, pods: int, work: int, paced: bool) -> str:
    async with running_bench(directory) as bench:
        return await _measured(bench, pods=pods, work=work, paced=paced)


async def _measured(bench: Bench, *, pods: int, work: int, paced: bool) -> str:
    node = bench.node()
    node.context = replace(node.context, pacer=StartPacer())
    probe = {"exec": {"command": ["test", "-f", "/ok"]}, "periodSeconds": 1}
    script = f"i=0; while [ $i -lt {work} ]; do i=$((i+1)); done; touch /ok; exec sleep 1000"
    began, ready, stirred = time.monotonic(), dict[int, float](), asyncio.Event()
    workers = []
    for number in range(pods):
        pod = pod_of(script, name=f"herd-{number}", readinessProbe=probe)
        pod["spec"]["containers"][0]["livenessProbe"] = {**probe, "initialDelaySeconds": 5, "failureThreshold": 3}
        pod["spec"]["terminationGracePeriodSeconds"] = 0
        pod["metadata"]["annotations"] = {ANNOTATION: "true" if paced else "false"}
        workers.append(node.add(pod))
        workers[-1].listeners.add(stirred)

    def done() -> bool:
        now = time.monotonic() - began
        for index, worker in enumerate(workers):
            if is_ready(worker):
                ready.setdefault(index, now)
        return len(ready) == pods

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(TOO_LONG_S):
            while not done():
                stirred.clear()
                await stirred.wait()
    times = [*sorted(ready.values()), *[float("inf")] * (pods - len(ready))]
    failures = sum("Liveness probe failed" in event.message for event in node.reports.events)
    restarts = sum(main_status(worker)["restartCount"] for worker in workers)
    return (
        f"first {times[0]:.1f} s, median {times[pods // 2]:.1f} s, last {times[-1]:.1f} s; "
        f"{failures} failed probes, {restarts} restarts"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=50)
    parser.add_argument("--work", type=int, default=500_000)
    chosen = parser.parse_args()
    for paced in (True, False):
        with passable_directory() as directory:
            told = asyncio.run(_herd(directory, pods=chosen.pods, work=chosen.work, paced=paced))
        print(f"{'paced' if paced else 'all at once'}: {told}", flush=True)


if __name__ == "__main__":
    main()
