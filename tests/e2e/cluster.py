"""A whole cluster for the end-to-end tests, brought up from the checkout by ``flotilla up``.

It lives in a network namespace of its own, with its own directories and cgroup parent, so that it has all default ports
and networks to itself and never meets a cluster, or anything else, that runs on this machine. One cluster serves the
whole session; every test works in a Kubernetes namespace of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
KUBECTL_DIR = Path(os.environ.get("FLOTILLA_KUBECTL_DIR", ROOT / ".cache" / "kubectl"))
KUBECTL_VERSIONS = ("1.35", "1.31")
SPDY_KUBECTL_VERSION = "1.20"
NODE_ADDRESS = "192.0.2.10"


def until(condition: Callable[[], Any], *, timeout_s: float = 30.0, what: str = "the condition") -> Any:
    """The first true value of ``condition``; fails when there is none within ``timeout_s``."""
    deadline_s = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline_s, f"{what} did not come true within {timeout_s:.0f} s"
        time.sleep(0.05)
    return value


class NetworkNamespace:
    """A network namespace with a loopback and one link (to nowhere) that has an address and the default route."""

    def __init__(self) -> None:
        self.name = f"flotilla-e2e-{os.getpid()}-{uuid.uuid4().hex[:6]}"

    def create(self) -> None:
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        for command in (
            "link set lo up",
            "link add eth0 type veth peer name uplink",
            "link set uplink up",
            f"addr add {NODE_ADDRESS}/24 dev eth0",
            "link set eth0 up",
            "route add default via 192.0.2.1",
        ):
            subprocess.run(["ip", "-n", self.name, *command.split()], check=True)

    def delete(self) -> None:
        subprocess.run(["ip", "netns", "delete", self.name], check=True)

    def enter(self, *command: str) -> list[str]:
        """``command`` to be run inside; only the network is another one, mounts and processes are the machine's."""
        return ["nsenter", f"--net=/run/netns/{self.name}", "--", *command]


@dataclass
class Cluster:
    """A running cluster and how to talk to it from inside its network namespace."""

    network: NetworkNamespace
    data_dir: Path
    run_dir: Path
    cgroup_parent: str

    @property
    def kubeconfig(self) -> Path:
        return self.data_dir / "admin.kubeconfig"

    @property
    def options(self) -> list[str]:
        """The options of ``flotilla up`` that make this cluster."""
        return [
            f"--data-dir={self.data_dir}",
            f"--run-dir={self.run_dir}",
            f"--cgroup-parent={self.cgroup_parent}",
            "--node-name=node-1",
            "--agent-option=--container-log-monitor-interval=1s",
        ]

    def command(self, *command: str) -> list[str]:
        return self.network.enter(*command)

    def environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.data_dir / "home")}

    def run(
        self, *command: str, check: bool = True, stdin: str | None = None, timeout_s: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside; with ``check`` a failure shows what it printed."""
        result = subprocess.run(
            self.command(*command),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=self.environment(),
            timeout=timeout_s,
        )
        if check and result.returncode != 0:
            pytest.fail(f"{' '.join(command)}: exit {result.returncode}\n{result.stdout}\n{result.stderr}")
        return result

    def flotilla(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "flotilla", *arguments, **options)

    def get(self, *arguments: str) -> Any:
        """An object or a List as ``flotilla get -o json`` gives it."""
        return json.loads(self.flotilla("get", *arguments, "-o", "json").stdout)

    def up(self) -> subprocess.CompletedProcess[str]:
        return self.flotilla("up", *self.options, timeout_s=150)

    def down(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.flotilla(
            "down", f"--data-dir={self.data_dir}", f"--run-dir={self.run_dir}", *arguments, timeout_s=150
        )


def new_cluster(directory: Path) -> Cluster:
    """A cluster that has been described but not started."""
    identifier = uuid.uuid4().hex[:6]
    return Cluster(
        network=NetworkNamespace(),
        data_dir=directory / "data",
        run_dir=Path(f"/run/flotilla-e2e-{identifier}"),
        cgroup_parent=f"flotilla-e2e-{identifier}",
    )


@dataclass
class Kubectl:
    """One version of kubectl against the session's cluster."""

    cluster: Cluster
    program: Path
    version: str

    def __call__(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.cluster.run(str(self.program), *arguments, **options)


def find_kubectl(version: str) -> Path | None:
    """The kubectl of ``version`` that deploy/fetch-kubectl has put into the cache."""
    program = KUBECTL_DIR / f"kubectl-{version}"
    return program if program.exists() else None
