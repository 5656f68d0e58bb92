"""The reconcile machine in virtual time: queue, controller, informer, events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import REGISTRY as COLLECTORS

from controlplane.api.persistence import DeposedError
from controlplane.reconcile.controller import Controller, ObjectKey
from controlplane.reconcile.failures import PermanentError
from controlplane.reconcile.own_writes import OwnWrites
from controlplane.reconcile.queue import WorkQueue
from controlplane.reconcile.result import DONE, Result, after
from controlplane.store.cache import CacheEvent
from flotilla.api.errors import ApiError, conflict, unavailable
from flotilla.api.resources import CONFIG_MAPS, EVENTS

if TYPE_CHECKING:
    from tests.simulation.conftest import Virtual, World

Make = Callable[..., Any]


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def test_a_key_waits_once_and_is_never_worked_on_twice_at_once(virtual: Virtual) -> None:
    """Adding a key again while it waits changes nothing; while it is worked on, it comes once more afterwards."""

    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue()
        for key in ("a", "b", "a"):
            queue.add(key)
        assert len(queue) == 2
        assert await queue.get() == "a"
        queue.add("a")
        queue.add("a")
        assert await queue.get() == "b"
        assert len(queue) == 0
        queue.done("a")
        assert await queue.get() == "a"
        queue.done("a")
        queue.done("b")
        assert queue.idle

    virtual(scenario())


def test_delays_keep_the_earliest_moment(virtual: Virtual) -> None:
    """Of several delays of one key the earliest counts, and an add overtakes them all."""

    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue()
        queue.add_after("a", 10.0)
        queue.add_after("a", 2.0)
        queue.add_after("a", 5.0)
        assert await queue.get() == "a"
        assert _now_s() == pytest.approx(2.0, abs=0.01)
        queue.done("a")
        queue.add_after("a", 10.0)
        queue.add("a")
        assert await queue.get() == "a"
        queue.done("a")
        await asyncio.sleep(20)
        assert queue.idle

    virtual(scenario())


def test_back_off_doubles_up_to_its_maximum_and_is_forgotten(virtual: Virtual) -> None:
    """Retries of a key are delayed ever longer until it succeeds."""

    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue(backoff_base_s=1.0, backoff_maximum_s=6.0)
        assert [queue.retry("a") for _ in range(5)] == [1.0, 2.0, 4.0, 6.0, 6.0]
        queue.forget("a")
        assert [queue.retry("a", at_once_first=True) for _ in range(3)] == [0.0, 2.0, 4.0]
        queue.close()

    virtual(scenario())


def test_a_cancelled_worker_passes_its_wake_up_on(virtual: Virtual) -> None:
    """A key that arrives in the moment in which a waiting worker is cancelled reaches another worker."""

    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue()
        first = asyncio.create_task(queue.get())
        second = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        first.cancel()
        assert await second == "a"
        assert first.cancelled()

    virtual(scenario())


class _Scripted:
    """A reconciler that does as it is told, once per entry of ``script``, and notes when and how many at once."""

    def __init__(self, script: Iterable[Result | Exception] = ()) -> None:
        self._script = list(script)
        self.calls: list[tuple[float, ObjectKey]] = []
        self.running = 0
        self.most_running = 0
        self.resets = 0

    def keys(self, event: CacheEvent) -> Iterable[ObjectKey]:
        return [(event.entry.namespace, event.entry.name)]

    def reset(self) -> None:
        self.resets += 1

    async def reconcile(self, key: ObjectKey) -> Result:
        self.calls.append((_now_s(), key))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await asyncio.sleep(0.001)
        self.running -= 1
        step = self._script.pop(0) if self._script else DONE
        if isinstance(step, Exception):
            raise step
        return step


async def _observe(
    world: World, reconciler: _Scripted, *, objects: int, for_s: float, resync_s: float = 1000.0
) -> None:
    for number in range(objects):
        await world.create(CONFIG_MAPS, {"metadata": {"name": f"object-{number}"}})
    controller = Controller(
        "scripted", reconciler, cache=world.cache, resources=(CONFIG_MAPS,), workers=4, resync_s=resync_s
    )
    task = asyncio.create_task(controller.run())
    await asyncio.sleep(for_s)
    task.cancel()
    await asyncio.wait({task})


@pytest.mark.parametrize(
    ("script", "moments"),
    [
        ([DONE], [0.0]),
        ([after(3.0)], [0.0, 3.0]),
        ([conflict("things", "a", "old")], [0.0, 0.0]),
        ([unavailable("no")], [0.0, 0.005]),
        ([unavailable("no")] * 3, [0.0, 0.005, 0.015, 0.035]),
        ([RuntimeError("a defect")], [0.0, 0.005]),
        ([PermanentError("never")], [0.0]),
        ([DeposedError()], [0.0]),
        ([ApiError(422, "Invalid", "no such field")], [0.0]),
        ([BaseExceptionGroup("several", [conflict("things", "a", "old"), unavailable("no")])], [0.0, 0.005]),
    ],
)
def test_the_four_outcomes(
    virtual: Virtual, make_world: Make, script: list[Result | Exception], moments: list[float]
) -> None:
    """Done, again after, failed for now (back-off; conflicts at once), failed for good."""

    async def scenario() -> None:
        reconciler = _Scripted(script)
        async with make_world().running(nodes=0, controllers=False) as world:
            await _observe(world, reconciler, objects=1, for_s=30.0)
        started = reconciler.calls[0][0]
        assert [moment - started for moment, _ in reconciler.calls] == pytest.approx(moments, abs=0.004)

    virtual(scenario())


@pytest.mark.parametrize(
    ("error", "longest_s"), [(unavailable("no"), 2.0), (RuntimeError("a defect"), 30.0)], ids=["outage", "defect"]
)
def test_an_outage_is_not_outlasted_by_its_back_off(
    virtual: Virtual, make_world: Make, error: Exception, longest_s: float
) -> None:
    """What an outage of a minute has held up goes on within seconds of its end; a defect is repeated less often."""

    async def scenario() -> None:
        reconciler = _Scripted([error] * 100)
        async with make_world().running(nodes=0, controllers=False) as world:
            await _observe(world, reconciler, objects=1, for_s=100.0)
        moments = [moment for moment, _ in reconciler.calls]
        longest = max(later - earlier for earlier, later in pairwise(moments))
        assert longest == pytest.approx(longest_s, abs=0.01)

    virtual(scenario())


def test_conflicts_are_silent(virtual: Virtual, make_world: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A conflict leaves no line in the log; a transient failure does, once."""

    async def scenario() -> None:
        reconciler = _Scripted([conflict("things", "a", "old"), unavailable("no")])
        async with make_world().running(nodes=0, controllers=False) as world:
            await _observe(world, reconciler, objects=1, for_s=5.0)

    with caplog.at_level(logging.INFO):
        virtual(scenario())
    assert [record.message for record in caplog.records] == ["reconcile_failed_for_now"]


