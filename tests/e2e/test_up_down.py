"""``flotilla up`` and ``down``: a start from nothing, what survives, what is repaired, and what is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from flotilla.local.process import identify
from flotilla.local.supervision import SupervisorPaths, read_state
from flotilla.local.supervisor import running_supervisor

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_DATA = Path("/var/lib/flotilla")
PROGRAM_LINK = Path("/usr/local/bin/flotilla")

pytestmark = [pytest.mark.e2e, pytest.mark.root, pytest.mark.timeout(300)]


def _pids(run_dir: Path) -> dict[str, int]:
    """The pid of each child that is alive."""
    records = read_state(SupervisorPaths(run_dir / "supervisor").state)
    return {name: each.identity.pid for name, each in records.items() if identify(each.identity.pid) == each.identity}


def _machine(network: Any, *words: str) -> dict[str, list[str]]:
    """What the machine holds of a cluster: mounts, cgroups, processes, links, nftables tables, files."""

    def inside(*command: str) -> list[str]:
        return subprocess.run(network.enter(*command), capture_output=True, text=True, check=True).stdout.splitlines()

    def named(text: str) -> bool:
        return any(word in text for word in words)

    cgroups = [str(path) for path in Path("/sys/fs/cgroup").glob("*/*") if named(path.name)]
    commands = {
        path: path.read_bytes().decode("utf-8", "replace")
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if _readable(path)
    }
    own = str(os.getpid())
    return {
        "mounts": [
            line for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines() if named(line)
        ],
        "cgroups": cgroups + [str(path) for path in Path("/sys/fs/cgroup").glob("*") if named(path.name)],
        "processes": sorted(text for path, text in commands.items() if named(text) and path.parent.name != own),
        "links": sorted(line.split(":")[1].strip() for line in inside("ip", "-o", "link")),
        "tables": sorted(inside("nft", "list", "tables")),
        "routes": sorted(inside("ip", "route")),
    }


def _readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def _default_cgroups() -> list[Path]:
    return [*Path("/sys/fs/cgroup").glob("flotilla"), *Path("/sys/fs/cgroup").glob("*/flotilla")]


def _all_run(cluster: Any) -> bool:
    """Whether both copies of the sample run, by their containers' own states."""
    statuses = [each for pod in cluster.get("pods")["items"] for each in pod["status"].get("containerStatuses", [])]
    return len(statuses) == 2 and all(each["ready"] and "running" in each["state"] for each in statuses)


@pytest.fixture
def own_cluster(tmp_path: Path, e2e: Any) -> Iterator[Any]:
    """A cluster of this test's own, not started yet; purged at the end."""
    made = e2e.new_cluster(tmp_path)
    made.network.create()
    yield made
    made.down("--purge")
    made.network.delete()


def test_a_life(own_cluster: Any, sample_archive: Path, e2e: Any) -> None:
    """Up from nothing, up again unchanged, repaired after kills, down with the data kept, purged without a trace."""
    cluster = own_cluster
    words = (str(cluster.data_dir), str(cluster.run_dir), cluster.cgroup_parent)
    before = _machine(cluster.network, *words)
    assert "The cluster is up" in cluster.up().stdout
    pids = _pids(cluster.run_dir)
    assert pids.keys() == {"etcd", "server", "agent", "dns", "prometheus"}

    assert "nothing changed" in cluster.up().stdout
    assert _pids(cluster.run_dir) == pids

    config_map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept}\ndata: {a: b}\n"
    cluster.flotilla("apply", "-f", "-", stdin=config_map)
    cluster.flotilla("image", "load", str(sample_archive), f"--node-dir={cluster.data_dir / 'node'}")
    cluster.flotilla("apply", "-f", str(ROOT / "manifests" / "service.yaml"))
    e2e.until(lambda: cluster.get("deploy", "web")["status"].get("availableReplicas") == 2, what="the sample")

    for name in ("etcd", "server", "agent", "dns"):
        os.kill(pids[name], signal.SIGKILL)
        killed_s = time.monotonic()
        e2e.until(lambda name=name: _pids(cluster.run_dir).get(name) not in (None, pids[name]), what=f"a new {name}")
        assert time.monotonic() - killed_s < 1.5, name
    e2e.until(lambda: cluster.flotilla("get", "configmap", "kept", check=False).returncode == 0, what="the API")

    supervisor = running_supervisor(SupervisorPaths(cluster.run_dir / "supervisor"))
    assert supervisor is not None
    pids = _pids(cluster.run_dir)
    os.kill(supervisor.pid, signal.SIGKILL)
    e2e.until(lambda: identify(supervisor.pid) != supervisor, what="the supervisor's end")
    cluster.up()
    assert _pids(cluster.run_dir) == pids

    for _ in range(3):  # a planned stop is no crash: however often, nothing backs off
        cluster.down()
        assert [line for line in _machine(cluster.network, *words)["processes"] if "pytest" not in line] == []
        cluster.up()
        assert cluster.get("configmap", "kept")["data"] == {"a": "b"}
        e2e.until(lambda: _all_run(cluster), timeout_s=10, what="the sample again")

    cluster.down("--purge")
    assert not cluster.data_dir.exists()
    assert not cluster.run_dir.exists()
    assert _machine(cluster.network, *words) == before


