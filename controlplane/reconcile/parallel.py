"""Several writes at once, all of them brought to their end.

At most :data:`AT_ONCE` run together. A namespace or a node may have ten thousand objects: to begin as many writes in
one go would hold the event loop for seconds, longer than reads wait for the cache and the leader's lease lasts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

AT_ONCE = 32


async def settle(awaitables: Iterable[Awaitable[T]]) -> list[T | BaseException]:
    """Await all; their results or exceptions in order.

    Unlike in a TaskGroup one failure doesn't cancel the others: a cancelled write may or may not have taken effect.
    """
    waiting = iter(awaitables)
    outcomes: list[T | BaseException] = []
    try:
        while batch := list(islice(waiting, AT_ONCE)):
            outcomes += await asyncio.gather(*batch, return_exceptions=True)
    finally:
        for never_begun in waiting:
            if asyncio.iscoroutine(never_begun):
                never_begun.close()
    return outcomes


async def settle_or_raise(awaitables: Iterable[Awaitable[T]]) -> list[T]:
    """Await all; their results, or one group of all their exceptions once every one has ended."""
    outcomes = await settle(awaitables)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if failures:
        raise BaseExceptionGroup("writes failed", failures)
    return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
