"""Which statuses are sent, when, and how often."""

from __future__ import annotations

from typing import Any

from flotilla.api.objects import KubeObject
from nodeagent.status_reporter import HOLD_BACK_S, StatusCursor, StatusReporter


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def pod_of(uid: str = "u") -> KubeObject:
    return {"metadata": {"name": "p", "namespace": "n", "uid": uid}}


def status_of(*, ready: bool = False, restarts: int = 0, **state: Any) -> KubeObject:
    container = {"restartCount": restarts, "state": state or {"running": {}}}
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {"phase": "Running", "conditions": conditions, "containerStatuses": [container]}


def reporter_of() -> tuple[StatusReporter, Clock]:
    clock = Clock()
    return StatusReporter(lambda: None, clock=clock), clock


def test_steps_of_a_start_are_held_back_and_overtaken() -> None:
    """Only the last of several quick statuses is sent."""
    reporter, clock = reporter_of()
    cursor = StatusCursor(reporter)
    reporter.report(pod_of(), status_of(waiting={"reason": "ContainerCreating"}), terminated=False)
    assert cursor.take(clock.now_s) == ([], clock.now_s + HOLD_BACK_S)
    reporter.report(pod_of(), status_of(ready=True), terminated=False)
    [sent], due = cursor.take(clock.now_s)
    assert (sent.sequence, due) == (2, None)


def test_what_is_held_back_goes_in_the_end() -> None:
    """A pod that stays where it is is reported all the same, however often it is reported anew."""
    reporter, clock = reporter_of()
    cursor = StatusCursor(reporter)
    for _ in range(5):
        reporter.report(pod_of(), status_of(), terminated=False)
        clock.now_s += HOLD_BACK_S / 4.9
    [sent], _ = cursor.take(clock.now_s)
    assert sent.sequence == 5


def test_restarts_and_errors_do_not_wait() -> None:
    """What people and controllers act on goes at once."""
    reporter, clock = reporter_of()
    cursor = StatusCursor(reporter)
    for status in (
        status_of(ready=True),
        status_of(ready=True, restarts=1),
        status_of(ready=True, restarts=1, terminated={}),
        status_of(restarts=1, waiting={"reason": "CrashLoopBackOff"}),
    ):
        reporter.report(pod_of(), status, terminated=False)
        assert len(cursor.take(clock.now_s)[0]) == 1


def test_a_new_session_begins_with_everything() -> None:
    """A server that has just been met gets the newest status of every pod, once."""
    reporter, clock = reporter_of()
    for uid in ("a", "b"):
        reporter.report(pod_of(uid), status_of(ready=True), terminated=False)
    first, second = StatusCursor(reporter), StatusCursor(reporter)
    assert len(first.take(clock.now_s)[0]) == 2
    assert first.take(clock.now_s)[0] == []
    assert len(second.take(clock.now_s)[0]) == 2


def test_an_end_is_kept_until_it_is_stored() -> None:
    """A terminated pod is reported again to the next server until one has acknowledged it."""
    reporter, clock = reporter_of()
    reporter.report(pod_of(), status_of(ready=True), terminated=True)
    StatusCursor(reporter).take(clock.now_s)
    cursor = StatusCursor(reporter)
    [sent], _ = cursor.take(clock.now_s)
    cursor.acknowledged(sent.sequence - 1)
    assert len(reporter.newest()) == 1
    cursor.acknowledged(sent.sequence)
    assert reporter.newest() == []
