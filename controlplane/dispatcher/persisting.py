"""Writes that are repeated until the store takes them: what a node reports must not be lost to an outage of etcd."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from flotilla.api.errors import ApiError

logger = logging.getLogger(__name__)

FIRST_RETRY_S = 0.05
LONGEST_RETRY_S = 1.0


async def persist(write: Callable[[], Awaitable[None]], *, what: str, node: str) -> None:
    """Run ``write`` until it succeeds or is refused for good; a refusal is logged, since a repeat can't help."""
    delay_s = FIRST_RETRY_S
    while True:
        try:
            await write()
            return
        except ApiError as error:
            if not error.transient:
                logger.warning("report_refused", extra={"what": what, "node": node, "error": error.message})
                return
            logger.info("report_delayed", extra={"what": what, "node": node, "error": error.message})
        await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))
        delay_s = min(delay_s * 2, LONGEST_RETRY_S)
