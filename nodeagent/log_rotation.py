"""Keeping container logs within bounds: rename, then let conmon open a new file.

One older part is kept. Sizes are looked at every ten seconds by default, as by the kubelet; a ``stat`` for each running
container.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from nodeagent.logs import ROTATED_SUFFIX
from nodeagent.runtime.containers import Containers

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LogBounds:
    """The size from which a log is rotated, and how often it is looked at: the kubelet's defaults."""

    limit_bytes: int = 10 << 20
    period_s: float = 10.0


def rotate_if_large(log: Path, container_id: str, containers: Containers, *, limit_bytes: int) -> bool:
    """Rotate one log that has outgrown its limit; whether it was. What can't be done now is left for the next look."""
    try:
        if log.stat().st_size < limit_bytes or not containers.listening(container_id):
            return False
        log.rename(log.with_name(log.name + ROTATED_SUFFIX))
        containers.reopen_log(container_id)
    except FileNotFoundError:
        return False
    except OSError as error:
        logger.warning("log_not_rotated", extra={"log": str(log), "error": str(error)})
        return False
    return True


async def keep_logs_small(
    running: Callable[[], Iterable[tuple[str, Path]]], containers: Containers, bounds: LogBounds
) -> None:
    """Rotate until cancelled; ``running`` gives the running containers' ids and logs."""
    while True:
        await asyncio.sleep(bounds.period_s)
        for container_id, log in running():
            rotate_if_large(log, container_id, containers, limit_bytes=bounds.limit_bytes)
