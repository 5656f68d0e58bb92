"""The long-running processes, one a role: their command lines, and nothing else.

``flotilla up`` and the systemd units start these; the arguments are the whole configuration of a process, so that
``ps`` shows how it was started. They are parsed by ``argparse``: the library of the other commands would stay in memory
with each process for as long as it runs, and delay its restart. The roles' modules are imported only by the process
that plays the role.
"""

from __future__ import annotations

import socket
import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from flotilla.api.durations import parse_duration
from flotilla.cli.failures import CommandError
from flotilla.cli.node_resources import add_resource_options, read_log_options, read_resource_options
from flotilla.cli.runtime_handlers import read_handlers
from flotilla.cli.shutdown_periods import BY_PRIORITY, CRITICAL, TOTAL, parse_periods
from flotilla.logs import LEVELS, configure_logging


class _Parser(ArgumentParser):
    """A parser that leaves with 1 on wrong use, as every other failure does."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.print_usage(sys.stderr)
        self.exit(1, f"error: {message}\n")


def run_process(arguments: Sequence[str]) -> None:
    """Play the role that the first of ``arguments`` names, until the process is told to stop."""
    name = arguments[0]
    parser, run = _roles()[name]
    options = parser.parse_args(arguments[1:])
    configure_logging(name, level=options.log_level, log_format=options.log_format)
    try:
        run(options)
    except CommandError as error:
        parser.error(str(error))


def _roles() -> dict[str, tuple[ArgumentParser, Callable[[Namespace], None]]]:
    return {
        "server": (_server_parser(), _run_server),
        "agent": (_agent_parser(), _run_agent),
        "dns": (_dns_parser(), _run_dns),
    }


def _parser(name: str, description: str, example: str) -> ArgumentParser:
    parser = _Parser(
        prog=f"flotilla {name}",
        description=description,
        epilog=f"Example: flotilla {name} {example}",
        formatter_class=ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--log-level", choices=LEVELS, default="info", help="least level to log")
    parser.add_argument("--log-format", choices=("logfmt", "json"), default="logfmt", help="form of a log line")
    return parser


def _server_parser() -> ArgumentParser:
    parser = _parser(
        "server",
        "Run the control plane: API, controllers, scheduler, autoscaler, dispatcher.",
        "--data-dir /var/lib/flotilla --etcd https://127.0.0.1:6445",
    )
    add = parser.add_argument
    add("--data-dir", type=Path, required=True, help="directory of the server's own files")
    add("--etcd", required=True, help="URLs of etcd, separated by commas")
    add("--pki-dir", type=Path, help="directory of keys and certificates; DATA_DIR/pki when not given")
    add("--listen", default="0.0.0.0:6443", help="address of the API")
    add("--dispatcher-listen", default="0.0.0.0:6444", help="address that agents dial")
    add("--cluster-cidr", default="10.42.0.0/16", help="network of the pods")
    add("--service-cidr", default="10.43.0.0/16", help="network of the services")
    add("--cluster-dns", default="10.43.0.10", help="service address of the cluster's DNS")
    add("--cluster-domain", default="cluster.local", help="DNS domain of the cluster")
    add("--node-grace", type=float, default=4.0, help="seconds without contact until a node counts as lost")
    add("--prometheus", default="", help="URL of the Prometheus that autoscalers' queries go to by default")
    add("--identity", default=socket.gethostname(), help="this server's name among several")
    return parser


def _run_server(options: Namespace) -> None:
    from controlplane.server import run
    from controlplane.settings import ServerSettings

    run(
        ServerSettings(
            data_dir=options.data_dir,
            pki_dir=options.pki_dir or options.data_dir / "pki",
            etcd=tuple(url.strip() for url in options.etcd.split(",")),
            listen=options.listen,
            dispatcher_listen=options.dispatcher_listen,
            cluster_cidr=options.cluster_cidr,
            service_cidr=options.service_cidr,
            cluster_dns=options.cluster_dns,
            cluster_domain=options.cluster_domain,
            node_grace_s=options.node_grace,
            identity=options.identity,
            prometheus=options.prometheus.rstrip("/"),
        )
    )


def _agent_parser() -> ArgumentParser:
    parser = _parser(
        "agent",
        "Run the node agent, which keeps this machine's pods as the control plane wants them.",
        "--data-dir /var/lib/flotilla/node --server 10.0.0.1:6444 --ca-file ca.crt --token-file token",
    )
    add = parser.add_argument
    add("--data-dir", type=Path, required=True, help="directory of the node's files: pods, images, logs")
    add("--run-dir", type=Path, default=Path("/run/flotilla"), help="directory of run-time files, on a tmpfs")
    add("--server", action="append", required=True, help="HOST:PORT of a server's dispatcher; may be repeated")
    add("--node-name", default=socket.gethostname().lower(), help="name of this node")
    add("--token-file", type=Path, help="bootstrap token, needed once, to join")
    add("--ca-file", type=Path, required=True, help="certificate of the cluster's CA")
    add("--metrics-listen", default="127.0.0.1:10250", help="address of /metrics")
    add("--cgroup-parent", default="flotilla", help="cgroup that holds all pods")
    user_namespaces = "whether pods that share nothing with the node get users of their own (default: auto)"
    add("--user-namespaces", choices=("auto", "off"), default="auto", help=user_namespaces)
    add("--pod-manifest-path", type=Path, help="directory of manifests of static pods; it is followed")
    add(TOTAL, default="0s", help="time for pods to end in when systemd stops the machine; 0s leaves them to it")
    add(CRITICAL, default="0s", help="the part of it kept for critical pods")
    add(BY_PRIORITY, default="", help="times by priority instead: 0=20s,1000=5s")
    runtime = "OCI runtime of new containers (default: the faster one that is installed)"
    sysctls = "sysctls beside the safe ones that pods may set: 'kernel.msg*,net.core.somaxconn'"
    add("--allowed-unsafe-sysctls", default="", metavar="LIST", help=sysctls)
    handler = "program for pods of RuntimeClasses with this handler: 'runsc=/usr/bin/runsc --platform=ptrace'"
    add("--runtime-handler", action="append", default=[], metavar="NAME=PROGRAM", help=handler)
    add("--runtime", choices=("auto", "crun", "runc"), default="auto", help=runtime)
    high = "percent of the disk in use from which images that nothing uses are removed; 100: never"
    low = "percent of the disk in use down to which images are removed"
    add("--image-gc-high-threshold", type=_percent, default=85, help=high)
    add("--image-gc-low-threshold", type=_percent, default=80, help=low)
    add("--image-minimum-gc-age", type=_span, default="2m", help="age from which an image may be removed")
    maximum = "time without use after which an image is removed whatever room there is; 0: it stays"
    add("--image-maximum-gc-age", type=_span, default="0", help=maximum)
    add("--max-parallel-image-pulls", type=_positive, default=4, help="images pulled at once")
    add_resource_options(parser)
    return parser


def _percent(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 100:
        raise ArgumentTypeError(f"{text} is not from 0 to 100")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ArgumentTypeError(f"{text} is less than 1")
    return value


def _span(text: str) -> float:
    try:
        value = parse_duration(text)
    except ValueError:
        value = -1.0
    if value < 0:
        raise ArgumentTypeError(f"{text} is no span of time: write 90s, 2m or 1h30m")
    return value


def _run_agent(options: Namespace) -> None:
    if options.image_gc_low_threshold >= options.image_gc_high_threshold:
        low, high = options.image_gc_low_threshold, options.image_gc_high_threshold
        raise CommandError(
            f"--image-gc-low-threshold {low:g} must be less than --image-gc-high-threshold {high:g}: give both"
        )
    from nodeagent.agent import run
    from nodeagent.images.disk import DiskThresholds
    from nodeagent.settings import AgentSettings

    periods = parse_periods(
        total=options.shutdown_grace_period,
        critical=options.shutdown_grace_period_critical_pods,
        by_priority=options.shutdown_grace_period_by_pod_priority,
    )
    reserves, eviction = read_resource_options(options)
    run(
        AgentSettings(
            data_dir=options.data_dir,
            run_dir=options.run_dir,
            servers=tuple(options.server),
            node_name=options.node_name,
            token_file=options.token_file,
            ca_file=options.ca_file,
            metrics_listen=options.metrics_listen,
            cgroup_parent=options.cgroup_parent,
            user_namespaces=options.user_namespaces,
            runtime=options.runtime,
            pod_manifest_path=options.pod_manifest_path,
            shutdown_periods=periods,
            unsafe_sysctls=_read_sysctls(options.allowed_unsafe_sysctls),
            runtime_handlers=read_handlers(options.runtime_handler),
            parallel_pulls=options.max_parallel_image_pulls,
            logs=read_log_options(options),
            reserves=reserves,
            eviction=eviction,
            disk_thresholds=DiskThresholds(
                options.image_gc_high_threshold,
                options.image_gc_low_threshold,
                options.image_minimum_gc_age,
                options.image_maximum_gc_age,
            ),
        )
    )


def _read_sysctls(text: str) -> tuple[str, ...]:
    """The patterns of a list. Raises CommandError."""
    from nodeagent.admission import check_sysctl_patterns

    patterns = tuple(filter(None, (part.strip() for part in text.split(","))))
    try:
        check_sysctl_patterns(patterns)
    except ValueError as error:
        raise CommandError(f"--allowed-unsafe-sysctls: {error}") from error
    return patterns


def _dns_parser() -> ArgumentParser:
    parser = _parser(
        "dns",
        "Run the node's DNS, which answers pods' questions for service names and forwards the rest.",
        "--run-dir /run/flotilla --listen 10.43.0.10",
    )
    add = parser.add_argument
    add("--run-dir", type=Path, default=Path("/run/flotilla"), help="directory of run-time files, on a tmpfs")
    add("--listen", default="10.43.0.10", help="address to answer on, port 53")
    return parser


def _run_dns(options: Namespace) -> None:
    from nodeagent.dns.server import run
    from nodeagent.dns.settings import DnsSettings

    run(DnsSettings(run_dir=options.run_dir, listen=options.listen))
