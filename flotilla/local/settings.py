"""What the local cluster is: directories, ports, networks. Every value is an option of ``flotilla up``.

The values of the last ``up`` are kept in ``<run-dir>/local.json``, so that ``down`` and a second ``up`` know what runs;
with other values than those it runs with, ``up`` says so instead of starting a second cluster in the same place.
"""

from __future__ import annotations

import json
import re
import socket
from dataclasses import asdict, dataclass, fields
from pathlib import Path

_FOREIGN = re.compile(r"[^a-z0-9.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """Directories, TCP ports and IPv4 networks of one local cluster."""

    data_dir: Path = Path("/var/lib/flotilla")
    run_dir: Path = Path("/run/flotilla")
    node_name: str = ""
    bind_address: str = "0.0.0.0"
    api_port: int = 6443
    dispatcher_port: int = 6444
    etcd_port: int = 6445
    etcd_peer_port: int = 6446
    agent_metrics_port: int = 10250
    prometheus_port: int = 9490
    prometheus: bool = True
    etcd: str = ""
    cluster_cidr: str = "10.42.0.0/16"
    service_cidr: str = "10.43.0.0/16"
    cluster_dns: str = "10.43.0.10"
    cluster_domain: str = "cluster.local"
    cgroup_parent: str = "flotilla"
    node_grace_s: float = 4.0
    agent_option: tuple[str, ...] = ()
    shutdown_grace_s: float = 0.0
    shutdown_grace_critical_s: float = 0.0

    @property
    def node(self) -> str:
        """The node's name: the host's, in the form that object names have."""
        host = _FOREIGN.sub("-", socket.gethostname().lower()).strip("-.")
        return self.node_name or host or "node"

    @property
    def pki_dir(self) -> Path:
        return self.data_dir / "pki"

    @property
    def node_dir(self) -> Path:
        return self.data_dir / "node"

    @property
    def manifest_dir(self) -> Path:
        return self.data_dir / "manifests"

    @property
    def log_dir(self) -> Path:
        return self.data_dir / "logs"

    @property
    def kubeconfig(self) -> Path:
        return self.data_dir / "admin.kubeconfig"

    @property
    def token_file(self) -> Path:
        return self.node_dir / "bootstrap-token"

    @property
    def api_url(self) -> str:
        return f"https://127.0.0.1:{self.api_port}"

    @property
    def etcd_urls(self) -> str:
        return self.etcd or f"https://127.0.0.1:{self.etcd_port}"

    @property
    def record(self) -> Path:
        return self.run_dir / "local.json"

    def save(self) -> None:
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.record.write_text(json.dumps(asdict(self), default=str), encoding="utf-8")


def load_settings(run_dir: Path) -> LocalSettings | None:
    """The settings that the last ``up`` with ``run_dir`` saved, or None."""
    try:
        values = json.loads((run_dir / "local.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = {field.name for field in fields(LocalSettings)}
    values = {key: value for key, value in values.items() if key in known}
    values |= {key: Path(values[key]) for key in ("data_dir", "run_dir") if key in values}
    values["agent_option"] = tuple(values.get("agent_option", ()))
    return LocalSettings(**values)


def differences(current: LocalSettings, wanted: LocalSettings) -> list[str]:
    """``--option: now X, asked for Y`` for each value that differs."""
    return [
        f"--{field.name.replace('_', '-')}: now {getattr(current, field.name)}, asked for {getattr(wanted, field.name)}"
        for field in fields(LocalSettings)
        if getattr(current, field.name) != getattr(wanted, field.name)
    ]
