"""The server process: builds every part once and runs them in one task group.

Every server serves the API and its agents' sessions from its own cache, and compacts the store: a full etcd refuses
leases too, so no leader could be elected to repair it. What must exist once in a cluster (controllers, scheduler,
autoscaler) runs only while this server holds the leadership, on a store that refuses its writes once it has lost it.
A part that fails unexpectedly ends the process: the supervisor starts a fresh one, which rebuilds
everything from etcd.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket

import uvloop

from controlplane.api.authn import CertificateAuthenticator
from controlplane.api.authz import GroupAuthorizer
from controlplane.api.bootstrap import keep_bootstrapped
from controlplane.api.operations import Operations
from controlplane.api.routes import no_autoscaler
from controlplane.api.server import ApiServer, ServerTls
from controlplane.api.service_addresses import ServiceAddresses
from controlplane.autoscaler import build_autoscaler
from controlplane.autoscaler.controller import Autoscaler
from controlplane.autoscaler.described_metrics import DescribedMetrics
from controlplane.autoscaler.figures import Figures
from controlplane.autoscaler.prometheus import PrometheusQueries
from controlplane.autoscaler.resource_metrics import ResourceMetrics
from controlplane.autoscaler.vertical import build_vertical_autoscaler
from controlplane.autoscaler.vertical.controller import VerticalAutoscaler
from controlplane.controllers import build_controllers
from controlplane.dispatcher.service import DispatcherServer
from controlplane.election import Election
from controlplane.fencing import FencedStore
from controlplane.pki import ClusterPki, ensure_cluster_pki
from controlplane.reconcile.events import EventRecorder
from controlplane.scheduler.scheduler import Scheduler
from controlplane.settings import ServerSettings
from controlplane.store.cache import Cache
from controlplane.store.compaction import Compactor
from controlplane.store.encryption import EncryptingStore, Keyring
from controlplane.store.etcd import EtcdStore, EtcdTls
from controlplane.store.process_lock import ProcessLock
from controlplane.store.sole import SoleStore
from controlplane.store.store import StoreError
from flotilla.api.objects import KubeObject
from flotilla.api.registry import REGISTRY

logger = logging.getLogger(__name__)

CONNECT_RETRY_S = 0.5
GC_THRESHOLDS = (50_000, 20, 50)


def run(settings: ServerSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises what made the server stop otherwise."""
    gc.set_threshold(*GC_THRESHOLDS)
    uvloop.run(_until_signalled(settings))


