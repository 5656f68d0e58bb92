"""The node agent's process: builds every part once and runs them in one task group.

The order of starting is what makes a restart invisible: the checkpoint and the pods' records are read, leftovers of the
agent before are cleared, the node's network is put in order and running containers are taken over, all of it without a
server; only then do the sessions speak. Ending leaves all containers as they are and asks the servers to wait for the
next agent. A part that fails unexpectedly ends the process; the supervisor starts a fresh one, which finds everything
on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
from collections.abc import Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import flotilla
from flotilla.api.objects import KubeObject, encode, name_of, namespace_of, uid_of
from flotilla.clocks import steady_unix_s
from flotilla.descriptors import raise_descriptor_limit
from nodeagent.admission import Admission, Refusal, apparmor_enabled
from nodeagent.assigned import ObjectKey
from nodeagent.checkpoint import Checkpoint, Checkpointer
from nodeagent.housekeeping import Housekeeping
from nodeagent.image_pulls import images_of
from nodeagent.images.disk import Complaint
from nodeagent.join import Identity, IdentityFiles, establish, keep_valid
from nodeagent.leftovers import Claims, clear_containers, clear_node, forget_boot
from nodeagent.lifetime import current_lifetime
from nodeagent.log_rotation import keep_logs_small
from nodeagent.metrics.listener import MetricsListener
from nodeagent.metrics.sampler import Round, Sampler
from nodeagent.network.pod_network import PodNetwork, PodNetworkError
from nodeagent.network.services import ServiceTable
from nodeagent.node_facts import node_object, own_address, read_machine
from nodeagent.node_parts import build_parts
from nodeagent.node_shutdown import NodeShutdown, ShutdownRequest
from nodeagent.pod_events import node_event, pod_event
from nodeagent.pressure.ranking import REASON as EVICTED
from nodeagent.resource_parts import build_resource_parts, node_allocatable
from nodeagent.runtime.processes import boot_id
from nodeagent.sandbox import ClusterFacts
from nodeagent.scraping.scraper import ApplicationScraper
from nodeagent.service_sync import ServiceSync
from nodeagent.session import ServerSession
from nodeagent.settings import AgentSettings
from nodeagent.static_pods.directory import ManifestDirectory
from nodeagent.static_pods.manifests import is_static
from nodeagent.static_pods.mirrors import Mirrors
from nodeagent.streams.container_logs import LogReader
from nodeagent.streams.tunnels import Tunnels
from nodeagent.upward import Uplink
from nodeagent.volumes.mounts import mount_tmpfs
from nodeagent.waking.doorbell import hang, listen
from nodeagent.waking.held import DOORBELL_NAME
from nodeagent.worker import Worker
from protos import dispatcher_pb2 as pb

logger = logging.getLogger(__name__)

BLOCKING_CALLS_AT_ONCE = 8
HOLD_S = 60.0
HOLD_TIMEOUT_S = 0.5
STANDARD_ERROR = 2
GC_THRESHOLDS = (50_000, 20, 50)


def run(settings: AgentSettings) -> None:
    """Keep this node until SIGTERM or SIGINT. Raises what made the agent stop otherwise."""
    gc.set_threshold(*GC_THRESHOLDS)
    keep_descriptors_private()
    raise_descriptor_limit()
    asyncio.run(_until_signalled(_absolute(settings)))


def keep_descriptors_private() -> None:
    """Let no child inherit what this process was started with: conmon would hold it as long as its container runs."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > STANDARD_ERROR:
            with contextlib.suppress(OSError):
                os.set_inheritable(int(name), False)


def _absolute(settings: AgentSettings) -> AgentSettings:
    return replace(
        settings,
        data_dir=settings.data_dir.absolute(),
        run_dir=settings.run_dir.absolute(),
        ca_file=settings.ca_file.absolute(),
        token_file=settings.token_file.absolute() if settings.token_file else None,
        pod_manifest_path=settings.pod_manifest_path.absolute() if settings.pod_manifest_path else None,
    )


