"""Real load on real containers, stepping from idle to a multiple of the target: how fast pods come, and how they go.

    python -m tests.benchmarks.load_steps --kubeconfig /var/lib/flotilla/admin.kubeconfig

Requests are made at a fixed rate, whether earlier ones were answered or not: waiting shows as latency, and not
as less load. Sizes are such that all pods at their limits and the load together fit two cores. ``behavior`` names what
the manifest says: nothing (Kubernetes' defaults: 4 pods or 100 % in 15 s), a behavior that allows ten times at once, or
the defaults with the annotations for panic and saturation.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from flotilla.api.objects import KubeObject
from tests.benchmarks.client import Client, PodWatch, is_ready

NAMESPACE = "load-steps"
REQUEST_MILLIS, LIMIT_MILLIS, TARGET_PERCENT = 60, 120, 50
BURN_MS = 5
WINDOW_S = 15
AT_ONCE = {"scaleUp": {"policies": [{"type": "Percent", "value": 1000, "periodSeconds": 15}]}}
ANNOTATED = {"flotilla.dev/panic-threshold": "2", "flotilla.dev/saturation-aware": "true"}
BEHAVIORS: dict[str, tuple[KubeObject, KubeObject]] = {
    "defaults": ({}, {}),
    "ten times at once": (AT_ONCE, {}),
    "panic and saturation": ({}, ANNOTATED),
}


@dataclass
class Load:
    """Requests at a fixed rate until stopped; what came of them."""

    url: str
    rate: float
    latencies_ms: list[float] = field(default_factory=list)
    failed: int = 0

    async def run(self, session: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        began, made, tasks = time.monotonic(), 0, set[asyncio.Task[None]]()
        while not stop.is_set():
            due = began + made / self.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self._ask(session))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            made += 1
        await asyncio.gather(*tasks)

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        began = time.monotonic()
        try:
            async with session.get(self.url) as reply:
                await reply.read()
                if reply.status != 200:
                    self.failed += 1
        except (aiohttp.ClientError, TimeoutError):
            self.failed += 1
        else:
            self.latencies_ms.append((time.monotonic() - began) * 1000)


def _objects(name: str, behavior: KubeObject, annotations: KubeObject) -> dict[str, KubeObject]:
    labels = {"app": name}
    container: KubeObject = {
        "name": "web",
        "image": "flotilla.dev/sample:v1",
        "ports": [{"containerPort": 8080}],
        "resources": {
            "requests": {"cpu": f"{REQUEST_MILLIS}m", "memory": "16Mi"},
            "limits": {"cpu": f"{LIMIT_MILLIS}m", "memory": "64Mi"},
        },
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "timeoutSeconds": 5},
    }
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    utilization = {"type": "Utilization", "averageUtilization": TARGET_PERCENT}
    scaler = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": 1,
        "maxReplicas": 10,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": utilization}}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": WINDOW_S}, **behavior},
    }
    metadata = {"name": name}
    return {
        "/apis/apps/v1/namespaces/{}/deployments": {
            "metadata": metadata,
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        },
        "/api/v1/namespaces/{}/services": {
            "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
        },
        "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers": {
            "metadata": {"name": name, "annotations": annotations},
            "spec": scaler,
        },
    }


async def _step(client: Client, watch: PodWatch, *, times: int, name: str, seconds: float) -> None:
    behavior, annotations = BEHAVIORS[name]
    for path, body in _objects("web", behavior, annotations).items():
        await client.request("POST", path.format(NAMESPACE), body)
    service = await client.request("GET", f"/api/v1/namespaces/{NAMESPACE}/services/web")
    await watch.until(lambda pods: _ready(pods) == 1)
    await asyncio.sleep(8)
    # A request burns BURN_MS and what serving it costs, about half as much again.
    rate = times * REQUEST_MILLIS * TARGET_PERCENT / 100 / (BURN_MS * 1.5)
    load, stop = Load(f"http://{service['spec']['clusterIP']}/burn?ms={BURN_MS}", rate), asyncio.Event()
    timeout = aiohttp.ClientTimeout(total=20)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        began = time.monotonic()
        asking = asyncio.create_task(load.run(session, stop))
        first = await watch.until(lambda pods: _ready(pods) > 1) - began
        enough, needed = 0.0, max(2, round(times * 0.8))
        try:
            enough = await watch.until(lambda pods: _ready(pods) >= needed, timeout_s=seconds) - began
        except TimeoutError:
            enough = float("nan")
        await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
        most = _ready(watch.pods())
        stop.set()
        await asking
        ended = time.monotonic()
        down = await watch.until(lambda pods: _wanted(pods) < most) - ended
        one = await watch.until(lambda pods: _wanted(pods) == 1) - ended
    worst = sorted(load.latencies_ms)[int(len(load.latencies_ms) * 0.99)]
    print(
        f"{times:>2}x {name:<22} first {first:4.1f} s  {needed:>2} pods {enough:5.1f} s  most {most:>2}  "
        f"{len(load.latencies_ms):>5} answered, {load.failed} failed, median "
        f"{statistics.median(load.latencies_ms):4.0f} ms, p99 {worst:5.0f} ms  "
        f"down after {down:4.1f} s, one after {one:4.1f} s",
        flush=True,
    )
    for path in _objects("web", {}, {}):
        await client.request("DELETE", f"{path.format(NAMESPACE)}/web")
    await watch.until(lambda pods: not pods)


def _ready(pods: list[KubeObject]) -> int:
    return sum(is_ready(pod) for pod in pods)


def _wanted(pods: list[KubeObject]) -> int:
    return sum("deletionTimestamp" not in pod["metadata"] for pod in pods)


async def run(arguments: argparse.Namespace) -> None:
    async with Client.from_kubeconfig(arguments.kubeconfig) as client:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        await client.request("POST", "/api/v1/namespaces", namespace)
        try:
            async with client.watch_pods(NAMESPACE) as watch:
                for name in BEHAVIORS:
                    for times in (5, 10):
                        await _step(client, watch, times=times, name=name, seconds=arguments.seconds)
        finally:
            await client.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig", type=Path, default=Path("/var/lib/flotilla/admin.kubeconfig"))
    parser.add_argument("--seconds", type=float, default=40, help="of load for each step")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
