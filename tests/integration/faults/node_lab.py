"""A real agent process under a real dispatcher, both in a network namespace of their own, for tests of faults.

The control plane runs in this process on the in-memory store, so that a test sees each status as a server stores it.
The agent is started from the checkout, as often as a test kills it, on directories that outlive it.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from controlplane.api.operations import Operations
from controlplane.autoscaler.figures import Figures
from controlplane.dispatcher.service import DispatcherServer
from controlplane.election import Election
from controlplane.pki import ensure_cluster_pki
from controlplane.reconcile.events import EventRecorder
from controlplane.store.cache import Cache
from controlplane.store.memory import MemoryStore
from flotilla.api.objects import KubeObject
from flotilla.api.registry import REGISTRY
from flotilla.api.resources import EVENTS, NAMESPACES, PODS, SECRETS
from nodeagent.cgroups import PodCgroups, detect
from nodeagent.images.store import ImageStore
from nodeagent.purge import purge_node
from tests.directories import passable_directory
from tests.integration.dispatcher_lab import new_object, running_tasks, settings
from tests.integration.image_lab import entry, layer, make_image, write_archive
from tests.integration.network_lab import new_node

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[3]
NODE = "node-1"
IMAGE = "flotilla.dev/busybox:1"
TOKEN = "abcdef.0123456789abcdef"  # noqa: S105
DEADLINE_S = 30.0
RUNTIME = os.environ.get("FLOTILLA_TEST_RUNTIME", "")


@dataclass
class AgentProcess:
    """One life of the agent."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """End it as an operator would; its exit code."""
        self.process.terminate()
        return self.process.wait(DEADLINE_S)


@dataclass
class Lab:
    """One node with its control plane. Paths are absolute; ``agents`` are all lives of the agent so far."""

    directory: Path
    run_dir: Path
    cgroups: PodCgroups
    store: MemoryStore
    cache: Cache
    objects: Operations
    dispatcher: DispatcherServer
    port: int
    agents: list[AgentProcess] = field(default_factory=list)

    @property
    def data_dir(self) -> Path:
        return self.directory / "data"

    @property
    def agent(self) -> AgentProcess:
        return self.agents[-1]

    # ---- the agent ----

    def start_agent(
        self,
        *options: str,
        program: Sequence[str] = (sys.executable, "-m", "flotilla"),
        environment: Mapping[str, str] | None = None,
    ) -> AgentProcess:
        """Start the agent, which must not run; its log is kept in ``agent.log``."""
        log = self.directory / "agent.log"
        command = [
            *program,
            "agent",
            f"--data-dir={self.data_dir}",
            f"--run-dir={self.run_dir}",
            f"--server=127.0.0.1:{self.port}",
            f"--node-name={NODE}",
            f"--token-file={self.directory / 'token'}",
            f"--ca-file={self.directory / 'pki' / 'ca.crt'}",
            f"--cgroup-parent={self.cgroups.parent.strip('/')}",
            *([f"--runtime={RUNTIME}"] if RUNTIME else []),
            *options,
        ]
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.agents.append(AgentProcess(process, log))
        return self.agent

    async def connected(self) -> None:
        """Wait until the newest agent speaks to the server."""
        answered = lambda: self.dispatcher.sessions.connected(NODE) or not self.agent.alive  # noqa: E731
        await self.until("the agent is connected", answered)
        assert self.agent.alive, self.agent.log.read_text(errors="replace")[-4000:]

    async def disconnected(self) -> None:
        """Wait until the server has noticed that an agent is gone."""
        await self.until("the agent is gone", lambda: not self.dispatcher.sessions.connected(NODE))

    # ---- pods ----

    async def create(self, pod: KubeObject) -> str:
        """Assign a pod to the node; its uid."""
        spec = {"nodeName": NODE, "terminationGracePeriodSeconds": 5, **pod["spec"]}
        made = await self.objects.create(PODS, {**pod, "spec": spec}, manager="test")
        uid: str = made["metadata"]["uid"]
        return uid

    async def delete(self, name: str, *, grace_s: int | None = None) -> None:
        await self.objects.delete(PODS, "default", name, manager="test", grace_period_s=grace_s)

    def pod(self, name: str) -> KubeObject | None:
        """A pod as the server has it."""
        found = self.cache.get(PODS, "default", name)
        return found.copy() if found is not None else None

    def status(self, name: str, container: int = 0) -> KubeObject:
        """A container's status; empty while there is none."""
        pod = self.pod(name)
        statuses = ((pod or {}).get("status") or {}).get("containerStatuses") or []
        return dict(statuses[container]) if len(statuses) > container else {}

    def is_ready(self, name: str) -> bool:
        pod = self.pod(name)
        conditions = ((pod or {}).get("status") or {}).get("conditions") or []
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    def events(self, name: str) -> list[str]:
        """``Reason: message`` of all events about a pod."""
        found = (each.copy() for each in self.cache.list(EVENTS, "default"))
        return [f"{each['reason']}: {each['message']}" for each in found if each["involvedObject"]["name"] == name]

    async def ready(self, name: str, *, timeout_s: float = DEADLINE_S) -> None:
        await self.until(f"{name} is ready", lambda: self.is_ready(name), timeout_s=timeout_s)

    async def gone(self, name: str, *, timeout_s: float = DEADLINE_S) -> None:
        await self.until(f"{name} is gone", lambda: self.pod(name) is None, timeout_s=timeout_s)

    async def run(self, *command: str) -> tuple[int, str]:
        """Run a program of the checkout beside the agent; its exit code and what it printed."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    # ---- waiting ----

    async def until(self, what: str, condition: Callable[[], T], *, timeout_s: float = DEADLINE_S) -> T:
        """The first true value of ``condition``, asked again and again; the agent's last words when none comes."""
        deadline = time.monotonic() + timeout_s
        while not (value := condition()):
            if time.monotonic() > deadline:
                tail = self.agents[-1].log.read_text(errors="replace")[-4000:] if self.agents else ""
                raise AssertionError(f"not within {timeout_s:g} s: {what}\n{tail}")
            await asyncio.sleep(0.01)
        return value


