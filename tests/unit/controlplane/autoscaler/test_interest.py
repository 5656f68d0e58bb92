"""Which series agents are to look for."""

from __future__ import annotations

import asyncio

from controlplane.autoscaler.interest import MetricInterest

DEADLINE_S = 10.0


async def test_what_autoscalers_use_replaces_what_they_used() -> None:
    """Each set of metrics stands until the next; nothing changes for the same set."""
    interest = MetricInterest()
    interest.want([("shop", "requests_per_second"), ("shop", "queue"), ("other", "queue")])
    assert set(interest.series) == {"shop", "other"}
    await interest.wait_changed()
    interest.want([("other", "queue")])
    async with asyncio.timeout(DEADLINE_S):
        await interest.wait_changed()
    assert set(interest.series) == {"other"}


async def test_what_was_asked_for_is_kept_for_its_time_only() -> None:
    """A metric that somebody asked for is read for a while, and no longer after it, though nothing else happens."""
    interest = MetricInterest(kept_s=0.05)
    interest.want([("other", "queue")])
    interest.ask("shop", "queue")
    interest.ask("shop", "queue")
    assert set(interest.series) == {"shop", "other"}
    async with asyncio.timeout(DEADLINE_S):
        while "shop" in interest.series:
            await interest.wait_changed()
    assert set(interest.series) == {"other"}
