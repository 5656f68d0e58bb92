"""How fast a node starts, enters and restarts pods, by stage. Prints one line a figure for each OCI runtime.

    sudo python -m tests.benchmarks.node [--runtimes runc crun] [--pods 50 100] [--repetitions 30]

The pod side of an agent runs in this process, as it is, with pods' real networks in a network namespace of its own, the
image present, and no server: what is measured is what the agent itself takes from an assignment to the event Started.
The runtimes take turns, so that a busy machine slows both; CPU time is that of everything but the pods' own programs.

"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from nodeagent.cgroups import CgroupLayout
from nodeagent.network.pod_network import PodNetwork
from nodeagent.pod_worker import PodWorker
from nodeagent.runtime.runtimes import RuntimeName
from tests.benchmarks.log_throughput import measure_logs
from tests.directories import passable_directory
from tests.e2e.cluster import NetworkNamespace
from tests.integration.agent_lab import Bench, Node, deleted, pid_of, pod_of, running_bench

INSIDE = "FLOTILLA_BENCHMARK_INSIDE"
ASKED: dict[str, dict[str, str]] = {
    "runc": {"one pod": "<= 60", "pods/s": ">= 25", "crash": "<= 50", "exec": "<= 60"},
    "crun": {"one pod": "<= 40", "pods/s": ">= 40", "crash": "<= 50", "exec": "<= 60"},
}


def report(name: str, value: float, unit: str, asked: str = "") -> None:
    print(f"{name:<52} {value:>9.2f} {unit:<8} {asked}", flush=True)


class CpuMeter:
    """CPU time of this process and all that it starts, by a cgroup around it; pods are in cgroups of their own."""

    def __init__(self, layout: CgroupLayout) -> None:
        controller, self._file = ("cpuacct", "cpuacct.usage") if layout.version == 1 else ("cpu", "cpu.stat")
        self._directory = layout.directory(controller, f"/flotilla-benchmark-{os.getpid()}")

    def __enter__(self) -> Self:
        self._directory.mkdir()
        (self._directory / "cgroup.procs").write_text(str(os.getpid()))
        return self

    def __exit__(self, *_: object) -> None:
        (self._directory.parent / "cgroup.procs").write_text(str(os.getpid()))
        for pid in (self._directory / "cgroup.procs").read_text().split():
            (self._directory.parent / "cgroup.procs").write_text(pid)
        self._directory.rmdir()

    def read_s(self) -> float:
        words = (self._directory / self._file).read_text().split()
        return int(words[0]) / 1e9 if self._file == "cpuacct.usage" else int(words[1]) / 1e6


@dataclass
class Stages:
    """Times of the steps of starts, by name, in seconds."""

    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def time(self, owner: Any, method: str, name: str) -> None:
        """Note how long each call of a method takes, coroutine or not."""
        inner = getattr(owner, method)
        if asyncio.iscoroutinefunction(inner):

            async def waiting(*arguments: Any, **options: Any) -> Any:
                began = time.perf_counter()
                try:
                    return await inner(*arguments, **options)
                finally:
                    self.times[name].append(time.perf_counter() - began)

            setattr(owner, method, waiting)
            return

        def blocking(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return inner(*arguments, **options)
            finally:
                self.times[name].append(time.perf_counter() - began)

        setattr(owner, method, blocking)

    def report(self, label: str, total_s: float) -> None:
        rest = total_s
        for name, values in self.times.items():
            median = statistics.median(values)
            report(f"{label}:   {name}", median * 1000, "ms")
            rest -= 0 if name.startswith("  ") else median
        report(f"{label}:   loop, threads and records", rest * 1000, "ms")


@dataclass
class Subject:
    """One node under measurement."""

    name: str
    node: Node
    stages: Stages = field(default_factory=Stages)
    one_pod: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    crash: list[float] = field(default_factory=list)
    exec: list[float] = field(default_factory=list)
    stop: list[float] = field(default_factory=list)

    def forget(self) -> None:
        for times in (self.one_pod, self.cpu, self.crash, self.exec, self.stop):
            times.clear()

    def watch_stages(self) -> None:
        context, stages = self.node.context, self.stages
        stages.time(context.sandboxes, "prepare", "sandbox")
        stages.time(context.cgroups, "create_pod", "  of it cgroup")
        stages.time(context.sandboxes.network, "setup", "  of it network")
        stages.time(context.starter, "_configure", "root file system and configuration")
        stages.time(context.containers, "create", "conmon and create")
        stages.time(context.containers, "start", "start")

    async def started(self, workers: list[PodWorker]) -> None:
        """Wait for the event Started of every worker's pod, without polling."""
        reports = self.node.reports
        wanted = {worker.pod["metadata"]["uid"] for worker in workers}
        while True:
            reports.changed.clear()
            if wanted <= {event.involved["uid"] for event in reports.events if event.reason == "Started"}:
                return
            async with asyncio.timeout(60):
                await reports.changed.wait()

    async def gone(self, workers: list[PodWorker]) -> None:
        for worker in workers:
            worker.update(deleted(worker.pod, 0))
        await self.node.reports.until(lambda: all(worker.over for worker in workers))
        self.node.reports.events.clear()


