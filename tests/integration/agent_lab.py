"""The agent's pod side without a server, on a real runtime and a root file system made of busybox, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, cast

from flotilla.api.objects import KubeObject
from nodeagent.cgroups import PodCgroups, detect
from nodeagent.container_starter import ContainerStarter, EnvironmentSource, NodeFacts
from nodeagent.image_pulls import Images
from nodeagent.images.auth import RegistryAuth
from nodeagent.images.image import Image, ImageConfig, ImagePullError
from nodeagent.images.rootfs import unmount_rootfs
from nodeagent.isolation.choice import UserChoice, UserNamespaceMode
from nodeagent.isolation.ranges import PodUsers
from nodeagent.isolation.support import NodeSupport
from nodeagent.network.namespaces import create_namespace, create_owned_namespace, is_pinned, unpin
from nodeagent.network.pod_network import HostPort, PodAddress
from nodeagent.network.records import PodRecords
from nodeagent.pod_context import PodContext
from nodeagent.pod_events import PodEvent
from nodeagent.pod_status import NodeIdentity
from nodeagent.pod_store import PodStore
from nodeagent.pod_worker import PodWorker
from nodeagent.runtime.containers import Containers
from nodeagent.runtime.runtimes import RuntimeName, find_runtimes
from nodeagent.sandbox import PodVolumes, Sandboxes
from nodeagent.volumes.mounts import unmount_below
from nodeagent.volumes.payload import AssignedObjects, VolumeObjects

DEADLINE_S = 15.0
# The runtime that all tests of the agent's pod side use: auto, crun or runc.
RUNTIME = cast("RuntimeName", os.environ.get("FLOTILLA_TEST_RUNTIME", "auto"))


@dataclass(frozen=True)
class OneImage:
    """An image store that holds one image, named ``busybox``."""

    layer: Path

    async def ensure(self, reference: str, *, policy: str, auths: Sequence[RegistryAuth] = ()) -> Image:
        if reference != "busybox":
            raise ImagePullError("ErrImagePull", f"{reference}: not found")
        return Image("sha256:1", "sha256:2", ("busybox",), ImageConfig(cmd=("sh",)), (self.layer,), 1)


class NoObjects:
    def config_map(self, namespace: str, name: str) -> KubeObject | None:
        return None

    def secret(self, namespace: str, name: str) -> KubeObject | None:
        return None

    def claim(self, namespace: str, name: str) -> KubeObject | None:
        return None

    def volume(self, name: str) -> KubeObject | None:
        return None


class NoVolumes:
    def prepare(self, pod: KubeObject, objects: VolumeObjects) -> dict[str, Path]:
        return {}

    def update(self, pod: KubeObject, objects: AssignedObjects) -> None:
        return None

    def teardown(self, pod_uid: str) -> None:
        return None


@dataclass
class Reports:
    """Everything that the agent says of its pods."""

    statuses: dict[str, list[KubeObject]] = field(default_factory=dict)
    terminated: set[str] = field(default_factory=set)
    events: list[PodEvent] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def status(self, pod: KubeObject, status: KubeObject, *, terminated: bool) -> None:
        uid = pod["metadata"]["uid"]
        self.statuses.setdefault(uid, []).append(status)
        if terminated:
            self.terminated.add(uid)
        self.changed.set()

    def event(self, event: PodEvent) -> None:
        self.events.append(event)
        self.changed.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.changed.wait(), 0.02)


async def always_out(ip: str) -> None:
    return None


class Islands:
    """Pods' networks that lead nowhere: a namespace each, with nothing in it, for pods with users of their own."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._records = PodRecords(run_dir / "network", IPv4Network("10.99.0.0/24"))

    def setup(self, pod_uid: str, *, host_ports: Sequence[HostPort] = (), own_users: bool = False) -> PodAddress:
        record = self._records.allocate(pod_uid, host_ports, own_users=own_users)
        pin, user_pin = self._pins(pod_uid)
        users = PodUsers(record.first_id, str(user_pin)) if own_users else None
        if not is_pinned(pin):
            pin.parent.mkdir(parents=True, exist_ok=True)
            user_pin.parent.mkdir(parents=True, exist_ok=True)
            (create_owned_namespace(pin, users) if users else create_namespace(pin)).close()
        return PodAddress(record.ip, pin, users)

    def teardown(self, pod_uid: str) -> None:
        for pin in self._pins(pod_uid):
            unpin(pin)
        self._records.release(pod_uid)

    def _pins(self, pod_uid: str) -> tuple[Path, Path]:
        return self._run_dir / "netns" / pod_uid, self._run_dir / "userns" / pod_uid


