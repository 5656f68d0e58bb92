"""The whole control loop in virtual time: real cache, operations, controllers and scheduler on the in-memory store.

Time is the event loop's own and jumps to the next timer whenever nothing is ready to run, so that minutes pass in
milliseconds and every run with the same seed is the same. Nodes are simulated: they start what is bound to them and end
what is being deleted, after delays.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controlplane.api.operations import Operations
from controlplane.controllers import build_controllers
from controlplane.reconcile.events import EventRecorder
from controlplane.scheduler.scheduler import Scheduler
from controlplane.store.cache import Cache, CacheEvent, Entry, ResetError
from controlplane.store.memory import MemoryStore
from controlplane.store.store import Changes, Fence
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, is_deleting
from flotilla.api.registry import REGISTRY, Resource
from flotilla.api.resources import EVENTS, NAMESPACES, NODES, PODS

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
STEP_S = 0.01
TICK_S = 1e-6
RETRY_S = 0.5


class _VirtualSelector(selectors.BaseSelector):
    """Polls the real selector and advances the loop's clock instead of blocking."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.advance: Callable[[float], None] = lambda seconds: None

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing is left that could happen")
        if not ready and timeout:
            self.advance(timeout)
        return ready

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits; ``set_by_s`` is by how much somebody has set the wall clock."""

    def __init__(self) -> None:
        selector = _VirtualSelector()
        self._now_s = 0.0
        self.set_by_s = 0.0
        super().__init__(selector)
        selector.advance = self._advance

    def stand(self, seconds: float) -> None:
        """Let time pass in which nothing runs, as in a stopped process."""
        self._now_s += seconds

    def _advance(self, seconds: float) -> None:
        # A little more than asked for, so that no timer finds that its moment is a rounding error away.
        self._now_s += seconds + TICK_S

    def time(self) -> float:
        return self._now_s


def wall_clock() -> datetime:
    """The simulated wall clock."""
    loop = asyncio.get_running_loop()
    return EPOCH + timedelta(seconds=loop.time() + getattr(loop, "set_by_s", 0.0))


def steady_unix_s() -> float:
    """The simulated clock that nobody sets."""
    return EPOCH.timestamp() + asyncio.get_running_loop().time()


class LaggingStore(MemoryStore):
    """Writes take a while, and the watch tells of them later still, by chance."""

    def __init__(self, chance: random.Random, *, write_s: float, watch_s: float) -> None:
        super().__init__()
        self._chance = chance
        self._write_s = write_s
        self._watch_s = watch_s

    async def _delay(self, most_s: float) -> None:
        if most_s:
            await asyncio.sleep(self._chance.uniform(0.0, most_s))

    async def create(self, key: str, value: bytes, *, lease: int = 0, fence: Fence | None = None) -> int:
        await self._delay(self._write_s)
        return await super().create(key, value, lease=lease, fence=fence)

    async def update(self, key: str, value: bytes, *, expected: int, lease: int = 0, fence: Fence | None = None) -> int:
        await self._delay(self._write_s)
        return await super().update(key, value, expected=expected, lease=lease, fence=fence)

    async def delete(self, key: str, *, expected: int = 0, fence: Fence | None = None) -> int:
        await self._delay(self._write_s)
        return await super().delete(key, expected=expected, fence=fence)

    async def watch(self, *, start_revision: int, key: str = "") -> AsyncGenerator[Changes, None]:
        async for changes in super().watch(start_revision=start_revision, key=key):
            await self._delay(self._watch_s)
            yield changes


class SimulatedLiveness:
    """Sessions of the simulated nodes."""

    def __init__(self) -> None:
        self._silent_since: dict[str, float] = {}
        self._connected: set[str] = set()
        self._readers: list[asyncio.Queue[str]] = []

    def connect(self, node: str) -> None:
        self._connected.add(node)
        self._silent_since.pop(node, None)
        self._tell(node)

    def disconnect(self, node: str) -> None:
        self._connected.discard(node)
        self._silent_since[node] = asyncio.get_running_loop().time()
        self._tell(node)

    def _tell(self, node: str) -> None:
        for reader in self._readers:
            reader.put_nowait(node)

    def connected(self, node: str) -> bool:
        return node in self._connected

    def silent_for_s(self, node: str) -> float:
        now_s = asyncio.get_running_loop().time()
        return now_s - self._silent_since[node] if node in self._silent_since else 0.0

    def held_for_s(self, node: str) -> float:
        return 0.0

    async def changed(self) -> AsyncIterator[str]:
        reader: asyncio.Queue[str] = asyncio.Queue()
        self._readers.append(reader)
        while True:
            yield await reader.get()


class World:
    """A running control plane with simulated nodes."""

    def __init__(self, *, seed: int = 0, write_s: float = 0.0, watch_s: float = 0.0) -> None:
        self.chance = random.Random(seed)
        self.store = LaggingStore(self.chance, write_s=write_s, watch_s=watch_s)
        self.cache = Cache(self.store, REGISTRY.all())
        self.objects = Operations(self.store, self.cache, clock=wall_clock)
        self.recorder = EventRecorder(self.objects, self.cache, component="simulation", clock=wall_clock)
        self.liveness = SimulatedLiveness()
        self.start_s = 0.5
        self.stop_s = 0.2
        self.never_ready: Callable[[KubeObject], bool] = lambda pod: False
        self.on_event: Callable[[CacheEvent], None] = lambda event: None
        self.parts: list[Any] = []
        self._pod_numbers = 0
        self._group: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def running(self, *, nodes: int = 3, controllers: bool = True) -> AsyncIterator[World]:
        """Run everything until the block ends."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            tasks = [group.create_task(self.cache.run())]
            await self.cache.wait_synced()
            for name in ("default", "other"):
                await self.create(NAMESPACES, {"metadata": {"name": name}, "spec": {"finalizers": ["kubernetes"]}})
            for number in range(nodes):
                await self.add_node(f"node-{number}")
            tasks.append(group.create_task(self.recorder.run()))
            tasks.append(group.create_task(self._run_nodes()))
            if controllers:
                self.parts = self._parts()
                tasks += [group.create_task(each.run()) for each in self.parts]
            yield self
            for task in tasks:
                task.cancel()

    def _parts(self) -> list[Any]:
        parts = build_controllers(
            self.cache,
            self.objects,
            self.recorder,
            liveness=self.liveness,
            ledger=self.objects.ledger,
            ca_certificate="certificate",
            clock=wall_clock,
        )
        return [*parts, Scheduler(self.cache, self.objects, self.recorder, clock=wall_clock)]

    async def add_node(self, name: str, *, cpu: str = "8", memory: str = "16Gi", pods: str = "110") -> None:
        amounts = {"cpu": cpu, "memory": memory, "pods": pods}
        ready = {"type": "Ready", "status": "True", "reason": "AgentReady", "message": ""}
        await self.create(
            NODES,
            {
                "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
                "spec": {},
                "status": {"capacity": amounts, "allocatable": amounts, "conditions": [ready]},
            },
        )
        self.liveness.connect(name)

    async def create(self, resource: Resource, obj: KubeObject, namespace: str = "") -> KubeObject:
        metadata = dict(obj["metadata"])
        if resource.namespaced:
            metadata.setdefault("namespace", namespace or "default")
        stored = await self.objects.create(resource, obj | {"metadata": metadata}, manager="user")
        await self.cache.barrier()
        return stored

    async def edit(
        self, resource: Resource, name: str, edit: Callable[[KubeObject], Any], *, namespace: str = "default"
    ) -> None:
        """Change an object as a user does, and let the cache see it."""

        def change(obj: KubeObject) -> KubeObject:
            edit(obj)
            return obj

        await self.objects.mutate(resource, namespace if resource.namespaced else "", name, change, manager="user")
        await self.cache.barrier()

    async def delete(self, resource: Resource, name: str, *, namespace: str = "default", **options: Any) -> None:
        """Delete an object as a user does, and let the cache see it."""
        scope = namespace if resource.namespaced else ""
        await self.objects.delete(resource, scope, name, manager="user", **options)
        await self.cache.barrier()

    def get(self, resource: Resource, name: str, namespace: str = "default") -> KubeObject | None:
        entry = self.cache.get(resource, namespace if resource.namespaced else "", name)
        return entry.obj if entry is not None else None

    def need(self, resource: Resource, name: str, namespace: str = "default") -> KubeObject:
        """An object that must be there."""
        obj = self.get(resource, name, namespace)
        assert obj is not None
        return obj

    def list(self, resource: Resource, namespace: str = "default") -> list[KubeObject]:
        return [entry.obj for entry in self.cache.list(resource, namespace)]

    def reasons(self) -> set[str]:
        """The reasons of all events so far."""
        return {event["reason"] for event in self.list(EVENTS, "")}

    async def until(self, condition: Callable[[], Any], *, timeout_s: float = 60.0) -> None:
        """Let simulated time pass until the condition holds."""
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        while not condition():
            assert asyncio.get_running_loop().time() < deadline_s, f"not within {timeout_s} simulated seconds"
            await asyncio.sleep(STEP_S)

    async def stays(self, condition: Callable[[], Any], *, for_s: float) -> None:
        """Assert that the condition holds all the time."""
        end_s = asyncio.get_running_loop().time() + for_s
        while asyncio.get_running_loop().time() < end_s:
            assert condition()
            await asyncio.sleep(STEP_S)

    async def report(self, pod: KubeObject, status: Mapping[str, Any]) -> None:
        """The node's agent reports parts of a pod's status."""

        def change(obj: KubeObject) -> KubeObject | None:
            if obj["metadata"]["uid"] != pod["metadata"]["uid"]:
                return None
            obj["status"] = (obj.get("status") or {}) | dict(status)
            return obj

        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        await self.objects.mutate(PODS, namespace, name, change, manager="agent", subresource="status")

    async def _run_nodes(self) -> None:
        seen: set[tuple[str, str]] = set()
        while True:
            try:
                async for event in self.cache.subscribe(REGISTRY.all()):
                    self.on_event(event)
                    self._act_on(event, seen)
            except ResetError:
                continue

    def _act_on(self, event: CacheEvent, seen: set[tuple[str, str]]) -> None:
        entry = event.entry
        if entry.resource is not PODS or event.type == "DELETED" or not self.liveness.connected(entry.node):
            return
        stage = "stop" if is_deleting(entry.obj) else "start"
        if (entry.uid, stage) not in seen:
            seen.add((entry.uid, stage))
            assert self._group is not None
            self._group.create_task(self._stop(entry) if stage == "stop" else self._start(entry))

    async def _start(self, entry: Entry) -> None:
        self._pod_numbers += 1
        address = f"10.42.{self._pod_numbers // 250}.{self._pod_numbers % 250 + 1}"
        await asyncio.sleep(self.chance.uniform(0.5, 1.0) * self.start_s)
        ready = "False" if self.never_ready(entry.obj) else "True"
        status = {"phase": "Running", "podIP": address, "conditions": [_ready(ready)]}
        await _persist(lambda: self.report(entry.obj, status))

    async def _stop(self, entry: Entry) -> None:
        await asyncio.sleep(self.chance.uniform(0.5, 1.0) * self.stop_s)
        options: dict[str, Any] = {"manager": "agent", "uid": entry.uid, "grace_period_s": 0}
        await _persist(lambda: self.objects.delete(PODS, entry.namespace, entry.name, **options))