def test_a_taken_port_is_reported_with_its_owner(own_cluster: Any) -> None:
    """``up`` refuses to start beside someone else's listener, and says whose it is and how to move."""
    program = "import socket,time; s = socket.create_server(('127.0.0.1', 6443)); print(1, flush=True); time.sleep(60)"
    command = own_cluster.command(sys.executable, "-c", program)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        listener.stdout.readline()
        result = own_cluster.run(sys.executable, "-m", "flotilla", "up", *own_cluster.options, check=False)
        listener.kill()
    assert result.returncode == 1
    assert "port 6443 is taken by python" in result.stderr
    assert "flotilla up --api-port PORT" in result.stderr
    assert _pids(own_cluster.run_dir) == {}


def test_other_settings_are_not_a_second_cluster(cluster: Any) -> None:
    """A running cluster is not changed by an ``up`` with other options: it says which differ."""
    result = cluster.flotilla("up", *cluster.options, "--node-grace=9", check=False)
    assert result.returncode == 1
    assert "--node-grace-s: now 4.0, asked for 9.0" in result.stderr


def test_nobody_gets_in_without_a_certificate(cluster: Any) -> None:
    """Anonymous calls get 401 from the API, etcd and the dispatcher refuse to talk, Prometheus' targets are up."""
    body = cluster.run("curl", "-sk", "https://127.0.0.1:6443/api/v1/pods").stdout
    assert json.loads(body)["code"] == 401
    assert cluster.run("curl", "-sk", "https://127.0.0.1:6445/health", check=False).returncode != 0
    kubeconfig = cluster.kubeconfig.stat()
    assert (kubeconfig.st_uid, kubeconfig.st_mode & 0o777) == (0, 0o600)


def test_prometheus_scrapes_both(cluster: Any, e2e: Any) -> None:
    """Prometheus reaches the server, by its client certificate, and the agent."""

    def up() -> bool:
        answer = cluster.run("curl", "-s", "http://127.0.0.1:9490/api/v1/query?query=up").stdout
        results = json.loads(answer or "{}").get("data", {}).get("result", [])
        return {each["metric"]["job"] for each in results if each["value"][1] == "1"} >= {
            "flotilla-server",
            "flotilla-agent",
        }

    e2e.until(up, what="both targets up")
    targets = json.loads(cluster.run("curl", "-s", "http://127.0.0.1:9490/api/v1/targets").stdout)["data"]
    assert {each["health"] for each in targets["activeTargets"]} <= {"up", "unknown"}
    rules = json.loads(cluster.run("curl", "-s", "http://127.0.0.1:9490/api/v1/rules").stdout)["data"]["groups"]
    assert {rule["lastError"] for group in rules for rule in group["rules"] if "lastError" in rule} <= {""}
    dashboard = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text(encoding="utf-8"))
    for target in [target for panel in dashboard["panels"] for target in panel["targets"]]:
        query = f"query={quote(target['expr'].replace('$namespace', '.*'))}"
        answer = json.loads(cluster.run("curl", "-s", f"http://127.0.0.1:9490/api/v1/query?{query}").stdout)
        assert answer["status"] == "success", target["expr"]


def test_deploy_up_does_it_all(e2e: Any) -> None:
    """``deploy/up`` ends with the sample answering from two pods; again it changes nothing; ``down --purge`` cleans."""
    if DEFAULT_DATA.exists() or _default_cgroups():
        pytest.skip(f"{DEFAULT_DATA} or its cgroup exists: a cluster lives on this machine")
    if PROGRAM_LINK.exists() and PROGRAM_LINK.resolve() != (ROOT / ".venv" / "bin" / "flotilla").resolve():
        pytest.skip(f"{PROGRAM_LINK} belongs to another checkout")
    network = e2e.NetworkNamespace()
    network.create()

    def run(script: str, *arguments: str) -> str:
        command = network.enter(str(ROOT / "deploy" / script), *arguments)
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    try:
        before = _machine(network, "/var/lib/flotilla", "/run/flotilla/")
        first = run("up")
        answers = {line.strip() for line in first.splitlines() if line.strip().startswith("Hello from")}
        assert len(answers) == 2
        assert "Try next:" in first
        started_s = time.monotonic()
        second = run("up")
        assert time.monotonic() - started_s < 15
        assert "nothing changed" in second
        assert "deployment.apps/web unchanged" in second
    finally:
        run("down", "--purge")
    after = _machine(network, "/var/lib/flotilla", "/run/flotilla/")
    network.delete()
    assert not DEFAULT_DATA.exists()
    assert not PROGRAM_LINK.exists()
    assert _default_cgroups() == []
    assert after == before