class Node:
    """The agent's pod side without a server. ``stop`` leaves the containers as a killed agent would."""

    def __init__(
        self,
        directory: Path,
        cgroups: PodCgroups,
        layer: Path,
        *,
        boot_id: str = "boot-1",
        volumes: PodVolumes | None = None,
        user_namespaces: UserNamespaceMode = "auto",
        images: Images | None = None,
        objects: VolumeObjects | None = None,
        runtime: RuntimeName = RUNTIME,
        environment: EnvironmentSource | None = None,
    ) -> None:
        run_dir, data_dir = directory / "run", directory / "data"
        data_dir.mkdir(exist_ok=True)
        self.data_dir, self.reports = data_dir, Reports()
        runtimes = find_runtimes(cgroups.layout, run_dir, wanted=runtime, directories=(directory,))
        self.containers = Containers(run_dir, runtimes=runtimes, cgroups=cgroups, conmon="/usr/bin/conmon")
        self.containers.open()
        self._executor = executor = ThreadPoolExecutor(8)
        sandboxes = Sandboxes(
            run_dir=run_dir,
            host_ip="127.0.0.1",
            cgroups=cgroups,
            volumes=volumes or NoVolumes(),
            users=UserChoice(user_namespaces, NodeSupport(data_dir, run_dir)),
            bind_all=runtimes.apart,
        )
        sandboxes.network = Islands(run_dir)
        starter = ContainerStarter(
            data_dir,
            images=images or OneImage(layer),
            containers=self.containers,
            cgroups=cgroups,
            sandboxes=sandboxes,
            objects=objects or NoObjects(),
            environment=environment or (lambda pod, container: []),
            node=NodeFacts("127.0.0.1", 1 << 30, swap_accounting=False, seccomp=data_dir),
            executor=executor,
            events=self.reports.event,
        )
        self.context = PodContext(
            starter=starter,
            containers=self.containers,
            sandboxes=sandboxes,
            cgroups=cgroups,
            objects=objects or NoObjects(),
            store=PodStore(data_dir / "pods", run_dir / "records"),
            executor=executor,
            node=NodeIdentity("127.0.0.1", runtimes.default.name),
            boot_id=boot_id,
            events=self.reports.event,
            report=self.reports.status,
            out_of_service=always_out,
        )
        self.tasks: list[asyncio.Task[None]] = []

    def add(self, pod: KubeObject, **arguments: Any) -> PodWorker:
        worker = PodWorker(pod, self.context, **arguments)
        self.tasks.append(asyncio.get_running_loop().create_task(worker.run()))
        return worker

    def resume(self) -> list[PodWorker]:
        return [self.add(record.pod, record=record) for record in self.context.store.load().values()]

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        # What a thread has begun it also ends, before anyone clears up behind it.
        await asyncio.to_thread(self._executor.shutdown)
        self.containers.close()


@dataclass
class Bench:
    """Makes nodes that share one directory, one after the other."""

    directory: Path
    cgroups: PodCgroups
    layer: Path
    nodes: list[Node] = field(default_factory=list)

    def node(self, **arguments: Any) -> Node:
        self.nodes.append(Node(self.directory, self.cgroups, self.layer, **arguments))
        return self.nodes[-1]


def _fill_layer(layer: Path) -> None:
    """A root file system with all programs that busybox has."""
    for name in ("bin", "dev", "proc", "sys", "tmp", "etc"):
        (layer / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", layer / "bin/busybox")
    applets = subprocess.run(["/bin/busybox", "--list"], check=True, capture_output=True, text=True).stdout.split()
    for name in applets:
        if name != "busybox":
            os.link(layer / "bin/busybox", layer / "bin" / name)


@asynccontextmanager
async def running_bench(directory: Path) -> AsyncIterator[Bench]:
    """A bench that leaves nothing behind."""
    layer = directory / "images/layers/0"
    _fill_layer(layer)
    cgroups = PodCgroups(f"flotilla-test-{os.urandom(4).hex()}", detect())
    cgroups.ensure_parents()
    bench = Bench(directory, cgroups, layer)
    yield bench
    for node in bench.nodes:
        await node.stop()
    last = bench.node()
    await last.containers.purge(last.containers.known())
    last.containers.close()
    for uid in last.context.sandboxes.known():
        last.context.sandboxes.remove_files(uid)
    for rootfs in (directory / "data/rootfs").glob("*"):
        unmount_rootfs(rootfs)
    unmount_below(directory)
    cgroups.purge()


def pod_of(script: str, *, name: str = "web", spec: KubeObject | None = None, **container: Any) -> KubeObject:
    first = {"name": "main", "image": "busybox", "command": ["sh", "-c", script], **container}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "generation": 1},
        "spec": {"containers": [first], "terminationGracePeriodSeconds": 5, **(spec or {})},
    }


def main_status(worker: PodWorker) -> KubeObject:
    statuses = worker.status.get("containerStatuses") or [{"state": {}, "lastState": {}, "restartCount": 0}]
    return dict(statuses[0])


def is_ready(worker: PodWorker) -> bool:
    conditions = worker.status.get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def deleted(pod: KubeObject, grace_s: int = 5) -> KubeObject:
    gone = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace_s}
    return {**pod, "metadata": {**pod["metadata"], **gone}}


async def shell(node: Node, worker: PodWorker, script: str, *, container: str = "main") -> str:
    """What a script prints in a running container, exit code 0 or not."""
    run = worker.state.container(container).record.run
    assert run is not None
    completed = await node.containers.execute(run.id, ["sh", "-c", script], timeout_s=10, limit_bytes=1 << 20)
    return completed.output


def pid_of(node: Node, worker: PodWorker) -> int:
    run = worker.state.container("main").record.run
    assert run is not None and run.process is not None
    return run.process.pid