async def _until_signalled(settings: AgentSettings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    agent = Agent(settings)
    working = asyncio.create_task(agent.run(), name="agent")
    waiting = asyncio.create_task(stopping.wait(), name="signal")
    await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        leaving = asyncio.create_task(agent.before_stop(), name="leaving")
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
    for task in (working, waiting):
        task.cancel()
    results = await asyncio.gather(working, waiting, return_exceptions=True)
    if isinstance(results[0], Exception):
        raise results[0]


def prepare_directories(settings: AgentSettings, current_boot: str) -> None:
    """Make the directories, forgetting what belongs to an earlier boot of the machine or was ended by ``down``.

    The process goes to live in a private one: conmon leaves an empty file in its working directory, which is ours, when
    a container runs out of memory.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    for private in (settings.data_dir / "pods", settings.data_dir / "logs"):
        private.mkdir(exist_ok=True)
        private.chmod(0o700)
    note = settings.data_dir / "boot-id"
    if not note.exists() or note.read_text(encoding="ascii") != current_boot:
        forget_boot(settings.run_dir)
        note.write_text(current_boot, encoding="ascii")
    mount_tmpfs(settings.private_dir, mode=0o700)
    os.chdir(settings.private_dir)


class Agent:
    """All parts of one agent process. Implements what sessions need of their node and of its assignments."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._boot_id, self._lifetime = boot_id(), current_lifetime(settings.run_dir)
        prepare_directories(settings, self._lifetime)
        self._machine, self._address = read_machine(), own_address(settings.servers)
        self._executor = ThreadPoolExecutor(BLOCKING_CALLS_AT_ONCE, thread_name_prefix="node")
        self._uplink = Uplink()
        secrets_path = settings.private_dir / "secrets.json"
        self._checkpoint = Checkpoint(settings.data_dir / "checkpoint.json", secrets_path=secrets_path)
        self.assignments, self._facts = self._checkpoint.load()
        self._checkpointer = Checkpointer(self._checkpoint, self._checkpoint_contents)
        zone_path = settings.run_dir / "dns" / "zone.json"
        self._services = ServiceSync(self.assignments, zone_path=zone_path, executor=self._executor)
        self._parts = build_parts(
            settings,
            machine=self._machine,
            address=self._address,
            boot_id=self._lifetime,
            assignments=self.assignments,
            uplink=self._uplink,
            executor=self._executor,
            out_of_service=self._out_of_service,
        )
        self._network: PodNetwork | None = None
        self._manifests = self._manifest_directory()
        self._admission = Admission(settings.unsafe_sysctls, apparmor=apparmor_enabled())
        self._worker = Worker(
            self.assignments,
            self._parts.context,
            self._services,
            allocatable=node_allocatable(settings, self._machine),
            mirrors=Mirrors(self._uplink, self._uplink.statuses.report),
            static=self._manifests,
            refusal=self._refusal,
        )
        self._sampler = Sampler(self._parts.layout)
        self._resources = build_resource_parts(
            settings,
            self._parts,
            machine=self._machine,
            worker=self._worker,
            sampler=self._sampler,
            uplink=self._uplink,
            healthy=lambda: self._group is not None,
            images_in_use=self._images_in_use,
        )
        request = ShutdownRequest(settings.run_dir)
        self._shutdown = NodeShutdown(request, self._worker, unready=self._uplink.node_unready)
        logs = LogReader(self._worker, self._parts.starter)
        self._tunnels = Tunnels(self._worker, self._parts.containers, logs, self._resources.pages)
        self._scraper = ApplicationScraper(warn=self._warn_of_page, clock=steady_unix_s)
        self._files = IdentityFiles(settings.data_dir / "pki", ca_file=settings.ca_file)
        self._identity: Identity | None = None
        self._sessions = [self._session(server) for server in settings.servers]
        self._uplink.carriers.extend(self._sessions)
        self._group: asyncio.TaskGroup | None = None

    def _manifest_directory(self) -> ManifestDirectory | None:
        path = self._settings.pod_manifest_path
        if path is None:
            return None
        return ManifestDirectory(
            path,
            node=self._settings.node_name,
            changed=self._static_changed,
            warn=self._warn_of_manifest,
        )

    def _static_changed(self) -> None:
        self._worker.static_changed()

    def _warn_of_manifest(self, message: str) -> None:
        self._uplink.event(node_event(self._settings.node_name, "Warning", "InvalidManifest", message))

    def _session(self, server: str) -> ServerSession:
        return ServerSession(server, node=self, applier=self, uplink=self._uplink, identity=self._current_identity)

    def _current_identity(self) -> Identity:
        assert self._identity is not None
        return self._identity

    # ---- running ----

    async def run(self) -> None:
        """Run until cancelled, which leaves all containers running."""
        asyncio.get_running_loop().set_default_executor(self._executor)
        listener = MetricsListener(self._settings.metrics_listen, self._resources.pages)
        await self._take_over()
        await listener.start()
        bell = await listen(hang(self._settings.run_dir / "dns" / DOORBELL_NAME), self._uplink.rung)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for name, part in self._running_parts().items():
                    group.create_task(part, name=name)
        finally:
            self._group = None
            bell.close()
            await listener.stop()
            self._parts.containers.close()
            self._sampler.close()
            await self._scraper.close()
            await self._parts.images.close()

    def _running_parts(self) -> dict[str, Coroutine[Any, Any, None]]:
        housekeeping = Housekeeping(
            self._settings.data_dir,
            images=self._parts.images,
            in_use=self._images_in_use,
            network=lambda: self._network,
            report=self._uplink.node_changed,
            warn=self._warn_of_disk,
            thresholds=self._settings.disk_thresholds,
        )
        static = {"static pods": self._manifests.run()} if self._manifests is not None else {}
        return {
            **static,
            "shutdown": self._shutdown.run(),
            "services": self._services.run(),
            "volume removals": self._parts.removals.run(),
            "pods": self._worker.run(),
            "records": self._parts.context.store.run(),
            "checkpoint": self._checkpointer.run(),
            "samples": self._sampler.run(self._sampled),
            "housekeeping": housekeeping.run(),
            **self._resources.running(),
            "log rotation": keep_logs_small(self._running_logs, self._parts.containers, self._settings.logs),
            "sessions": self._speak(),
        }

    async def _take_over(self) -> None:
        """Put the node in order and clear what nobody claims, before any pod goes on."""
        parts = self._parts
        await asyncio.to_thread(parts.cgroups.ensure_parents)
        if self._settings.user_namespaces != "off":
            await asyncio.to_thread(parts.support.problem)
        parts.containers.open()
        if self._facts.pod_cidr:
            await self._connect(self._facts)
        claims = Claims.of(parts.context.store.load())
        await clear_containers(claims, parts.containers)
        await asyncio.to_thread(
            clear_node,
            claims,
            data_dir=self._settings.data_dir,
            store=parts.context.store,
            cgroups=parts.cgroups,
            sandboxes=parts.sandboxes,
            volumes=parts.volumes,
            network=self._network,
        )
        gc.collect()
        gc.freeze()

    async def _speak(self) -> None:
        """Join if need be, then keep a session with every server."""
        settings = self._settings
        self._identity = await establish(
            settings.servers, settings.node_name, files=self._files, token_file=settings.token_file
        )
        async with asyncio.TaskGroup() as group:
            for session in self._sessions:
                group.create_task(session.run(), name=f"session {session.server}")
            group.create_task(
                keep_valid(
                    self._identity, settings.servers, settings.node_name, files=self._files, renewed=self._renewed
                ),
                name="certificate",
            )

    def _renewed(self, identity: Identity) -> None:
        self._identity = identity

    async def before_stop(self) -> None:
        """End the pods if it is the machine that stops; a plain stop leaves them, and asks the servers to wait."""
        await self._shutdown.with_machine(self._settings.shutdown_periods)
        await self.announce_hold()

    async def announce_hold(self) -> None:
        """Ask the servers not to judge the node lost while the next agent starts."""
        try:
            async with asyncio.timeout(HOLD_TIMEOUT_S):
                await asyncio.gather(*(session.hold(HOLD_S) for session in self._sessions))
        except TimeoutError:
            logger.warning("hold_not_announced")

    # ---- for sessions ----

    def applied(self, keys: Iterable[ObjectKey]) -> None:
        self._worker.applied(keys)
        self._parts.removals.changed()
        self._checkpointer.changed()

    def let_go(self) -> None:
        self._worker.let_go()

    def hello(self) -> pb.Hello:
        node = node_object(
            self._settings.node_name,
            resources=self._resources.node(),
            address=self._address,
            runtime=self._parts.runtimes.default.program,
            boot_id=self._boot_id,
            pod_cidr=self._facts.pod_cidr,
        )
        node["status"]["conditions"] = self._uplink.conditions(node["status"]["conditions"])
        running = [
            pb.RunningPod(namespace=namespace_of(each.pod), name=name_of(each.pod), uid=uid_of(each.pod))
            for each in self._worker.pods()
            if not is_static(each.pod)
        ]
        applied = self.assignments.applied
        return pb.Hello(
            agent_version=flotilla.__version__,
            boot_id=self._boot_id,
            node_json=encode(node),
            running=running,
            applied=pb.AppliedReport(history_id=applied.history_id, revision=applied.revision),
        )

    async def welcomed(self, welcome: pb.Welcome) -> None:
        facts = ClusterFacts(
            cluster_domain=welcome.cluster_domain,
            dns_address=welcome.dns_address,
            pod_cidr=welcome.pod_cidr,
            service_cidr=welcome.service_cidr,
            cluster_cidr=welcome.cluster_cidr,
        )
        if facts != self._facts or self._network is None:
            await self._connect(facts)
            self._checkpointer.changed()

    def interested(self, interest: pb.MetricInterest) -> None:
        self._scraper.interested({each.namespace: each.series for each in interest.namespaces})

    def open_tunnel(self, request: pb.TunnelRequest, channel: Any) -> None:
        if self._group is not None:
            self._group.create_task(self._tunnels.serve(request, channel), name=f"tunnel {request.tunnel_id}")

    # ---- the node's network ----

    async def _connect(self, facts: ClusterFacts) -> None:
        """Make the pods' network as the cluster wants it. Pods wait, with the reason shown, while that fails."""
        try:
            network = await asyncio.to_thread(self._make_network, facts)
        except (PodNetworkError, OSError, ValueError) as error:
            logger.error("network_unavailable", extra={"error": str(error)})
            return
        self._facts, self._network = facts, network
        self._parts.sandboxes.facts, self._parts.sandboxes.network = facts, network
        table = ServiceTable(
            cluster_cidr=facts.cluster_cidr,
            service_cidr=facts.service_cidr,
            gateway=network.gateway,
            dns_address=facts.dns_address,
            node_name=self._settings.node_name,
        )
        self._services.configure(table, domain=facts.cluster_domain)

    def _make_network(self, facts: ClusterFacts) -> PodNetwork:
        network = PodNetwork(
            facts.pod_cidr,
            run_dir=self._settings.run_dir,
            cluster_cidr=facts.cluster_cidr,
            service_cidr=facts.service_cidr,
            dns_address=facts.dns_address,
        )
        network.ensure_bridge()
        return network

    async def _out_of_service(self, ip: str) -> None:
        """Endpoints only leave while a server is there to take them out."""
        if any(session.connected for session in self._sessions):
            await self._services.out_of_service(ip)

    # ---- small answers ----

    def _checkpoint_contents(self) -> tuple[bytes, bytes]:
        return self._checkpoint.encode(self.assignments, self._facts)

    def _sampled(self, newest: Round) -> None:
        self._uplink.sampled(newest, self._scraper.round())
        self._resources.evictor.sampled(newest.machine)
        self._sampler.track(self._worker.running())
        self._scraper.track(self._worker.addresses())

    def _warn_of_page(self, pod: KubeObject, message: str) -> None:
        self._uplink.event(pod_event(pod, "Warning", "FailedScrape", message))

    def _warn_of_disk(self, complaint: Complaint) -> None:
        self._uplink.event(node_event(self._settings.node_name, "Warning", complaint.reason, complaint.message))

    def _refusal(self, pod: KubeObject) -> Refusal | None:
        if why := self._resources.evictor.refusal(pod):
            return Refusal(EVICTED, why)
        return self._admission.refusal(pod)

    def _images_in_use(self) -> set[str]:
        return {name for worker in self._worker.pods() for name in images_of(worker.pod)}

    def _running_logs(self) -> list[tuple[str, Path]]:
        starter = self._parts.starter
        return [
            (run.id, starter.log_path(worker.pod, name, run.attempt))
            for worker in self._worker.pods()
            for name, state in worker.state.containers.items()
            if (run := state.record.run) is not None and run.live
        ]