def test_workers_share_the_keys(virtual: Virtual, make_world: Make) -> None:
    """Several keys are reconciled side by side, as many as there are workers."""

    async def scenario() -> None:
        reconciler = _Scripted()
        async with make_world().running(nodes=0, controllers=False) as world:
            await _observe(world, reconciler, objects=20, for_s=5.0)
        assert len(reconciler.calls) == 20
        assert reconciler.most_running == 4

    virtual(scenario())


def test_an_informer_lists_again_after_a_while_and_after_another_history(virtual: Virtual, make_world: Make) -> None:
    """The safety net brings every key again; so does a store that was restored from a backup."""

    async def scenario() -> None:
        reconciler = _Scripted()
        async with make_world().running(nodes=0, controllers=False) as world:
            await _observe(world, reconciler, objects=3, for_s=35.0, resync_s=10.0)
            assert reconciler.resets == 4
            assert len(reconciler.calls) == 12
            restored = _Scripted()
            watching = asyncio.create_task(_observe(world, restored, objects=0, for_s=30.0))
            await asyncio.sleep(1.0)
            await world.store.new_history(world.cache.history_id)
            world.store.interrupt()
            await watching
            assert restored.resets == 2

    virtual(scenario())


def test_own_writes_are_waited_for(virtual: Virtual, make_world: Make) -> None:
    """After a write the reconciler sees it in the cache, however slow the watch is; also when its outcome was open."""

    async def scenario() -> None:
        async with make_world(seed=1, watch_s=0.5).running(nodes=0, controllers=False) as world:
            writes: OwnWrites[str] = OwnWrites(world.cache)
            for number in range(5):
                obj = {"metadata": {"name": f"object-{number}", "namespace": "default"}}
                stored = await world.objects.create(CONFIG_MAPS, obj, manager="test")
                if number % 2:
                    writes.wrote("key", stored)
                else:
                    writes.unsure("key")
                await writes.catch_up("key")
                assert world.get(CONFIG_MAPS, f"object-{number}") is not None

    virtual(scenario())


