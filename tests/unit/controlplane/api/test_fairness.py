"""Seats and queues: who may run, who waits, who is refused."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.api.authn import AUTHENTICATED, MASTERS, User
from controlplane.api.fairness import Budget, Fairness, Limits, Seat
from controlplane.api.request_info import read_request
from flotilla.api.errors import ApiError

LIMITS = Limits(queue_length=3, total_queue_length=5, wait_s=30.0)


def some_budget(seats: int, limits: Limits = LIMITS) -> Budget:
    return Budget("readOnly", seats, limits)


def entered(budget: Budget, user: str, width: int = 1) -> Seat:
    seat = budget.enter(user, width)
    assert seat is not None
    return seat


async def queued(budget: Budget, user: str, width: int = 1) -> asyncio.Task[Seat]:
    """A request that waits in its queue."""
    before = budget.waiting
    task = asyncio.create_task(budget.wait(user, width))
    await asyncio.sleep(0)
    assert budget.waiting == before + 1
    return task


async def settled(tasks: list[asyncio.Task[Seat]]) -> list[bool]:
    """Which of the tasks have a seat, once the loop has nothing left to do for them."""
    for _ in range(4):
        await asyncio.sleep(0)
    return [task.done() for task in tasks]


async def cancel(tasks: list[asyncio.Task[Seat]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_seats_are_taken_at_once_and_given_back_once() -> None:
    """A request runs while there are seats; releasing a seat twice frees it once."""
    budget = some_budget(2)
    first, second = entered(budget, "a"), entered(budget, "b")
    assert budget.enter("c", 1) is None
    first.release()
    first.release()
    assert (budget.free, budget.running) == (1, 1)
    second.release()
    assert (budget.free, budget.running) == (2, 0)


async def test_a_seat_goes_to_the_user_who_holds_the_fewest() -> None:
    """Of a user with many requests and one with a single one, the single one is next, however late it came."""
    budget = some_budget(2)
    held = [entered(budget, "hog"), entered(budget, "hog")]
    hogs = [await queued(budget, "hog") for _ in range(3)]
    guest = await queued(budget, "guest")
    held[0].release()
    assert await settled([guest, *hogs]) == [True, False, False, False]
    held[1].release()
    assert await settled(hogs) == [True, False, False]
    await cancel(hogs)


async def test_equal_users_take_turns() -> None:
    """Two waiting users of equal standing get every other seat."""
    budget = some_budget(1)
    seat = entered(budget, "x")
    tasks = [await queued(budget, user) for user in ("a", "a", "b", "b")]
    order = []
    for _ in range(4):
        seat.release()
        done = await settled(tasks)
        index = next(number for number, task in enumerate(tasks) if done[number] and number not in order)
        order.append(index)
        seat = tasks[index].result()
    assert order == [0, 2, 1, 3]


async def test_a_wide_request_waits_for_all_its_seats() -> None:
    """Narrow requests that come later do not overtake a wide one for ever."""
    budget = some_budget(4)
    held = [entered(budget, "a") for _ in range(4)]
    wide = await queued(budget, "b", 3)
    assert budget.enter("c", 1) is None
    narrow = await queued(budget, "a")
    for seat in held[:2]:
        seat.release()
    assert await settled([wide, narrow]) == [False, False]
    held[2].release()
    assert await settled([wide, narrow]) == [True, False]
    held[3].release()
    assert await settled([narrow]) == [True]


async def test_a_full_queue_refuses_its_own_user_only() -> None:
    """429 with the time to try again after, in Kubernetes' words; other users still may wait."""
    budget = some_budget(1)
    entered(budget, "hog")
    hogs = [await queued(budget, "hog") for _ in range(3)]
    with pytest.raises(ApiError) as refused:
        await budget.wait("hog", 1)
    assert (refused.value.code, refused.value.reason) == (429, "TooManyRequests")
    assert refused.value.message == "Too many requests, please try again later."
    assert refused.value.details == {"retryAfterSeconds": 1}
    guest = await queued(budget, "guest")
    assert budget.counters.rejected["queue-full"] == 1
    await cancel([*hogs, guest])
    assert budget.waiting == 0


async def test_full_queues_make_room_for_a_user_who_waits_for_less() -> None:
    """When all queues together are full, the longest one gives up its newest request."""
    budget = some_budget(1)
    entered(budget, "x")
    tasks = [await queued(budget, user) for user in ("a", "a", "a", "b", "b")]
    newcomer = asyncio.create_task(budget.wait("c", 1))
    assert await settled(tasks) == [False, False, True, False, False]
    with pytest.raises(ApiError):
        tasks[2].result()
    assert not newcomer.done()
    assert budget.waiting == 5
    await cancel([*tasks[:2], *tasks[3:], newcomer])


async def test_waiting_is_bounded_in_time() -> None:
    """Who has waited too long is refused, and its seat is not lost."""
    budget = some_budget(1, Limits(wait_s=0.01))
    seat = entered(budget, "a")
    with pytest.raises(ApiError) as refused:
        await budget.wait("b", 1)
    assert refused.value.code == 429
    assert budget.counters.rejected["time-out"] == 1
    seat.release()
    assert (budget.free, budget.waiting, budget.running) == (1, 0, 0)


async def test_a_client_that_leaves_gives_its_seat_back() -> None:
    """Cancelled while waiting, or in the very moment in which it was given a seat: nothing is lost."""
    budget = some_budget(1)
    seat = entered(budget, "a")
    leaves, waits = await queued(budget, "b"), await queued(budget, "c")
    leaves.cancel()
    seat.release()
    assert await settled([leaves, waits]) == [True, True]
    given, last = await queued(budget, "d"), await queued(budget, "e")
    waits.result().release()
    given.cancel()
    assert await settled([given, last]) == [True, True]
    assert given.cancelled()
    last.result().release()
    assert (budget.free, budget.waiting, budget.running) == (1, 0, 0)


@pytest.mark.parametrize(
    ("user", "method", "path", "expected"),
    [
        (User("u", (AUTHENTICATED,)), "GET", "/readyz/etcd", ""),
        (User("u", (AUTHENTICATED,)), "GET", "/metrics", ""),
        (User("u", (AUTHENTICATED,)), "GET", "/apis", "readOnly"),
        (User("u", (AUTHENTICATED,)), "GET", "/api/v1/pods", "readOnly"),
        (User("u", (AUTHENTICATED,)), "POST", "/api/v1/namespaces/default/pods", "mutating"),
        (User("admin", (MASTERS,)), "GET", "/api/v1/pods", "readOnly"),
        (User("admin", (MASTERS,)), "PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x", ""),
        (User("admin", (MASTERS,)), "GET", "/apis/coordination.k8s.io/v1/leases", "readOnly"),
        (User("u", ()), "PUT", "/apis/coordination.k8s.io/v1/namespaces/default/leases/x", "mutating"),
        (User("system:node:n", ("system:nodes",)), "PATCH", "/apis/coordination.k8s.io/v1/namespaces/a/leases/x", ""),
        (
            User("system:serviceaccount:kube-system:s", ()),
            "PUT",
            "/apis/coordination.k8s.io/v1/namespaces/a/leases/x",
            "",
        ),
    ],
)
async def test_what_counts_against_which_budget(user: User, method: str, path: str, expected: str) -> None:
    """Health and the cluster's own leases never wait; everything else reads or writes, administrators too."""
    budget = Fairness().budget(user, read_request(method, path, watch=False))
    assert (budget.name if budget else "") == expected
