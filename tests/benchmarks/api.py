"""What the API server answers in a second, how soon watchers know, and what it costs. Prints one line a figure.

    python -m tests.benchmarks.api [--only get,list,...] [--seconds 5]

It starts etcd and one ``flotilla server`` in a temporary directory and asks over TLS with a client certificate; the
load comes from processes of its own (:mod:`tests.benchmarks.api_load`) on the same machine. Beside each rate stands
the CPU time that one request took of the server, of etcd and of the load generator: on a machine that others use too,
compare those, and with the floor that is measured first, for the rate is only what was left.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from controlplane.pki import ensure_cluster_pki
from controlplane.store.keys import object_key
from flotilla.api.objects import KubeObject, encode
from flotilla.api.resources import CONFIG_MAPS, NAMESPACES, NODES, PODS
from tests.benchmarks import api_objects
from tests.benchmarks.api_load import Spec, percentile
from tests.benchmarks.api_server import Client, Lab, anonymous_bytes, cpu_s, lab
from tests.benchmarks.api_session import session

IN_FLIGHT = (16, 64)
WATCHERS = (50, 1000)
WRITES_A_SECOND = 20
FEWEST_WRITES = 200
MIXED_PODS = 10_000
MEMORY_PODS = 50_000
SETTLE_S = 5.0
_PODS = "/api/v1/namespaces/load/pods"


def report(name: str, value: float, unit: str, asked: str = "") -> None:
    print(f"{name:<58} {value:>10.1f} {unit:<8} {asked}", flush=True)


async def start_generator(spec: Spec) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.api_load", json.dumps(asdict(spec))),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        limit=1 << 26,
    )


async def result_of(generator: asyncio.subprocess.Process) -> dict[str, Any]:
    assert generator.stdout is not None
    line = await generator.stdout.readline()
    await generator.wait()
    found: dict[str, Any] = json.loads(line)
    return found


class Benchmark:
    """The stories, on one lab."""

    def __init__(self, bench: Lab, *, seconds: float) -> None:
        self._lab = bench
        self._seconds = seconds

    def _spec(self, story: str, connections: int, *paths: str, **more: Any) -> Spec:
        known: dict[str, Any] = {"port": self._lab.port, "pki": str(self._lab.pki), "seconds": self._seconds}
        return Spec(story=story, connections=connections, paths=list(paths), **(known | more))

    async def _rate(self, name: str, spec: Spec, asked: str = "") -> None:
        """Run a closed loop of requests and report its rate and what a request costs whom."""
        before = cpu_s(self._lab.pid), cpu_s(self._lab.etcd.pid)
        found = await result_of(await start_generator(spec))
        server_s, etcd_s = cpu_s(self._lab.pid) - before[0], cpu_s(self._lab.etcd.pid) - before[1]
        count = found["requests"]
        if found["failures"]:
            report(f"{name}: FAILED", found["failures"], "requests", found["example"].splitlines()[0])
        report(f"{name}, {spec.connections} in flight", count / found["elapsed_s"], "/s", asked)
        report("  median", found["median_s"] * 1e3, "ms")
        report("  p99", found["p99_s"] * 1e3, "ms")
        for who, used_s in (("server", server_s), ("etcd", etcd_s), ("load generator", found["cpu_s"])):
            report(f"  CPU of the {who}", used_s / count * 1e6, "us each")

    async def get(self) -> None:
        """GET of one pod, after what a web server that does nothing takes for as many bytes."""
        pod = _named(api_objects.pod(1, "load"), "one")
        await self._store({object_key(PODS, "load", "one"): pod})
        await self._floor(len(encode(pod)))
        for connections in IN_FLIGHT:
            await self._rate("GET of a pod", self._spec("get", connections, f"{_PODS}/one"), ">= 14000")

    async def _floor(self, size_bytes: int) -> None:
        command = (sys.executable, "-m", "tests.benchmarks.api_floor", str(self._lab.pki), str(size_bytes))
        pipe = asyncio.subprocess.PIPE
        server = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=Path(__file__).parents[2])
        assert server.stdin is not None
        assert server.stdout is not None
        port = int(await server.stdout.readline())
        before_s = cpu_s(server.pid)
        found = await result_of(await start_generator(self._spec("get", IN_FLIGHT[-1], "/", port=port)))
        used_s = cpu_s(server.pid) - before_s
        server.stdin.close()
        await server.wait()
        report(f"floor: bare web server, {IN_FLIGHT[-1]} in flight", found["requests"] / found["elapsed_s"], "/s")
        report("  CPU of the server", used_s / found["requests"] * 1e6, "us each")

    async def list(self) -> None:
        """Consistent LISTs of 1,000 and 10,000 ConfigMaps of 1 KB."""
        for number, asked in ((1000, ">= 300"), (10_000, "")):
            await self._fill(f"list-{number}", number)
            path = f"/api/v1/namespaces/list-{number}/configmaps"
            for connections in IN_FLIGHT if number == 1000 else IN_FLIGHT[:1]:
                await self._rate(f"LIST of {number} ConfigMaps", self._spec("list", connections, path), asked)
            if number == 1000:
                cached = self._spec("list", IN_FLIGHT[0], f"{path}?resourceVersion=0")
                await self._rate("LIST of 1000 with resourceVersion=0", cached)

    async def writes(self) -> None:
        """POST and merge PATCH of objects of 1 KB."""
        await self._store({object_key(NAMESPACES, "", "writes"): api_objects.namespace("writes")})
        path = "/api/v1/namespaces/writes/configmaps"
        for connections in IN_FLIGHT:
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{connections}-{{n}}"}}
            text = encode(body | {"data": {"n": "0", "text": "x" * 1000}}).decode()
            post = self._spec("post", connections, path, method="POST", body=text)
            await self._rate("POST of 1 KB", post, ">= 2740, aim 3000")
        await self._fill("patched", 1000)
        for connections in IN_FLIGHT:
            patch = self._spec(
                *("patch", connections, "/api/v1/namespaces/patched/configmaps/c{n}"),
                method="PATCH",
                body='{"data":{"n":"{n}"}}',
                content_type="application/merge-patch+json",
                first_number=10000,
                numbers=1000,
            )
            await self._rate("merge PATCH of 1 KB", patch, ">= 1720, aim 2500")

    async def fan_out(self) -> None:
        """From the reply to a PATCH to the last watcher's event."""
        await self._fill("watched", 1)
        async with self._lab.client() as client:
            await client.until_named("/api/v1/namespaces/watched/configmaps", "kube-root-ca.crt")
        for watchers, asked in zip(WATCHERS, ("p99 <= 3", "p99 <= 40"), strict=True):
            await self._fan_out(watchers, asked)

    async def _fan_out(self, watchers: int, asked: str) -> None:
        path = "/api/v1/namespaces/watched/configmaps"
        writes = max(FEWEST_WRITES, int(self._seconds * WRITES_A_SECOND))
        watch = self._spec("watch", watchers, f"{path}?watch=1&resourceVersion=", events=writes, seconds=60.0)
        async with self._lab.client() as client:
            listed = await client.ask("GET", path)
            revision = listed["metadata"]["resourceVersion"]
            watching = await start_generator(_with_path(watch, watch.paths[0] + revision))
            assert watching.stdout is not None
            assert await watching.stdout.readline() == b"open\n"
            before_s = cpu_s(self._lab.pid)
            replied_s = [await self._touch(client, f"{path}/c10000") async for _ in _paced(writes)]
        found = await result_of(watching)
        lags_ms = [(last - replied) * 1e3 for last, replied in zip(found["last_s"], replied_s, strict=False)]
        lost = writes * watchers - sum(found["counts"][:writes])
        report(f"fan-out to {watchers} watchers, p50", statistics.median(lags_ms), "ms")
        report(f"fan-out to {watchers} watchers, p99", percentile(lags_ms, 0.99), "ms", asked)
        report("  events lost", lost, "")
        report("  CPU of the server", (cpu_s(self._lab.pid) - before_s) / writes / watchers * 1e6, "us each")
        report("  CPU of the watching process", found["cpu_s"] / writes / watchers * 1e6, "us each")

    async def _touch(self, client: Client, path: str) -> float:
        patch = {"data": {"n": str(time.monotonic_ns())}}
        await client.ask("PATCH", path, patch, content_type="application/merge-patch+json")
        return time.monotonic()

    async def mixed(self) -> None:
        """GETs while others show 10,000 pods as kubectl does and apply definitions of custom resources."""
        pods = [api_objects.pod(number, "mixed") for number in range(MIXED_PODS)]
        objects = {object_key(PODS, "mixed", pod["metadata"]["name"]): pod for pod in pods}
        await self._store(objects | {object_key(NAMESPACES, "", "mixed"): api_objects.namespace("mixed")})
        await asyncio.sleep(SETTLE_S)
        pki = ensure_cluster_pki(self._lab.pki)
        async with self._lab.client() as client, session(pki, self._lab.dispatcher_port) as kept:
            before, left = await client.lags(), self._lab.leaderships_lost()
            tables = await start_generator(self._spec("tables", 3, "/api/v1/namespaces/mixed/pods"))
            one = f"/api/v1/namespaces/mixed/pods/{pods[7]['metadata']['name']}"
            gets = await start_generator(self._spec("get", 4, one, pause_s=0.01))
            applying = asyncio.create_task(_apply_definitions(client, self._seconds))
            lists, singles, applied = await result_of(tables), await result_of(gets), await applying
            lags = {bound: count - before.get(bound, 0) for bound, count in (await client.lags()).items()}
            ended = kept.ended
        report("mixed: get pods (Table, gzip) of 10,000", lists["lists"] / lists["elapsed_s"], "/s")
        report("mixed: definitions applied", applied / self._seconds, "/s")
        report("mixed: GET median", singles["median_s"] * 1e3, "ms")
        report("mixed: GET p99", singles["p99_s"] * 1e3, "ms", "<= 50")
        samples = max(lags.values())
        worst_s = min(bound for bound, count in lags.items() if count == samples)
        report("mixed: loop lag, of which half", _bound(lags, samples * 0.5) * 1e3, "ms or less")
        report("mixed: worst loop lag", worst_s * 1e3, "ms or less", "<= 100")
        report("mixed: leaderships lost", self._lab.leaderships_lost() - left, "", "0")
        report("mixed: sessions lost", ended, "", "0")
        failures = lists["failures"] + singles["failures"]
        report(
            "mixed: failed requests", failures, "", "0" if not failures else f"{lists['example'] or singles['example']}"
        )

    async def _store(self, objects: dict[str, KubeObject]) -> None:
        revision = await self._lab.store_objects(objects)
        async with self._lab.client() as client:
            await client.until_seen(revision)

    async def _fill(self, namespace: str, number: int) -> None:
        made = {object_key(NAMESPACES, "", namespace): api_objects.namespace(namespace)}
        for index in range(10_000, 10_000 + number):
            made[object_key(CONFIG_MAPS, namespace, f"c{index}")] = api_objects.config_map(f"c{index}", namespace)
        await self._store(made)


