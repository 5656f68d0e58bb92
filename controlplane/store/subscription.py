"""Events of the cache and those who follow them.

A subscriber has a bounded queue of its own. One that does not keep up is cut off and told so, rather than let grow or
silently left with a gap; it reads the present state again, which is what it would have to do after any outage.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from controlplane.store.entry import Entry

EventType = Literal["ADDED", "MODIFIED", "DELETED"]


class SubscriptionError(Exception):
    """The subscription has ended."""


class SubscriptionClosedError(SubscriptionError):
    """Its owner closed it."""


class SlowSubscriberError(SubscriptionError):
    """More events waited than the subscriber may leave waiting; events are lost to it."""


class RedefinedError(SubscriptionError):
    """One of its kinds has another definition now; the subscriber may go on from where it is with the new one."""


class ResetError(SubscriptionError):
    """The cache holds another history of the store now; no events lead from the old state to the new one."""


@dataclass(slots=True, eq=False)
class CacheEvent:
    """One change of one object. A DELETED's ``entry`` is the last state with the delete's revision."""

    type: EventType
    entry: Entry
    previous: Entry | None
    revision: int
    _forms: dict[str, bytes] | None = field(default=None, repr=False)

    def encoded(self, form: str, make: Callable[[CacheEvent], bytes]) -> bytes:
        """What ``make`` gives for this event, made once for each ``form`` and shared by those who watch in it."""
        if self._forms is None:
            self._forms = {}
        made = self._forms.get(form)
        if made is None:
            made = self._forms[form] = make(self)
        return made

    def forget_encoded(self) -> None:
        """Drop what :meth:`encoded` keeps."""
        self._forms = None


class Subscription:
    """An async iterator of events. ``batch`` and iteration raise SubscriptionError when it has been cut off.

    ``past`` are the events that it starts with; ``maximum`` more may wait before it is cut off.
    """

    def __init__(self, past: list[CacheEvent], *, maximum: int, on_end: Callable[[Subscription], None]) -> None:
        self._maximum = maximum + len(past)
        self._on_end = on_end
        self._ready = past
        self._taken: deque[CacheEvent] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._on_ready: Callable[[], None] | None = None
        self._error: SubscriptionError | None = None

    @property
    def pending(self) -> int:
        """Events that wait to be taken."""
        return len(self._ready) + len(self._taken)

    async def batch(self) -> list[CacheEvent]:
        """All events that are ready, in order, at least one."""
        while not self._ready:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        events, self._ready = self._ready, []
        return events

    def take(self) -> list[CacheEvent]:
        """The events that are ready, in order; there may be none. SubscriptionError."""
        if self._error is not None:
            raise self._error
        events, self._ready = self._ready, []
        return events

    def call_when_ready(self, callback: Callable[[], None] | None) -> None:
        """Have ``callback`` called when there is something to take (events or the end) after there was nothing.

        It must be quick and not raise. For a subscriber that waits in neither ``batch`` nor an iteration.
        """
        self._on_ready = callback
        if callback is not None and (self._ready or self._error is not None):
            callback()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> CacheEvent:
        if not self._taken:
            try:
                self._taken.extend(await self.batch())
            except SubscriptionClosedError:
                raise StopAsyncIteration from None
        return self._taken.popleft()

    def close(self) -> None:
        """End it. Idempotent; whoever waits for events gets SubscriptionClosedError, an iteration ends."""
        self.cut_off(SubscriptionClosedError("the subscription was closed"))

    def offer(self, event: CacheEvent) -> None:
        """Queue an event; the cache calls this."""
        if len(self._ready) >= self._maximum:
            self.cut_off(SlowSubscriberError(f"more than {self._maximum} events waited"))
            return
        self._ready.append(event)
        if self._on_ready is None or len(self._ready) == 1:
            self._wake()

    def cut_off(self, error: SubscriptionError) -> None:
        """End it with ``error``, dropping what waits; the cache calls this."""
        if self._error is None:
            self._error = error
            self._ready = []
            self._taken.clear()
            self._on_end(self)
            self._wake()

    def _wake(self) -> None:
        if self._on_ready is not None:
            self._on_ready()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
