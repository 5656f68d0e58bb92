"""How fast a running cluster does what users wait for, and what it costs. Prints one line a figure.

    python -m tests.benchmarks.workloads --kubeconfig /var/lib/flotilla/admin.kubeconfig --data-dir /var/lib/flotilla

Every figure is the median of its repetitions on this machine in this run; absolute times drift between machines, so
compare ratios of one run. Each repetition cleans up after itself and waits until its objects are gone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flotilla.api.objects import KubeObject
from tests.benchmarks.client import Client, PodWatch, is_ready
from tests.benchmarks.processes import Usage, first_process_of, usage_by_role

NAMESPACE = "benchmark"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
IMAGE = "flotilla.dev/sample:v1"
READINESS = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1}


def report(name: str, value: float, unit: str, asked: str = "") -> None:
    print(f"{name:<48} {value:>9.1f} {unit:<8} {asked}", flush=True)


def pod_spec(*, probe: bool = False) -> KubeObject:
    container: KubeObject = {
        "name": "web",
        "image": IMAGE,
        "resources": {"requests": {"cpu": "10m", "memory": "8Mi"}, "limits": {"memory": "64Mi"}},
    }
    if probe:
        container["readinessProbe"] = READINESS
    return {"containers": [container], "terminationGracePeriodSeconds": 5}


def deployment(name: str, replicas: int, *, probe: bool = False) -> KubeObject:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod_spec(probe=probe)}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def ready_count(count: int) -> Callable[[list[KubeObject]], bool]:
    return lambda pods: len(pods) == count and all(is_ready(pod) for pod in pods)


def none_left(pods: list[KubeObject]) -> bool:
    return not pods


class Workloads:
    """The measured stories, on one client and one watch."""

    def __init__(self, client: Client, watch: PodWatch, *, data_dir: str, repetitions: int) -> None:
        self._client = client
        self._watch = watch
        self._data_dir = data_dir
        self._repetitions = repetitions

    async def one_pod(self) -> None:
        times_ms = []
        for index in range(self._repetitions * 3):
            metadata = {"name": f"single-{index}"}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec()}
            started = time.monotonic()
            await self._client.request("POST", PODS, pod)
            times_ms.append((await self._watch.until(ready_count(1)) - started) * 1000)
            await self._client.request("DELETE", f"{PODS}/single-{index}")
            await self._watch.until(none_left)
        report("one pod, request to Ready", statistics.median(times_ms), "ms", "<= 120")
        report("one pod, request to Ready, worst", max(times_ms), "ms")

    async def replicas(self, count: int) -> None:
        times_s = []
        for _ in range(self._repetitions):
            started = time.monotonic()
            await self._client.request("POST", DEPLOYMENTS, deployment("many", count))
            times_s.append(await self._watch.until(ready_count(count)) - started)
            await self._delete_deployment("many")
        median_s = statistics.median(times_s)
        report(f"{count} replicas to all Ready", median_s * 1000, "ms")
        report(f"{count} replicas, rate", count / median_s, "pods/s", ">= 20" if count == 50 else "")

    async def crash(self) -> None:
        await self._client.request("POST", DEPLOYMENTS, deployment("crash", 1))
        times_ms = []
        for _ in range(self._repetitions):
            await self._watch.until(ready_count(1))
            pod = self._watch.pods()[0]
            restarts = pod["status"]["containerStatuses"][0]["restartCount"]
            pid = first_process_of(pod["metadata"]["uid"])
            started = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            times_ms.append((await self._watch.until(_restarted(restarts + 1)) - started) * 1000)
            await self._replace_pod()
        await self._delete_deployment("crash")
        report("kill -9 of the first process to running again", statistics.median(times_ms), "ms", "<= 70")

    async def scale(self) -> None:
        await self._client.request("POST", DEPLOYMENTS, deployment("scaled", 10))
        up_ms, down_ms = [], []
        for _ in range(self._repetitions):
            await self._watch.until(ready_count(10))
            up_ms.append(await self._scale_to(30))
            down_ms.append(await self._scale_to(10))
        await self._delete_deployment("scaled")
        report("scale 10 to 30, all Ready", statistics.median(up_ms), "ms", "<= 1200")
        report("scale 30 to 10, objects gone", statistics.median(down_ms), "ms")

    async def delete_30(self) -> None:
        times_ms = []
        for _ in range(self._repetitions):
            await self._client.request("POST", DEPLOYMENTS, deployment("doomed", 30))
            await self._watch.until(ready_count(30))
            times_ms.append(await self._delete_deployment("doomed") * 1000)
        report("delete 30, objects gone", statistics.median(times_ms), "ms", "<= 1500")

    async def memory_and_idle_cpu(self, idle_s: float) -> None:
        await asyncio.sleep(3)
        _report_memory("0 pods", usage_by_role(self._data_dir))
        for probe in (False, True):
            await self._client.request("POST", DEPLOYMENTS, deployment("idle", 50, probe=probe))
            await self._watch.until(ready_count(50))
            await asyncio.sleep(5)
            before = usage_by_role(self._data_dir)
            await asyncio.sleep(idle_s)
            after = usage_by_role(self._data_dir)
            label = "50 pods with 1 s readiness probes" if probe else "50 pods"
            if not probe:
                _report_memory(label, after)
            _report_idle_cpu(label, before, after, idle_s)
            await self._delete_deployment("idle")

    async def _scale_to(self, count: int) -> float:
        started = time.monotonic()
        body = {"spec": {"replicas": count}}
        path = f"{DEPLOYMENTS}/scaled/scale"
        await self._client.request("PATCH", path, body, content_type="application/merge-patch+json")
        return (await self._watch.until(ready_count(count)) - started) * 1000

    async def _replace_pod(self) -> None:
        """A fresh pod, whose first crash restarts without back-off."""
        name = self._watch.pods()[0]["metadata"]["name"]
        await self._client.request("DELETE", f"{PODS}/{name}")
        await self._watch.until(lambda pods: all(pod["metadata"]["name"] != name for pod in pods))

    async def _delete_deployment(self, name: str) -> float:
        started = time.monotonic()
        await self._client.request("DELETE", f"{DEPLOYMENTS}/{name}")
        return await self._watch.until(none_left) - started


def _restarted(restarts: int) -> Callable[[list[KubeObject]], bool]:
    def holds(pods: list[KubeObject]) -> bool:
        statuses: list[Any] = [pod["status"].get("containerStatuses") or [{}] for pod in pods]
        return any(row[0].get("restartCount") == restarts and "running" in row[0].get("state", {}) for row in statuses)

    return holds


def _report_memory(label: str, usage: dict[str, Usage]) -> None:
    for role, figures in sorted(usage.items()):
        report(f"{label}: {role} x{figures.processes} PSS", figures.pss_bytes / 2**20, "MiB")
        report(f"{label}: {role} x{figures.processes} RSS", figures.rss_bytes / 2**20, "MiB")
    both = sum(usage[role].pss_bytes for role in ("server", "agent") if role in usage)
    everything = both + sum(usage[role].pss_bytes for role in ("etcd", "conmon") if role in usage)
    report(f"{label}: server + agent PSS", both / 2**20, "MiB", "<= 150 at 50 pods")
    report(f"{label}: with etcd and conmons PSS", everything / 2**20, "MiB", "<= 250 at 50 pods")


def _report_idle_cpu(label: str, before: dict[str, Usage], after: dict[str, Usage], idle_s: float) -> None:
    total = 0.0
    for role in ("server", "agent", "etcd", "conmon"):
        if role in before and role in after:
            percent = (after[role].cpu_s - before[role].cpu_s) / idle_s * 100
            total += percent
            report(f"{label}: idle CPU {role}", percent, "% core")
    report(f"{label}: idle CPU of all four", total, "% core", "<= 2 without probes")


async def run(arguments: argparse.Namespace) -> None:
    async with Client.from_kubeconfig(arguments.kubeconfig) as client:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        await client.request("POST", "/api/v1/namespaces", namespace)
        try:
            async with client.watch_pods(NAMESPACE) as watch:
                stories = Workloads(client, watch, data_dir=arguments.data_dir, repetitions=arguments.repetitions)
                await stories.one_pod()
                await stories.replicas(10)
                await stories.replicas(50)
                await stories.crash()
                await stories.scale()
                await stories.delete_30()
                await stories.memory_and_idle_cpu(arguments.idle_seconds)
        finally:
            await client.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig", type=Path, default=Path("/var/lib/flotilla/admin.kubeconfig"))
    parser.add_argument("--data-dir", default="/var/lib/flotilla", help="tells the cluster's processes from others")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--idle-seconds", type=float, default=20)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