def spec_of(index: int) -> dict[str, Any]:
    resources = {"requests": {"cpu": "10m", "memory": "8Mi"}, "limits": {"memory": "64Mi"}}
    return pod_of("exec sleep 100000", name=f"pod-{index}", resources=resources)


async def one_pod(subject: Subject, index: int, meter: CpuMeter) -> None:
    began, cpu_s = time.perf_counter(), meter.read_s()
    worker = subject.node.add(spec_of(index))
    await subject.started([worker])
    subject.one_pod.append(time.perf_counter() - began)
    subject.cpu.append(meter.read_s() - cpu_s)
    await execute(subject, worker)
    await crash(subject, worker)
    began = time.perf_counter()
    await subject.gone([worker])
    subject.stop.append(time.perf_counter() - began)


async def execute(subject: Subject, worker: PodWorker) -> None:
    run = worker.state.container("main").record.run
    assert run is not None
    began = time.perf_counter()
    completed = await subject.node.containers.execute(run.id, ["true"], timeout_s=10)
    subject.exec.append(time.perf_counter() - began)
    assert completed.code == 0, completed.output


async def crash(subject: Subject, worker: PodWorker) -> None:
    reports, pid = subject.node.reports, pid_of(subject.node, worker)
    reports.events.clear()
    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    await subject.started([worker])
    subject.crash.append(time.perf_counter() - began)


async def many(subject: Subject, count: int, meter: CpuMeter) -> tuple[float, float]:
    """Pods a second, from the first assignment to the last Started, and seconds of CPU for each."""
    began, cpu_s = time.perf_counter(), meter.read_s()
    workers = [subject.node.add(spec_of(index)) for index in range(count)]
    await subject.started(workers)
    rate, cost_s = count / (time.perf_counter() - began), (meter.read_s() - cpu_s) / count
    await subject.gone(workers)
    return rate, cost_s


async def measure(directory: Path, options: argparse.Namespace) -> None:
    async with running_bench(directory) as bench:
        subjects = [_subject(bench, name) for name in options.runtimes]
        network = PodNetwork("10.99.0.0/23", run_dir=directory / "run", table="flotilla-benchmark")
        with contextlib.closing(network), CpuMeter(bench.cgroups.layout) as meter:
            network.ensure_bridge()
            for subject in subjects:
                subject.node.context.sandboxes.network = network
                await one_pod(subject, 0, meter)
                subject.forget()
                subject.watch_stages()
            for index in range(options.repetitions):
                for subject in subjects:
                    await one_pod(subject, index, meter)
            for subject in subjects:
                _report_one(subject)
            for count in options.pods:
                await _report_many(subjects, count, meter, rounds=options.rounds)
            for subject in subjects:
                for name, value, unit, asked in await measure_logs(subject.node, subject.name):
                    report(name, value, unit, asked)
        shutil.rmtree(directory / "run/network")


async def _report_many(subjects: list[Subject], count: int, meter: CpuMeter, *, rounds: int) -> None:
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for _ in range(rounds):
        for subject in subjects:
            found[subject.name].append(await many(subject, count, meter))
    for name, rows in found.items():
        rates, costs = zip(*rows, strict=True)
        report(f"{name}: {count} pods", statistics.median(rates), "pods/s", ASKED[name]["pods/s"])
        report(f"{name}: {count} pods, CPU of each", statistics.median(costs) * 1000, "ms")


def _subject(bench: Bench, name: RuntimeName) -> Subject:
    return Subject(name, bench.node(runtime=name))


def _report_one(subject: Subject) -> None:
    name, asked = subject.name, ASKED[subject.name]
    median = statistics.median(subject.one_pod)
    report(f"{name}: one pod, assignment to Started", median * 1000, "ms", asked["one pod"])
    report(f"{name}: one pod, quickest", min(subject.one_pod) * 1000, "ms")
    report(f"{name}: one pod, worst", max(subject.one_pod) * 1000, "ms")
    report(f"{name}: one pod, CPU", statistics.median(subject.cpu) * 1000, "ms")
    subject.stages.report(name, median)
    report(f"{name}: kill -9 to running again", statistics.median(subject.crash) * 1000, "ms", asked["crash"])
    report(f"{name}: exec of true", statistics.median(subject.exec) * 1000, "ms", asked["exec"])
    report(f"{name}: one pod, delete to nothing left", statistics.median(subject.stop) * 1000, "ms")


def inside(enter: Callable[..., list[str]], module: str) -> None:
    """Run this command again in a network namespace of its own."""
    os.environ[INSIDE] = "1"
    command = enter(sys.executable, "-m", module, *sys.argv[1:])
    code = os.spawnvp(os.P_WAIT, command[0], command)
    if code:
        sys.exit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtimes", nargs="+", choices=("runc", "crun"), default=["runc", "crun"])
    parser.add_argument("--pods", nargs="*", type=int, default=[50, 100], help="how many at once")
    parser.add_argument("--repetitions", type=int, default=30, help="of a single pod")
    parser.add_argument("--rounds", type=int, default=3, help="of many pods at once")
    options = parser.parse_args()
    if INSIDE not in os.environ:
        network = NetworkNamespace()
        network.create()
        try:
            inside(network.enter, "tests.benchmarks.node")
        finally:
            network.delete()
        return
    with passable_directory() as directory:
        os.chdir(directory)
        asyncio.run(measure(directory, options))


if __name__ == "__main__":
    main()
