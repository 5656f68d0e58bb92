"""How many requests are answered at once, and who is next when there are more: Kubernetes' API priority and fairness
in spirit.

There are two budgets of seats, for requests that read and for requests that write, so that neither starves the other.
While seats are free a request costs two dictionary accesses. When there are none, each user has a queue of its own, and
a seat that becomes free goes to the waiting user who holds the fewest: a user with a thousand requests in flight delays
another one's single request by at most one seat's turn. Queues are bounded in length and time; what does not fit is
told 429 and when to try again. Once the queues of a budget are full, the longest gives up its newest request for a
user who waits for less.

Nobody is exempt for what is expensive, ``system:masters`` neither: here an administrator's script is the likeliest
cause of overload. Health, version and metrics, and the leases of whoever is part of the cluster, never wait: losing
those would turn slowness into failure.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field

from controlplane.api.authn import MASTERS, User
from controlplane.api.request_info import RequestInfo
from flotilla.api.errors import ApiError, too_many_requests

EXEMPT, READ_ONLY, MUTATING = "exempt", "readOnly", "mutating"
WAIT_BUCKETS_S = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0)
_NODES = "system:nodes"
_KUBE_SYSTEM = "system:serviceaccount:kube-system:"
_LEASE_VERBS = frozenset({"get", "create", "update", "patch"})
_CHEAP_PATHS = ("/healthz", "/livez", "/readyz", "/version", "/metrics")
_READING = frozenset({"get", "list", "watch", "head", "options"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seats of the two budgets (as in Kubernetes); how many requests of one user and of all may wait, and how long."""

    read_only_seats: int = 400
    mutating_seats: int = 200
    queue_length: int = 2000
    total_queue_length: int = 6000
    wait_s: float = 15.0


class Seat:
    """The right of one request to run; ``width`` is how many seats it takes up."""

    __slots__ = ("_budget", "_user", "_width")

    def __init__(self, budget: Budget, user: str, width: int) -> None:
        self._budget: Budget | None = budget
        self._user = user
        self._width = width

    def release(self) -> None:
        """Give it back; a second time does nothing. A stream does so once it has been sent its start."""
        budget, self._budget = self._budget, None
        if budget is not None:
            budget.leave(self._user, self._width)


@dataclass(slots=True)
class Counters:
    """What has happened in a budget since the start. ``waited`` counts waits by bucket, longer ones at the end."""

    dispatched: int = 0
    at_once: int = 0
    rejected: dict[str, int] = field(default_factory=lambda: {"queue-full": 0, "time-out": 0, "cancelled": 0})
    waited: list[int] = field(default_factory=lambda: [0] * (len(WAIT_BUCKETS_S) + 1))
    waited_s: float = 0.0


@dataclass(slots=True, eq=False)
class _Waiter:
    user: str
    width: int
    admitted: asyncio.Future[None]


