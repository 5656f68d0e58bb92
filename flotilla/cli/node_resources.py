"""The agent's options about what it keeps for itself, when it evicts pods and how large logs get, as the kubelet's."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from flotilla.cli.failures import CommandError

if TYPE_CHECKING:
    from nodeagent.log_rotation import LogBounds
    from nodeagent.pressure.thresholds import EvictionSettings
    from nodeagent.reserves import Reserves

_HARD = "what must stay free: pods go at once where less is left (0 or 0%% turns a signal off)"
_DEFAULT_HARD = (
    "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%"
)
_LOG_SIZE, _LOG_INTERVAL = "--container-log-max-size", "--container-log-monitor-interval"


def add_resource_options(parser: ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add(
        "--system-reserved", default="", help="kept for the system: cpu=100m,memory=200Mi,ephemeral-storage=1Gi,pid=500"
    )
    add("--kube-reserved", default="", help="kept for the agent and the runtime, in the same form")
    add("--max-pods", type=int, default=110, help="how many pods the node takes")
    add("--eviction-hard", default=_DEFAULT_HARD, help=_HARD)
    add("--eviction-soft", default="", help="what should stay free: pods go where less is left for the grace period")
    add("--eviction-soft-grace-period", default="", help="by signal: memory.available=1m30s")
    add("--eviction-minimum-reclaim", default="", help="how much more than the threshold is made free, by signal")
    add(
        "--eviction-pressure-transition-period",
        default="5m",
        help="how long a pressure condition lasts",
    )
    add("--eviction-max-pod-grace-period", type=int, default=0, help="most seconds that a pod gets in a soft eviction")
    add(_LOG_SIZE, default="10Mi", help="size from which a container's log is rotated")
    add(_LOG_INTERVAL, default="10s", help="how often the sizes of logs are looked at")


def read_log_options(options: Namespace) -> LogBounds:
    """What the options say of containers' logs. CommandError for what they can't."""
    from flotilla.api.durations import parse_duration
    from flotilla.api.quantities import bytes_of
    from nodeagent.log_rotation import LogBounds

    size, interval = options.container_log_max_size, options.container_log_monitor_interval
    try:
        bounds = LogBounds(bytes_of(size), parse_duration(interval))
    except ValueError as error:
        raise CommandError(f"{_LOG_SIZE} {size}, {_LOG_INTERVAL} {interval}: {error}") from error
    if bounds.limit_bytes <= 0 or bounds.period_s <= 0:
        raise CommandError(f"{_LOG_SIZE} {size} and {_LOG_INTERVAL} {interval} must be more than 0")
    return bounds


def read_resource_options(options: Namespace) -> tuple[Reserves, EvictionSettings]:
    """What the options mean. CommandError for what they can't."""
    from flotilla.api.durations import parse_duration
    from nodeagent.pressure.thresholds import parse_settings
    from nodeagent.reserves import Reserves, parse_reserve

    try:
        if options.max_pods < 1:
            raise ValueError(f"--max-pods {options.max_pods} is less than 1")
        reserves = Reserves(
            parse_reserve(options.system_reserved), parse_reserve(options.kube_reserved), options.max_pods
        )
        eviction = parse_settings(
            hard=options.eviction_hard,
            soft=options.eviction_soft,
            soft_grace=options.eviction_soft_grace_period,
            minimum_reclaim=options.eviction_minimum_reclaim,
            transition_s=parse_duration(options.eviction_pressure_transition_period),
            maximum_grace_s=options.eviction_max_pod_grace_period,
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    return reserves, eviction
