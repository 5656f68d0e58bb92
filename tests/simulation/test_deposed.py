"""A server that has lost the leadership while its controllers were at work, in virtual time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from controlplane.api.operations import Operations
from controlplane.election import Election
from controlplane.fencing import FencedStore
from flotilla.api.resources import DEPLOYMENTS, PODS, REPLICA_SETS

if TYPE_CHECKING:
    from tests.simulation.conftest import Virtual

Make = Callable[..., Any]


def test_a_deposed_leader_falls_silent(
    virtual: Virtual, make_world: Make, make_deployment: Make, make_template: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Its writes are refused, and it neither repeats them nor tells of them in the log or in events."""
    template = make_template()
    selector = {"matchLabels": template["metadata"]["labels"]}
    objects = (
        (DEPLOYMENTS, make_deployment("late")),
        (REPLICA_SETS, {"metadata": {"name": "set"}, "spec": {"selector": selector, "template": template}}),
        (PODS, {"metadata": {"name": "pod"}, "spec": template["spec"]}),
    )

    async def scenario() -> None:
        world = make_world(write_s=0.05)
        election = Election(world.store, identity="one")
        campaigning = asyncio.create_task(election.run())
        await election.wait_leader()
        users = world.objects
        world.objects = Operations(FencedStore(world.store, election), world.cache)
        async with world.running(nodes=1):
            await asyncio.sleep(5.0)
            known = len(world.list(PODS))
            for resource, obj in objects:
                obj["metadata"]["namespace"] = "default"
                await users.create(resource, obj, manager="user")
                if resource is DEPLOYMENTS:
                    campaigning.cancel()
                    await asyncio.wait({campaigning})
                    caplog.clear()
            await asyncio.sleep(60.0)
            assert len(world.list(PODS)) == known + 1
            assert not {reason for reason in world.reasons() if reason.startswith("Failed")}

    with caplog.at_level(logging.INFO, logger="controlplane"):
        virtual(scenario())
    assert not caplog.records