class Budget:
    """Some seats, and the queues of those who wait for one. Used from one event loop only."""

    def __init__(self, name: str, seats: int, limits: Limits) -> None:
        self.name = name
        self.seats = seats
        self.free = seats
        self.running = 0
        self.waiting = 0
        self.counters = Counters()
        self._limits = limits
        self._held: dict[str, int] = {}
        self._queues: dict[str, deque[_Waiter]] = {}

    @property
    def taken(self) -> int:
        """Seats in use."""
        return self.seats - self.free

    def enter(self, user: str, width: int) -> Seat | None:
        """A seat if there is one and nobody waits, otherwise None."""
        if self.waiting or width > self.free:
            return None
        self._take(user, width)
        self.counters.at_once += 1
        return Seat(self, user, width)

    async def wait(self, user: str, width: int) -> Seat:
        """A seat once it is this user's turn. TooManyRequests when the queue is full or the wait too long."""
        waiter = _Waiter(user, width, asyncio.get_running_loop().create_future())
        self._enqueue(waiter)
        started_s = time.monotonic()
        try:
            async with asyncio.timeout(self._limits.wait_s):
                await waiter.admitted
        except BaseException as error:
            if self._abandon(waiter):
                self.leave(user, width)
            if not isinstance(error, TimeoutError):
                self.counters.rejected["cancelled"] += isinstance(error, asyncio.CancelledError)
                raise
            raise self._refusal("time-out") from error
        self._count_wait(time.monotonic() - started_s)
        return Seat(self, user, width)

    def leave(self, user: str, width: int) -> None:
        """Take back the seats of a request that is done, and let in who is next."""
        self.free += width
        self.running -= 1
        held = self._held[user] - width
        if held:
            self._held[user] = held
        else:
            del self._held[user]
        if self.waiting:
            self._admit()

    def _take(self, user: str, width: int) -> None:
        self.free -= width
        self.running += 1
        self._held[user] = self._held.get(user, 0) + width
        self.counters.dispatched += 1

    def _enqueue(self, waiter: _Waiter) -> None:
        queue = self._queues.get(waiter.user)
        length = len(queue) if queue else 0
        if length >= self._limits.queue_length:
            raise self._refusal("queue-full")
        if self.waiting >= self._limits.total_queue_length:
            self._displace(length)
        self._queues.setdefault(waiter.user, deque()).append(waiter)
        self.waiting += 1

    def _displace(self, length: int) -> None:
        """Make room in the full queues for a user who has ``length`` requests waiting."""
        longest = max(self._queues.values(), key=len)
        if len(longest) <= length + 1:
            raise self._refusal("queue-full")
        displaced = longest[-1]
        if not displaced.admitted.done():
            displaced.admitted.set_exception(self._refusal("queue-full"))
        self._abandon(displaced)

    def _abandon(self, waiter: _Waiter) -> bool:
        """Take a waiter out of its queue. Whether it had been given a seat that it will not use."""
        queue = self._queues.get(waiter.user)
        if queue is not None and waiter in queue:
            queue.remove(waiter)
            self.waiting -= 1
            if not queue:
                del self._queues[waiter.user]
            if self.waiting:
                self._admit()
            return False
        admitted = waiter.admitted
        return admitted.done() and not admitted.cancelled() and admitted.exception() is None

    def _admit(self) -> None:
        """Give free seats to the waiting users who hold the fewest, of equals to the one who came to wait first."""
        while self._queues:
            user = min(self._queues, key=lambda name: self._held.get(name, 0))
            queue = self._queues[user]
            if queue[0].width > self.free:
                return
            waiter = queue.popleft()
            del self._queues[user]
            if queue:
                self._queues[user] = queue  # to the end: its turn is over
            self.waiting -= 1
            if not waiter.admitted.done():  # cancelled, and its task has not run yet
                self._take(user, waiter.width)
                waiter.admitted.set_result(None)

    def _refusal(self, reason: str) -> ApiError:
        self.counters.rejected[reason] += 1
        return too_many_requests("Too many requests, please try again later.", retry_after_s=1)

    def _count_wait(self, waited_s: float) -> None:
        self.counters.waited[bisect_left(WAIT_BUCKETS_S, waited_s)] += 1
        self.counters.waited_s += waited_s


class Fairness:
    """The budgets of a server."""

    def __init__(self, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self.read_only = Budget(READ_ONLY, limits.read_only_seats, limits)
        self.mutating = Budget(MUTATING, limits.mutating_seats, limits)
        self.exempted = 0

    def budget(self, user: User, info: RequestInfo) -> Budget | None:
        """The budget that a request counts against, None for one that never waits."""
        if _is_exempt(user, info):
            self.exempted += 1
            return None
        return self.read_only if info.verb in _READING else self.mutating


def _is_exempt(user: User, info: RequestInfo) -> bool:
    if not info.is_resource:
        return info.path.startswith(_CHEAP_PATHS)
    if info.plural != "leases" or info.group != "coordination.k8s.io" or info.verb not in _LEASE_VERBS:
        return False
    return _is_of_the_cluster(user)


def _is_of_the_cluster(user: User) -> bool:
    return MASTERS in user.groups or _NODES in user.groups or user.name.startswith(_KUBE_SYSTEM)
