"""What the agent is started with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nodeagent.images.disk import DiskThresholds
from nodeagent.images.store import PARALLEL_PULLS
from nodeagent.isolation.choice import UserNamespaceMode
from nodeagent.log_rotation import LogBounds
from nodeagent.node_shutdown import Period
from nodeagent.pressure.thresholds import EvictionSettings, parse_settings
from nodeagent.reserves import Reserves
from nodeagent.runtime.runtimes import Handler, RuntimeName

DEFAULT_PIDS_LIMIT = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """One node's configuration. ``servers`` are ``HOST:PORT`` of dispatchers; the token is needed only to join."""

    data_dir: Path
    run_dir: Path
    servers: tuple[str, ...]
    node_name: str
    token_file: Path | None
    ca_file: Path
    metrics_listen: str
    cgroup_parent: str
    pids_limit: int = DEFAULT_PIDS_LIMIT
    user_namespaces: UserNamespaceMode = "auto"
    runtime: RuntimeName = "auto"
    pod_manifest_path: Path | None = None
    unsafe_sysctls: tuple[str, ...] = ()
    runtime_handlers: tuple[Handler, ...] = ()
    shutdown_periods: tuple[Period, ...] = ()
    logs: LogBounds = field(default_factory=LogBounds)
    parallel_pulls: int = PARALLEL_PULLS
    disk_thresholds: DiskThresholds = field(default_factory=DiskThresholds)
    reserves: Reserves = field(default_factory=Reserves)
    eviction: EvictionSettings = field(default_factory=parse_settings)

    @property
    def private_dir(self) -> Path:
        """A tmpfs, mode 0700, for what may hold secrets: bundles and the Secrets assigned to this node."""
        return self.run_dir / "private"