async def _persist(write: Callable[[], Awaitable[None]]) -> None:
    """Repeat a write while the store is away; an object that has gone needs none."""
    while True:
        try:
            await write()
        except ApiError as error:
            if error.reason == "NotFound":
                return
            if not error.transient:
                raise
            await asyncio.sleep(RETRY_S)
        else:
            return


def _ready(status: str) -> KubeObject:
    moment = wall_clock().strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": "Ready", "status": status, "reason": "", "message": "", "lastTransitionTime": moment}


def pod_template(image: str = "app:1", *, cpu: str = "100m", labels: Mapping[str, str] | None = None) -> KubeObject:
    """A template with one container."""
    container = {
        "name": "app",
        "image": image,
        "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}},
        "ports": [{"name": "http", "containerPort": 8080}],
    }
    return {"metadata": {"labels": dict(labels or {"app": "web"})}, "spec": {"containers": [container]}}


def deployment(name: str = "web", *, replicas: int = 3, image: str = "app:1", **spec: Any) -> KubeObject:
    """A Deployment selecting ``app: web``."""
    return {
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": pod_template(image),
            **spec,
        },
    }


Virtual = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture
def virtual() -> Virtual:
    """Runs a coroutine to its end in virtual time."""

    def run(coroutine: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(coroutine)

    return run


@pytest.fixture
def make_world() -> type[World]:
    """The class of worlds: make one inside of a coroutine that runs in virtual time."""
    return World


@pytest.fixture
def make_deployment() -> Callable[..., KubeObject]:
    return deployment


@pytest.fixture
def make_template() -> Callable[..., KubeObject]:
    return pod_template
