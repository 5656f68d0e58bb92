"""The long-running processes, one a role: their command lines, and nothing else.

``flotilla up`` and the systemd units start these; the arguments are the whole configuration of a process, so that
``ps`` shows how it was started. The roles' modules are imported only by the process that plays the role.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated

import typer

from flotilla.logs import LEVELS, LogFormat, configure_logging

LogLevel = Annotated[str, typer.Option("--log-level", help=f"Least level to log: {', '.join(LEVELS)}.")]
LogFormatOption = Annotated[LogFormat, typer.Option("--log-format", help="Form of a log line.")]
RunDir = Annotated[Path, typer.Option(help="Directory of run-time files, on a tmpfs.")]


def server(
    data_dir: Annotated[Path, typer.Option(help="Directory of the server's own files.")],
    etcd: Annotated[str, typer.Option(help="URLs of etcd, separated by commas.")],
    pki_dir: Annotated[
        Path | None, typer.Option(help="Directory of keys and certificates.", show_default="DATA_DIR/pki")
    ] = None,
    listen: Annotated[str, typer.Option(help="Address of the API.")] = "0.0.0.0:6443",
    dispatcher_listen: Annotated[str, typer.Option(help="Address that agents dial.")] = "0.0.0.0:6444",
    cluster_cidr: Annotated[str, typer.Option(help="Network of the pods.")] = "10.42.0.0/16",
    service_cidr: Annotated[str, typer.Option(help="Network of the services.")] = "10.43.0.0/16",
    cluster_dns: Annotated[str, typer.Option(help="Service address of the cluster's DNS.")] = "10.43.0.10",
    cluster_domain: Annotated[str, typer.Option(help="DNS domain of the cluster.")] = "cluster.local",
    node_grace: Annotated[float, typer.Option(help="Seconds without contact until a node counts as lost.")] = 4.0,
    identity: Annotated[str, typer.Option(help="This server's name among several.", show_default="host name")] = "",
    log_level: LogLevel = "info",
    log_format: LogFormatOption = "logfmt",
) -> None:
    """Run the control plane: API, controllers, scheduler, autoscaler, dispatcher.

    Example: [bold]flotilla server --data-dir /var/lib/flotilla --etcd https://127.0.0.1:6445[/bold]
    """
    configure_logging("server", level=log_level, log_format=log_format)
    from controlplane.server import run

    from controlplane.settings import ServerSettings

    run(
        ServerSettings(
            data_dir=data_dir,
            pki_dir=pki_dir or data_dir / "pki",
            etcd=tuple(url.strip() for url in etcd.split(",")),
            listen=listen,
            dispatcher_listen=dispatcher_listen,
            cluster_cidr=cluster_cidr,
            service_cidr=service_cidr,
            cluster_dns=cluster_dns,
            cluster_domain=cluster_domain,
            node_grace_s=node_grace,
            identity=identity or socket.gethostname(),
        )
    )


def agent(
    data_dir: Annotated[Path, typer.Option(help="Directory of the node's files: pods, images, logs.")],
    server: Annotated[list[str], typer.Option(help="HOST:PORT of a server's dispatcher; may be repeated.")],
    ca_file: Annotated[Path, typer.Option(help="Certificate of the cluster's CA.")],
    run_dir: RunDir = Path("/run/flotilla"),
    node_name: Annotated[str, typer.Option(help="Name of this node.", show_default="host name")] = "",
    token_file: Annotated[Path | None, typer.Option(help="Bootstrap token, needed once, to join.")] = None,
    metrics_listen: Annotated[str, typer.Option(help="Address of /metrics.")] = "127.0.0.1:10250",
    cgroup_parent: Annotated[str, typer.Option(help="cgroup that holds all pods.")] = "flotilla",
    log_level: LogLevel = "info",
    log_format: LogFormatOption = "logfmt",
) -> None:
    """Run the node agent, which keeps this machine's pods as the control plane wants them.

    Example: [bold]flotilla agent --data-dir /var/lib/flotilla/node --server 127.0.0.1:6444 --ca-file ca.crt[/bold]
    """
    configure_logging("agent", level=log_level, log_format=log_format)
    from nodeagent.agent import run
    from nodeagent.settings import AgentSettings

    run(
        AgentSettings(
            data_dir=data_dir,
            run_dir=run_dir,
            servers=tuple(server),
            node_name=node_name or socket.gethostname().lower(),
            token_file=token_file,
            ca_file=ca_file,
            metrics_listen=metrics_listen,
            cgroup_parent=cgroup_parent,
        )
    )


def dns(
    run_dir: RunDir = Path("/run/flotilla"),
    listen: Annotated[str, typer.Option(help="Address to answer on, port 53.")] = "10.43.0.10",
    log_level: LogLevel = "info",
    log_format: LogFormatOption = "logfmt",
) -> None:
    """Run the node's DNS, which answers pods' questions for service names and forwards the rest.

    Example: [bold]flotilla dns --run-dir /run/flotilla --listen 10.43.0.10[/bold]
    """
    configure_logging("dns", level=log_level, log_format=log_format)
    from nodeagent.dns.server import run
    from nodeagent.dns.settings import DnsSettings

    run(DnsSettings(run_dir=run_dir, listen=listen))