def test_a_revision_that_never_comes_is_given_up(virtual: Virtual, make_world: Make) -> None:
    """A write of a history that was lost doesn't keep its key waiting for ever."""

    async def scenario() -> None:
        async with make_world().running(nodes=0, controllers=False) as world:
            writes: OwnWrites[str] = OwnWrites(world.cache)
            writes.wrote("key", {"metadata": {"resourceVersion": "1000000"}})
            with pytest.raises(TimeoutError):
                await writes.catch_up("key")
            await writes.catch_up("key")

    virtual(scenario())


def test_events_are_counted_and_combined(virtual: Virtual, make_world: Make) -> None:
    """The same event counts up in one object; many messages of one reason become one combined event."""

    async def scenario() -> None:
        async with make_world().running(nodes=0, controllers=False) as world:
            about = await world.create(CONFIG_MAPS, {"metadata": {"name": "web"}})
            for _ in range(30):
                world.recorder.record(about, "Warning", "BackOff", "it fails")
                await asyncio.sleep(0.1)
            await world.until(lambda: sum(event["count"] for event in world.list(EVENTS)) == 30)
            (event,) = world.list(EVENTS)
            assert event["source"] == {"component": "simulation"}
            assert event["involvedObject"]["uid"] == about["metadata"]["uid"]
            assert event["firstTimestamp"] < event["lastTimestamp"]
            for number in range(50):
                world.recorder.record(about, "Normal", "Created", f"pod {number}", component="other")
            await world.until(lambda: sum(event["count"] for event in world.list(EVENTS)) == 80)
            created = [event for event in world.list(EVENTS) if event["reason"] == "Created"]
            assert len(created) == 10
            assert {event["count"] for event in created} == {1, 41}
            assert any(event["message"].startswith("(combined from similar events): ") for event in created)

    virtual(scenario())


def test_events_outlive_an_outage_of_the_store(virtual: Virtual, make_world: Make) -> None:
    """What is recorded while the store is away is written when it is back, and recording never fails."""

    async def scenario() -> None:
        async with make_world().running(nodes=0, controllers=False) as world:
            about = await world.create(CONFIG_MAPS, {"metadata": {"name": "web"}})
            world.store.available = False
            for _ in range(5):
                world.recorder.record(about, "Normal", "Tried", "again")
                await asyncio.sleep(1.0)
            assert not world.list(EVENTS)
            world.store.available = True
            await world.until(lambda: [event["count"] for event in world.list(EVENTS)] == [5])

    virtual(scenario())


def _refused_events() -> float:
    return COLLECTORS.get_sample_value("flotilla_events_total", {"outcome": "refused"}) or 0.0


def test_events_about_what_is_in_no_namespace_any_more_are_dropped(virtual: Virtual, make_world: Make) -> None:
    """A namespace that has gone refuses its late events for good: they are not tried again for ever."""

    async def scenario() -> None:
        async with make_world().running(nodes=0, controllers=False) as world:
            before = _refused_events()
            late = {"apiVersion": "v1", "kind": "Pod", "name": "web", "namespace": "gone", "uid": "1"}
            world.recorder.record(late, "Normal", "Killing", "stopping container app")
            await world.until(lambda: _refused_events() == before + 1)

    virtual(scenario())
