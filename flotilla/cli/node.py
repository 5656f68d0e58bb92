"""``flotilla node``: this machine as a node."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from flotilla.cli.failures import CommandError
from flotilla.cli.shutdown_periods import BY_PRIORITY, CRITICAL, TOTAL, parse_periods

app = typer.Typer(help="This machine as a node.", no_args_is_help=True)

POLL_PERIOD_S = 0.1
SLACK_S = 10.0


@app.callback()
def node() -> None:
    """This machine as a node."""


@app.command()
def shutdown(
    run_dir: Annotated[Path, typer.Option(help="Directory of the agent's run-time files.")] = Path("/run/flotilla"),
    total: Annotated[str, typer.Option(TOTAL, help="Time that all pods have together.")] = "30s",
    critical: Annotated[str, typer.Option(CRITICAL, help="The part of it kept for critical pods.")] = "10s",
    by_priority: Annotated[str, typer.Option(BY_PRIORITY, help="Times by priority instead: 0=20s,1000=5s.")] = "",
    cancel: Annotated[bool, typer.Option("--cancel", help="Let the node take pods again.")] = False,
) -> None:
    """End this node's pods in the order of their priorities, and take no new ones, before the machine goes down.

    Returns when all have ended. Where systemd runs, the agent does it by itself when the machine stops, if it has been
    given a shutdown grace period.

    Examples: [bold]flotilla node shutdown && poweroff[/bold], [bold]flotilla node shutdown --cancel[/bold]
    """
    if os.geteuid() != 0:
        raise CommandError("flotilla node shutdown must run as root: sudo flotilla node shutdown")
    from nodeagent.node_shutdown import ShutdownRequest, total_s

    request = ShutdownRequest(run_dir.absolute())
    if not request.directory.is_dir():
        raise CommandError(f"no agent has run with {run_dir}: name its run directory with --run-dir")
    if cancel:
        request.withdraw()
        print("The node takes pods again. Pods that have been ended stay so.")
        return
    if by_priority:
        total, critical = "0s", "0s"
    periods = parse_periods(total=total, critical=critical, by_priority=by_priority)
    request.write(periods or ((0, 0.0),))
    deadline_s = time.monotonic() + total_s(periods) + SLACK_S
    while not request.done:
        if time.monotonic() > deadline_s:
            raise CommandError("the agent has not ended all pods in time: see its log, and whether it runs")
        time.sleep(POLL_PERIOD_S)
    print("All pods have ended; the node takes no new ones until it is started anew.")
