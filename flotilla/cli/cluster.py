"""``flotilla up`` and ``flotilla down``: the local cluster's life."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from flotilla.cli.failures import CommandError

DataDir = Annotated[Path, typer.Option(help="Directory of all data.")]
RunDir = Annotated[Path, typer.Option(help="Directory of run-time files, on a tmpfs.")]


def up(
    data_dir: DataDir = Path("/var/lib/flotilla"),
    run_dir: RunDir = Path("/run/flotilla"),
    node_name: Annotated[str, typer.Option(help="Name of this node.", show_default="host name")] = "",
    bind_address: Annotated[str, typer.Option(help="Address that API and dispatcher listen on.")] = "0.0.0.0",
    api_port: Annotated[int, typer.Option(help="Port of the API.")] = 6443,
    dispatcher_port: Annotated[int, typer.Option(help="Port that agents dial.")] = 6444,
    etcd: Annotated[str, typer.Option(help="URLs of an existing etcd, instead of starting one.")] = "",
    etcd_port: Annotated[int, typer.Option(help="Port of etcd for clients, on 127.0.0.1.")] = 6445,
    etcd_peer_port: Annotated[int, typer.Option(help="Port of etcd for peers, on 127.0.0.1.")] = 6446,
    agent_metrics_port: Annotated[int, typer.Option(help="Port of the agent's /metrics, on 127.0.0.1.")] = 10250,
    prometheus_port: Annotated[int, typer.Option(help="Port of Prometheus, on 127.0.0.1.")] = 9490,
    prometheus: Annotated[bool, typer.Option(help="Start Prometheus.")] = True,
    cluster_cidr: Annotated[str, typer.Option(help="Network of the pods.")] = "10.42.0.0/16",
    service_cidr: Annotated[str, typer.Option(help="Network of the services.")] = "10.43.0.0/16",
    cluster_dns: Annotated[str, typer.Option(help="Service address of the cluster's DNS.")] = "10.43.0.10",
    cluster_domain: Annotated[str, typer.Option(help="DNS domain of the cluster.")] = "cluster.local",
    cgroup_parent: Annotated[str, typer.Option(help="cgroup that holds all pods.")] = "flotilla",
    agent_option: Annotated[
        list[str] | None, typer.Option(help="An option of `flotilla agent` to pass on: --max-pods=20. May be repeated.")
    ] = None,
    node_grace: Annotated[float, typer.Option(help="Seconds without contact until a node counts as lost.")] = 4.0,
    shutdown_grace: Annotated[
        float, typer.Option(help="Seconds for pods to end in when systemd stops the machine; 0 leaves them to it.")
    ] = 0.0,
    shutdown_grace_critical: Annotated[float, typer.Option(help="How many of them are for critical pods.")] = 0.0,
) -> None:
    """Start a cluster on this machine: etcd, server, agent, DNS, Prometheus. Changes nothing where it already runs.

    Examples: [bold]sudo flotilla up[/bold], [bold]sudo flotilla up --no-prometheus --api-port 7443[/bold]
    """
    _require_root("up")
    from flotilla.local.cluster import start
    from flotilla.local.settings import LocalSettings

    settings = LocalSettings(
        data_dir=data_dir.absolute(),
        run_dir=run_dir.absolute(),
        node_name=node_name,
        bind_address=bind_address,
        api_port=api_port,
        dispatcher_port=dispatcher_port,
        etcd=etcd,
        etcd_port=etcd_port,
        etcd_peer_port=etcd_peer_port,
        agent_metrics_port=agent_metrics_port,
        prometheus_port=prometheus_port,
        prometheus=prometheus,
        cluster_cidr=cluster_cidr,
        service_cidr=service_cidr,
        cluster_dns=cluster_dns,
        cluster_domain=cluster_domain,
        cgroup_parent=cgroup_parent,
        agent_option=tuple(agent_option or ()),
        node_grace_s=node_grace,
        shutdown_grace_s=shutdown_grace,
        shutdown_grace_critical_s=shutdown_grace_critical,
    )
    if shutdown_grace_critical > shutdown_grace:
        raise CommandError("--shutdown-grace-critical: it is a part of --shutdown-grace, and can't be more")
    changed = start(settings)
    print(f"The cluster {'is up' if changed else 'was up already; nothing changed'}: {settings.api_url}")
    print(f"For kubectl: export KUBECONFIG={settings.kubeconfig}")


def down(
    data_dir: DataDir = Path("/var/lib/flotilla"),
    run_dir: RunDir = Path("/run/flotilla"),
    purge: Annotated[bool, typer.Option("--purge", help="Remove all state as well, data included.")] = False,
    grace: Annotated[float, typer.Option(help="Seconds that containers may take to end after SIGTERM.")] = 5.0,
) -> None:
    """Stop the cluster on this machine, its containers included.

    Examples: [bold]sudo flotilla down[/bold], [bold]sudo flotilla down --purge[/bold]
    """
    _require_root("down")
    from flotilla.local.cluster import recorded_settings, remove_files, stop

    settings = recorded_settings(data_dir.absolute(), run_dir.absolute())
    if settings is not None:
        stop(settings, purge=purge, grace_s=grace)
        return
    print(f"No cluster runs in {data_dir}.")
    if purge:
        remove_files(data_dir, run_dir)


def _require_root(command: str) -> None:
    if os.geteuid() != 0:
        raise CommandError(f"flotilla {command} must run as root: sudo flotilla {command}")
