"""Starting and stopping the local cluster: what ``flotilla up`` and ``flotilla down`` do, step by step.

Each step looks at what is there first, so that any number of runs ends in the same state and the second one changes
nothing. The order of a start: trust, configuration, processes, the API, this node's way in, the node.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flotilla.api.conditions import is_true
from flotilla.api.objects import parse_time
from flotilla.cli.client import Client, ServerError
from flotilla.cli.failures import CommandError
from flotilla.cli.kubeconfig import load_cluster
from flotilla.local import systemd
from flotilla.local.bootstrap import new_token, token_secret
from flotilla.local.child import Child
from flotilla.local.children import REPOSITORY, MissingProgramError, children_of, prometheus_config_path
from flotilla.local.ports import listeners, needed_ports
from flotilla.local.process import ProcessIdentity, stop_process, wait_until_ended
from flotilla.local.settings import LocalSettings, differences, load_settings
from flotilla.local.steps import StepError, step
from flotilla.local.supervision import Spec, SupervisorPaths, read_spec, read_state, write_spec
from flotilla.local.supervisor import running_supervisor

API_TIMEOUT_S = 60.0
NODE_TIMEOUT_S = 60.0
TOKEN_LIFETIME = timedelta(hours=1)
RETRY_PERIOD_S = 0.1


def supervisor_paths(run_dir: Path) -> SupervisorPaths:
    return SupervisorPaths(run_dir / "supervisor")


def start(settings: LocalSettings) -> bool:
    """Bring the cluster up and wait until its node is Ready. False when it already ran unchanged. StepError."""
    _check_settings(settings)
    with step("programs and ports"):
        children = _children(settings)
        _check_ports(settings)
    with step("certificates and configuration"):
        _write_configuration(settings)
    started = datetime.now(UTC)
    with step("processes: " + ", ".join(child.name for child in children)):
        changed = systemd.start(children) if systemd.applies(settings) else _supervise(settings, children)
        settings.save()
    with step(f"API on {settings.api_url}"):
        client = wait_for_api(settings)
    with step(f"node {settings.node}"), client:
        _admit_node(settings, client)
        _wait_for_node(settings, client, since=started if changed else None)
    return changed


def _check_settings(settings: LocalSettings) -> None:
    current = load_settings(settings.run_dir)
    if current is None or not is_running(settings):
        return
    found = differences(current, settings)
    if found:
        raise StepError(
            "the cluster runs with other settings: " + "; ".join(found),
            remedy="run `flotilla down` first, or leave the options out",
        )


def is_running(settings: LocalSettings) -> bool:
    """Whether the processes of the cluster are looked after by anyone."""
    if systemd.applies(settings):
        return any((systemd.UNIT_DIRECTORY / f"flotilla-{name}.service").exists() for name in ("server", "agent"))
    return running_supervisor(supervisor_paths(settings.run_dir)) is not None


def _children(settings: LocalSettings) -> list[Child]:
    try:
        return children_of(settings)
    except MissingProgramError as error:
        raise StepError(str(error)) from error


def _check_ports(settings: LocalSettings) -> None:
    ours = {record.identity.pid for record in read_state(supervisor_paths(settings.run_dir).state).values()}
    needed = needed_ports(settings)
    foreign = [each for each in listeners(needed) if each.pid not in ours]
    if systemd.applies(settings) and is_running(settings):
        return
    if foreign:
        options = ", ".join(sorted({f"{needed[each.port]} PORT" for each in foreign}))
        raise StepError(
            "; ".join(dict.fromkeys(map(str, foreign))),
            remedy=f"stop that process, or choose another port: flotilla up {options}",
        )


def _write_configuration(settings: LocalSettings) -> None:
    """Certificates, the admin's kubeconfig, a bootstrap token, Prometheus' configuration; only what is missing."""
    from controlplane.pki import ensure_cluster_pki, write_kubeconfig

    settings.data_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    settings.run_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    for private in (settings.data_dir / "etcd", settings.pki_dir, settings.node_dir):
        private.mkdir(mode=0o711 if private == settings.node_dir else 0o700, exist_ok=True)
    settings.log_dir.mkdir(exist_ok=True)
    pki = ensure_cluster_pki(settings.pki_dir, server_names=(settings.node, socket.gethostname(), *host_addresses()))
    write_kubeconfig(settings.kubeconfig, server_url=settings.api_url, pki=pki)
    _give_to_caller(settings.kubeconfig)
    if not settings.token_file.exists():
        settings.token_file.touch(mode=0o600)
        settings.token_file.write_text(new_token() + "\n", encoding="ascii")
    if settings.prometheus:
        _write_prometheus_configuration(settings)


def host_addresses() -> list[str]:
    """The IPv4 addresses of this host's links, which the server's certificate must name."""
    output = subprocess.run(
        ["ip", "-4", "-o", "addr", "show", "scope", "global"], check=True, capture_output=True, text=True
    )
    fields = (line.split() for line in output.stdout.splitlines())
    found = [(words[1], words[3].partition("/")[0]) for words in fields if len(words) > 3 and words[2] == "inet"]
    return [address for link, address in found if not link.startswith(("flt", "docker", "cni", "veth", "br-"))]


def _give_to_caller(path: Path) -> None:
    """Let the user who called sudo read the kubeconfig; root reads it anyway."""
    user, group = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() == 0 and user.isdigit() and group.isdigit():
        os.chown(path, int(user), int(group))


def _write_prometheus_configuration(settings: LocalSettings) -> None:
    text = (REPOSITORY / "deploy" / "prometheus.yaml").read_text(encoding="utf-8")
    values = {
        "@API_PORT@": str(settings.api_port),
        "@AGENT_METRICS_PORT@": str(settings.agent_metrics_port),
        "@PROMETHEUS_PORT@": str(settings.prometheus_port),
        "@PKI_DIR@": str(settings.pki_dir),
        "@NODE@": settings.node,
        "@RULES@": str(REPOSITORY / "deploy" / "prometheus-rules.yaml"),
    }
    for place, value in values.items():
        text = text.replace(place, value)
    prometheus_config_path(settings).write_text(text, encoding="utf-8")


def _supervise(settings: LocalSettings, children: list[Child]) -> bool:
    """Start a supervisor, or tell the running one what changed. False when it runs with the same children."""
    paths = supervisor_paths(settings.run_dir)
    paths.directory.mkdir(mode=0o700, exist_ok=True)
    wanted = Spec(tuple(children), settings.log_dir)
    supervisor = running_supervisor(paths)
    if supervisor is not None:
        if read_spec(paths.spec) == wanted:
            return False
        write_spec(paths.spec, wanted)
        os.kill(supervisor.pid, 1)
        return True
    write_spec(paths.spec, wanted)
    log = settings.log_dir / "supervisor.log"
    with log.open("ab") as stream:
        subprocess.Popen(
            [sys.executable, "-m", "flotilla.local.supervisor", str(paths.directory)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            cwd="/",
            start_new_session=True,
        )
    _wait(lambda: running_supervisor(paths) is not None, timeout_s=10.0, what="the supervisor did not start", log=log)
    return True


def wait_for_api(settings: LocalSettings) -> Client:
    """A client of the API once it says that it is ready. StepError naming the log of what hinders it."""
    client = Client(load_cluster(settings.kubeconfig))

    def ready() -> bool:
        with suppress(CommandError):
            return client.text("/readyz").startswith("ok")
        return False

    _wait(
        ready,
        timeout_s=API_TIMEOUT_S,
        what=f"the API did not become ready within {API_TIMEOUT_S:.0f} s",
        log=_log_of(settings, "server"),
        remedy=_remedy(settings, "server", "etcd"),
    )
    return client


def _admit_node(settings: LocalSettings, client: Client) -> None:
    """Make the bootstrap token valid unless the node is already known; it is used once and expires."""
    try:
        client.get(f"/api/v1/nodes/{settings.node}")
        return
    except ServerError as error:
        if error.reason != "NotFound":
            raise
    token = settings.token_file.read_text(encoding="ascii").strip()
    secret = token_secret(token, expires=datetime.now(UTC) + TOKEN_LIFETIME, description="made by flotilla up")
    path = f"/api/v1/namespaces/kube-system/secrets/{secret['metadata']['name']}"
    client.patch(
        path,
        secret,
        content_type="application/apply-patch+yaml",
        query={"fieldManager": "flotilla-up", "force": "true"},
    )


def _wait_for_node(settings: LocalSettings, client: Client, *, since: datetime | None) -> None:
    """Return when the node is Ready, by a session opened after ``since``: what is stored may be of an earlier life."""

    def ready() -> bool:
        try:
            if since is not None:
                lease = client.get(f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{settings.node}")
                if parse_time(lease["spec"]["renewTime"]) < since:
                    return False
            return is_true(client.get(f"/api/v1/nodes/{settings.node}"), "Ready")
        except CommandError:
            return False

    _wait(
        ready,
        timeout_s=NODE_TIMEOUT_S,
        what=f"node {settings.node} did not become Ready within {NODE_TIMEOUT_S:.0f} s",
        log=_log_of(settings, "agent"),
        remedy=_remedy(settings, "agent"),
    )


def _log_of(settings: LocalSettings, name: str) -> Path | None:
    """The log file of a child; None where systemd keeps the logs."""
    return None if systemd.applies(settings) else settings.log_dir / f"{name}.log"


def _remedy(settings: LocalSettings, *names: str) -> str:
    if systemd.applies(settings):
        return "see " + " and ".join(f"`journalctl -u flotilla-{name}`" for name in names) + ", then run it again"
    return "see " + " and ".join(str(settings.log_dir / f"{name}.log") for name in names) + ", then run it again"


def _wait(done: Callable[[], bool], *, timeout_s: float, what: str, log: Path | None, remedy: str = "") -> None:
    deadline_s = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline_s:
            raise StepError(what, remedy=remedy, log=log)
        time.sleep(RETRY_PERIOD_S)


def recorded_settings(data_dir: Path, run_dir: Path) -> LocalSettings | None:
    """What the cluster in these directories was started with; None where none was since the machine started.

    Only the machine's own cluster is known by its directories alone: to guess for any other one which cgroup and
    networks are its own would be to stop somebody else's containers.
    """
    recorded = load_settings(run_dir)
    default = LocalSettings()
    if recorded is not None or not data_dir.exists() or (data_dir, run_dir) != (default.data_dir, default.run_dir):
        return recorded
    return default


def remove_files(*directories: Path) -> None:
    for directory in directories:
        if directory.exists():
            shutil.rmtree(directory)


def stop(settings: LocalSettings, *, purge: bool, grace_s: float = 5.0) -> None:
    """Stop every process and container; with ``purge`` remove everything that the cluster made on this machine."""
    from nodeagent import purge as node

    with step("processes"):
        _stop_processes(settings, purge=purge)
    with step("containers"):
        node.stop_containers(settings.run_dir, cgroup_parent=settings.cgroup_parent, grace_s=grace_s)
    if not purge:
        return
    with step("mounts, namespaces, links, tables, cgroups"):
        node.purge_node(settings.node_dir, settings.run_dir, cgroup_parent=settings.cgroup_parent)
    with step(f"files: {settings.data_dir}, {settings.run_dir}"):
        remove_files(settings.data_dir, settings.run_dir)


def _stop_processes(settings: LocalSettings, *, purge: bool) -> None:
    if systemd.applies(settings) and systemd.stop(remove=purge):
        return
    paths = supervisor_paths(settings.run_dir)
    supervisor = running_supervisor(paths)
    if supervisor is not None:
        os.kill(supervisor.pid, 15)
        if not wait_until_ended(supervisor, timeout_s=60.0):
            raise StepError("the supervisor did not stop within 60 s", log=settings.log_dir / "supervisor.log")
    for identity in _left_running(paths):
        stop_process(identity, grace_s=10.0)


def _left_running(paths: SupervisorPaths) -> list[ProcessIdentity]:
    """Children that outlived a killed supervisor, last started first."""
    return [record.identity for record in reversed(read_state(paths.state).values())]
