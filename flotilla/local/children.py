"""The processes of a local cluster and their command lines, in the order in which they start.

One description serves both the supervisor and the systemd units. None waits for another: each retries until what it
needs answers, so that any of them may be killed and started at any time.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import sys
from pathlib import Path

from flotilla.cli.shutdown_periods import CRITICAL, TOTAL
from flotilla.local.child import Child
from flotilla.local.settings import LocalSettings

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE_PACKAGES = ("flotilla", "controlplane", "nodeagent", "protos")

# The disk of one's own machine is often fuller than a node's may be.
EVICTION_HARD = (
    "memory.available<100Mi,nodefs.available<5%,nodefs.inodesFree<5%,imagefs.available<5%,imagefs.inodesFree<5%"
)

AGENT_STOP_S = 10.0
ETCD_SNAPSHOT_COUNT = 1000
ETCD_HEARTBEAT_MILLIS = 100
ETCD_ELECTION_TIMEOUT_MILLIS = 500  # a single member waits this long for itself after every start
ETCD_QUOTA_BYTES = 2 * 1024**3


class MissingProgramError(Exception):
    """A program that the cluster needs is not installed; the message names it and its package."""


def children_of(settings: LocalSettings) -> list[Child]:
    """Every child of the cluster, first to start first. Raises MissingProgramError."""
    children = [] if settings.etcd else [_etcd(settings)]
    children += [_server(settings), _agent(settings), _dns(settings)]
    if settings.prometheus:
        children.append(_prometheus(settings))
    return children


def _program(name: str, package: str) -> str:
    found = shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        raise MissingProgramError(f"{name} is not installed: `apt-get install {package}`, or run deploy/up")
    return found


def _flotilla(name: str, *arguments: str, stop_grace_s: float = 10.0) -> Child:
    """A process of this program. The build in its environment makes ``up`` restart it when the code has changed."""
    command = (sys.executable, "-m", "flotilla", name, *arguments)
    environment = (("FLOTILLA_BUILD", source_digest(REPOSITORY)), ("PYTHONUNBUFFERED", "1"))
    return Child(name=name, command=command, environment=environment, stop_grace_s=stop_grace_s)


def source_digest(root: Path) -> str:
    """A short digest over the Python sources under ``root``."""
    digest = hashlib.sha256()
    for package in SOURCE_PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _etcd(settings: LocalSettings) -> Child:
    """One member, reached by client certificate only; small caches, every write synced to disk."""
    client = f"https://127.0.0.1:{settings.etcd_port}"
    peer = f"https://127.0.0.1:{settings.etcd_peer_port}"
    pki = settings.pki_dir
    flags = {
        "name": "flotilla",
        "data-dir": str(settings.data_dir / "etcd"),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"flotilla={peer}",
        "client-cert-auth": "true",
        "trusted-ca-file": str(pki / "etcd-ca.crt"),
        "cert-file": str(pki / "etcd-server.crt"),
        "key-file": str(pki / "etcd-server.key"),
        "peer-client-cert-auth": "true",
        "peer-trusted-ca-file": str(pki / "etcd-ca.crt"),
        "peer-cert-file": str(pki / "etcd-server.crt"),
        "peer-key-file": str(pki / "etcd-server.key"),
        "heartbeat-interval": str(ETCD_HEARTBEAT_MILLIS),
        "election-timeout": str(ETCD_ELECTION_TIMEOUT_MILLIS),
        "snapshot-count": str(ETCD_SNAPSHOT_COUNT),
        "quota-backend-bytes": str(ETCD_QUOTA_BYTES),
        "auto-compaction-retention": "0",
        "logger": "zap",
        "log-level": "warn",
    }
    command = (_program("etcd", "etcd-server"), *(f"--{key}={value}" for key, value in flags.items()))
    environment = (("GOGC", "40"), ("GOMAXPROCS", "1"), ("ETCD_UNSUPPORTED_ARCH", _unsupported_arch()))
    return Child(name="etcd", command=command, environment=environment)


def _unsupported_arch() -> str:
    """etcd 3.4 refuses to start on arm64 unless the architecture is confirmed by name."""
    return "arm64" if platform.machine() == "aarch64" else ""


def _server(settings: LocalSettings) -> Child:
    return _flotilla(
        "server",
        f"--data-dir={settings.data_dir}",
        f"--etcd={settings.etcd_urls}",
        f"--pki-dir={settings.pki_dir}",
        f"--listen={settings.bind_address}:{settings.api_port}",
        f"--dispatcher-listen={settings.bind_address}:{settings.dispatcher_port}",
        f"--cluster-cidr={settings.cluster_cidr}",
        f"--service-cidr={settings.service_cidr}",
        f"--cluster-dns={settings.cluster_dns}",
        f"--cluster-domain={settings.cluster_domain}",
        f"--node-grace={settings.node_grace_s}",
        f"--prometheus={f'http://127.0.0.1:{settings.prometheus_port}' if settings.prometheus else ''}",
        f"--identity={settings.node}",
    )


def _agent(settings: LocalSettings) -> Child:
    return _flotilla(
        "agent",
        f"--data-dir={settings.node_dir}",
        f"--run-dir={settings.run_dir}",
        f"--server=127.0.0.1:{settings.dispatcher_port}",
        f"--node-name={settings.node}",
        f"--token-file={settings.token_file}",
        f"--ca-file={settings.pki_dir / 'ca.crt'}",
        f"--metrics-listen=127.0.0.1:{settings.agent_metrics_port}",
        f"--cgroup-parent={settings.cgroup_parent}",
        f"--eviction-hard={EVICTION_HARD}",
        *settings.agent_option,
        f"--pod-manifest-path={settings.manifest_dir}",
        f"{TOTAL}={settings.shutdown_grace_s:g}s",
        f"{CRITICAL}={settings.shutdown_grace_critical_s:g}s",
        stop_grace_s=AGENT_STOP_S + settings.shutdown_grace_s,
    )


def _dns(settings: LocalSettings) -> Child:
    return _flotilla("dns", f"--run-dir={settings.run_dir}", f"--listen={settings.cluster_dns}", stop_grace_s=3.0)


def _prometheus(settings: LocalSettings) -> Child:
    command = (
        _program("prometheus", "prometheus"),
        f"--config.file={prometheus_config_path(settings)}",
        f"--storage.tsdb.path={settings.data_dir / 'prometheus'}",
        "--storage.tsdb.retention.time=24h",
        "--storage.tsdb.retention.size=512MB",
        f"--web.listen-address=127.0.0.1:{settings.prometheus_port}",
        "--log.level=warn",
    )
    return Child(name="prometheus", command=command, environment=(("GOGC", "50"),), stop_grace_s=2.0)


def prometheus_config_path(settings: LocalSettings) -> Path:
    return settings.data_dir / "prometheus.yaml"