async def memory(bench: Lab) -> None:
    """What a pod in the cache costs: the memory of a server that starts with 50,000 of them, and of one without."""
    async with bench.serving():
        await asyncio.sleep(SETTLE_S)
        empty = anonymous_bytes(bench.pid)
    made = [api_objects.pod(number, "memory") for number in range(MEMORY_PODS)]
    objects = {object_key(PODS, "memory", pod["metadata"]["name"]): pod for pod in made}
    size = statistics.mean(len(encode(pod)) for pod in made[:100])
    await bench.store_objects(objects | {object_key(NAMESPACES, "", "memory"): api_objects.namespace("memory")})
    async with bench.serving():
        await asyncio.sleep(SETTLE_S)
        full = anonymous_bytes(bench.pid)
    report("JSON of a pod", size / 1024, "KB")
    report("memory of the server, empty", empty / 2**20, "MB")
    report(f"memory of the server, {MEMORY_PODS} pods", full / 2**20, "MB")
    report("memory for each pod", (full - empty) / MEMORY_PODS / 1024, "KB", "<= 10")


def _bound(lags: Mapping[float, float], count: float) -> float:
    """The smallest bound that so many stay within."""
    return min(bound for bound, within in lags.items() if within >= count)


def _named(obj: KubeObject, name: str) -> KubeObject:
    return obj | {"metadata": obj["metadata"] | {"name": name}}


