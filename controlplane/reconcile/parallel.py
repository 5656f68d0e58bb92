"""Several writes at once, all of them brought to their end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def settle(awaitables: Iterable[Awaitable[T]]) -> list[T | BaseException]:
    """Await all; their results or exceptions in order.

    Unlike in a TaskGroup one failure doesn't cancel the others: a cancelled write may or may not have taken effect.
    """
    return list(await asyncio.gather(*awaitables, return_exceptions=True))


async def settle_or_raise(awaitables: Iterable[Awaitable[T]]) -> list[T]:
    """Await all; their results, or one group of all their exceptions once every one has ended."""
    outcomes = await settle(awaitables)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if failures:
        raise BaseExceptionGroup("writes failed", failures)
    return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