def busybox_archive(path: Path) -> Path:
    """An image of busybox with all its programs."""
    applets = subprocess.run(["/bin/busybox", "--list"], check=True, capture_output=True, text=True).stdout.split()
    program = Path("/bin/busybox").read_bytes()
    links = [entry(f"bin/{name}", linkname="busybox", type=b"2") for name in applets if name != "busybox"]
    directories = [entry(name, None) for name in ("bin", "dev", "proc", "sys", "tmp", "etc")]
    contents = layer(*directories, entry("bin/busybox", program), *links)
    return write_archive(path, {IMAGE: make_image([contents], config={"Cmd": ["sh"]})})


def _token_secret() -> KubeObject:
    fields = {
        "token-id": TOKEN[:6],
        "token-secret": TOKEN[7:],
        "expiration": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
        "usage-bootstrap-authentication": "true",
    }
    data = {name: base64.b64encode(value.encode()).decode() for name, value in fields.items()}
    secret = new_object("Secret", f"bootstrap-token-{TOKEN[:6]}", "kube-system", type="bootstrap.kubernetes.io/token")
    return {**secret, "data": data}


@asynccontextmanager
async def running_lab(directory: Path) -> AsyncIterator[Lab]:
    """A control plane and an empty node with one image; everything that agents make of it is removed at the end."""
    identifier = os.urandom(4).hex()
    pki = ensure_cluster_pki(directory / "pki")
    store = MemoryStore()
    cache = Cache(store, REGISTRY.all())
    objects = Operations(store, cache)
    recorder = EventRecorder(objects, cache, component="dispatcher")
    election = Election(store, identity="test-server")
    dispatcher = DispatcherServer(
        cache,
        objects,
        recorder=recorder,
        pki=pki,
        figures=Figures(),
        election=election,
        settings=settings(directory),
    )
    (directory / "token").write_text(TOKEN)
    async with running_tasks(cache.run(), election.run(), recorder.run(), dispatcher.run()):
        await cache.wait_synced()
        for namespace in ("default", "kube-system", "kube-node-lease"):
            await objects.create(NAMESPACES, new_object("Namespace", namespace, ""), manager="test")
        await objects.create(SECRETS, _token_secret(), manager="test")
        lab = Lab(
            directory,
            Path(f"/run/flotilla-faults-{identifier}"),
            PodCgroups(f"flotilla-faults-{identifier}", detect()),
            store,
            cache,
            objects,
            dispatcher,
            await dispatcher.port(),
        )
        try:
            yield lab
        finally:
            for agent in lab.agents:
                if agent.alive:
                    agent.kill()
            lab.cgroups.kill(lab.cgroups.parent)
            await lab.until("everything has ended", lambda: not lab.cgroups.processes(lab.cgroups.parent))
            purge_node(lab.data_dir, lab.run_dir, cgroup_parent=lab.cgroups.parent.strip("/"))
            shutil.rmtree(lab.run_dir, ignore_errors=True)


def on_a_node(story: Callable[[Lab], Awaitable[None]], *, with_image: bool = True) -> None:
    """Run a test's story in a lab of its own."""

    async def tell(directory: Path) -> None:
        async with running_lab(directory) as lab:
            if with_image:
                images = ImageStore(lab.data_dir / "images")
                images.load(busybox_archive(directory / "busybox.tar"))
                await images.close()
            await story(lab)

    with new_node() as node, passable_directory() as directory:
        node.command(
            "ip link add up0 type veth peer name uplink",
            "ip link set uplink up",
            "ip addr add 192.0.2.10/24 dev up0",
            "ip link set up0 up",
            "ip route add default via 192.0.2.1",
        )
        node.run(lambda: asyncio.run(tell(directory)))


def pod_of(script: str, *, name: str = "web", spec: Mapping[str, Any] | None = None, **container: Any) -> KubeObject:
    """A pod of one container that runs a shell script."""
    main = {"name": "main", "image": IMAGE, "command": ["sh", "-c", script], **container}
    return new_object("Pod", name, spec={"containers": [main], **(spec or {})})