def _with_path(spec: Spec, path: str) -> Spec:
    return Spec(**asdict(spec) | {"paths": [path]})


async def _paced(writes: int) -> Any:
    for number in range(writes):
        yield number
        await asyncio.sleep(1 / WRITES_A_SECOND)


async def _apply_definitions(client: Client, seconds: float) -> int:
    """Create definitions of custom resources, one every 300 ms, and delete each again; how many."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    deadline_s, applied = time.monotonic() + seconds, 0
    while time.monotonic() < deadline_s:
        plural = f"things{applied}"
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
        names = {
            "plural": plural,
            "singular": f"thing{applied}",
            "kind": f"Thing{applied}",
            "listKind": f"T{applied}List",
        }
        spec = {"group": "bench.example.com", "scope": "Namespaced", "names": names, "versions": [version]}
        metadata = {"name": f"{plural}.bench.example.com"}
        body = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": metadata}
        try:
            await client.ask("POST", path, body | {"spec": spec})
        except RuntimeError as error:
            print(f"  definitions can't be applied: {str(error)[:200]}", flush=True)
            return applied
        applied += 1
        await asyncio.sleep(0.3)
    return applied


async def run(only: Sequence[str], seconds: float) -> None:
    with lab() as bench:
        stories = Benchmark(bench, seconds=seconds)
        known: dict[str, Callable[[], Awaitable[None]]] = {
            "get": stories.get,
            "list": stories.list,
            "writes": stories.writes,
            "fan-out": stories.fan_out,
            "mixed": stories.mixed,
        }
        unknown = set(only) - known.keys() - {"memory"}
        if unknown:
            raise SystemExit(f"no such story: {', '.join(sorted(unknown))}; there are {', '.join(known)}, memory")
        chosen = [known[name] for name in known if not only or name in only]
        if chosen:
            await bench.store_objects(
                {object_key(NODES, "", name): api_objects.node(name) for name in api_objects.NODES}
            )
            async with bench.serving():
                await bench.store_objects({object_key(NAMESPACES, "", "load"): api_objects.namespace("load")})
                for story in chosen:
                    await story()
    if not only or "memory" in only:
        with lab() as bench:
            await bench.store_objects(
                {object_key(NODES, "", name): api_objects.node(name) for name in api_objects.NODES}
            )
            await memory(bench)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default="", help="stories, separated by commas")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each load lasts")
    options = parser.parse_args()
    asyncio.run(run([name for name in options.only.split(",") if name], options.seconds))


if __name__ == "__main__":
    main()