async def _until_signalled(settings: ServerSettings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = Server(settings)
    serving = asyncio.create_task(server.run(), name="server")
    waiting = asyncio.create_task(stopping.wait(), name="signal")
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if not serving.done():
        await server.drain()
    for task in (serving, waiting):
        task.cancel()
    results = await asyncio.gather(serving, waiting, return_exceptions=True)
    if isinstance(results[0], Exception):
        raise results[0]


class Server:
    """All parts of one server process, wired."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._pki = ensure_cluster_pki(settings.pki_dir)
        self._backend = EtcdStore(settings.etcd, tls=_etcd_tls(settings, self._pki))
        self._sole = SoleStore(self._backend, ProcessLock(settings.data_dir / "server.lock"))
        self._store = EncryptingStore(self._sole, Keyring.load_or_create(self._pki.encryption_key))
        self._cache = Cache(self._store, REGISTRY.all(), sole=self._sole)
        self._election = Election(self._backend, identity=settings.identity)
        self._compactor = Compactor(self._backend, self._cache)
        self._addresses = ServiceAddresses(self._cache, network=settings.service_cidr)
        self._operations = Operations(self._store, self._cache, addresses=self._addresses)
        self._fenced = Operations(
            FencedStore(self._store, self._election),
            self._cache,
            addresses=self._addresses,
            ledger=self._operations.ledger,
        )
        self._figures = Figures(queries=PrometheusQueries(settings.prometheus))
        self._autoscaler: Autoscaler | None = None
        self._vertical: VerticalAutoscaler | None = None
        self._recorder = EventRecorder(self._operations, self._cache, component="flotilla")
        self._dispatcher = DispatcherServer(
            self._cache,
            self._operations,
            recorder=self._recorder,
            pki=self._pki,
            figures=self._figures,
            election=self._election,
            settings=settings,
        )
        self._api = ApiServer(
            listen=settings.listen,
            tls=ServerTls(self._pki.server.certificate, self._pki.server.key, self._pki.ca_file),
            operations=self._operations,
            cache=self._cache,
            authenticator=CertificateAuthenticator(),
            authorizer=GroupAuthorizer(),
            logs=self._dispatcher.tunnels,
            streams=self._dispatcher.tunnels,
            metrics=ResourceMetrics(self._cache, self._figures.samples),
            described=DescribedMetrics(self._cache, self._figures),
            explain=self._explain,
        )

    async def drain(self) -> None:
        """Answer what is in flight, while the store and the cache that it needs still run; nothing new is accepted."""
        await self._api.drain()

    async def run(self) -> None:
        """Run every part until cancelled."""
        await self._connect()
        try:
            async with asyncio.TaskGroup() as tasks:
                for part in (
                    self._cache,
                    self._sole,
                    self._election,
                    self._compactor,
                    self._recorder,
                    self._dispatcher,
                    self._api,
                ):
                    tasks.create_task(part.run(), name=type(part).__name__)
                tasks.create_task(self._bootstrap(), name="bootstrap")
                tasks.create_task(self._lead(), name="leadership")
        finally:
            await self._store.close()

    async def _connect(self) -> None:
        while True:
            try:
                await self._store.start()
            except StoreError as error:
                if not error.transient:
                    raise
                logger.warning("store_connecting", extra={"error": str(error)})
                await asyncio.sleep(CONNECT_RETRY_S)
            else:
                return

    async def _bootstrap(self) -> None:
        """Keep what every cluster has, once the cache shows what is there."""
        await self._cache.wait_synced()
        await keep_bootstrapped(
            self._operations,
            api_address=_advertised_address(self._settings.listen),
            api_port=int(self._settings.listen.rpartition(":")[2]),
            cluster_dns=self._settings.cluster_dns,
            service_cidr=self._settings.service_cidr,
        )

    async def _lead(self) -> None:
        """Run what exists once in a cluster, each time this server wins the leadership, until it loses it."""
        while True:
            await self._election.wait_leader()
            await self._cache.wait_synced()
            logger.info("leading", extra={"identity": self._settings.identity})
            leading = asyncio.create_task(self._run_leader_parts(), name="leader parts")
            lost = asyncio.create_task(self._election.wait_lost(), name="leadership lost")
            try:
                await asyncio.wait({leading, lost}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (leading, lost):
                    task.cancel()
                results = await asyncio.gather(leading, lost, return_exceptions=True)
            logger.info("no_longer_leading", extra={"identity": self._settings.identity})
            if isinstance(results[0], Exception):
                raise results[0]

    def _explain(self, namespace: str, name: str) -> KubeObject:
        if self._autoscaler is None or self._vertical is None or not self._election.is_leader:
            return no_autoscaler(namespace, name)
        kind, _, workload = name.rpartition("/")
        if kind:
            return self._vertical.explain(namespace, kind, workload)
        return self._autoscaler.explain(namespace, name)

    async def _run_leader_parts(self) -> None:
        controllers = build_controllers(
            self._cache,
            self._fenced,
            self._recorder,
            liveness=self._dispatcher.sessions,
            ledger=self._operations.ledger,
            node_grace_s=self._settings.node_grace_s,
            ca_certificate=self._pki.ca_pem.decode(),
            signer=self._pki.sign_client_request,
        )
        scheduler = Scheduler(self._cache, self._fenced, self._recorder)
        self._autoscaler = autoscaler = build_autoscaler(self._cache, self._fenced, self._recorder, self._figures)
        self._vertical = vertical = build_vertical_autoscaler(self._cache, self._fenced, self._recorder, self._figures)
        async with asyncio.TaskGroup() as tasks:
            for part in (*controllers, scheduler, autoscaler, vertical):
                tasks.create_task(part.run(), name=part.name)


def _etcd_tls(settings: ServerSettings, pki: ClusterPki) -> EtcdTls | None:
    if not any(url.startswith("https://") for url in settings.etcd):
        return None
    return EtcdTls(pki.etcd_ca_file, pki.etcd_client.certificate, pki.etcd_client.key)


def _advertised_address(listen: str) -> str:
    """Where pods reach the API: the address listened on, or for the wildcard the one of the default route."""
    host = listen.rpartition(":")[0].strip("[]")
    if host not in ("", "0.0.0.0", "::"):
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: only asks the kernel for the route's source address
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
