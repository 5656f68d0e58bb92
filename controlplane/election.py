"""Which server runs what may run only once: controllers, scheduler, autoscaler.

The leader holds a key whose lease it keeps alive. The revision at which the key was created names the campaign and is
the fence of the leader's writes: a leader that was replaced without noticing is refused by the store itself. A leader
watches its key as well, for the key can be removed while the lease lives on.

The others watch the key and campaign the moment it goes. A server that restarts under the same identity need not wait
for its predecessor's lease to run out: it revokes it. It does so only to a campaign that is older than itself, so that
two live servers which were given one identity by mistake do not throw each other out in turn.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from contextlib import aclosing
from dataclasses import dataclass

import msgspec

from controlplane.store.keys import LEADER_KEY
from controlplane.store.store import (
    Backend,
    CompactedError,
    Fence,
    KeyExistsError,
    KeyValue,
    LeaseKeeper,
    StoreError,
)

logger = logging.getLogger(__name__)

TOUCH_S = 1.0
RETRY_S = 0.1
RESIGN_TIMEOUT_S = 1.0


class _Holder(msgspec.Struct, frozen=True):
    """The leader key's value."""

    identity: str
    instance: str
    lease: int


@dataclass(frozen=True, slots=True)
class _Campaign:
    """One that was won."""

    fence: Fence
    lease: int
    keeper: LeaseKeeper


class Election:
    """Take part in the election as ``identity``, a name that stays the same when a server restarts.

    ``ttl_s`` is how long a leader that fell silent is waited for; etcd knows whole seconds, 2 at least.
    """

    def __init__(self, store: Backend, *, identity: str, ttl_s: int = 2) -> None:
        self._store = store
        self._identity = identity
        self._instance = uuid.uuid4().hex
        self._ttl_s = ttl_s
        self._born_at = 0
        self._campaign: _Campaign | None = None
        self._fence: Fence | None = None
        self._won = asyncio.Event()
        self._lost = asyncio.Event()
        self._lost.set()

    @property
    def is_leader(self) -> bool:
        """Whether this server certainly leads at this moment. False before another one can lead."""
        campaign = self._campaign
        return campaign is not None and campaign.keeper.remaining_s() > 0

    @property
    def fence(self) -> Fence | None:
        """The fence of the last campaign won, also after it is lost, so that late writes are refused; None before."""
        return self._fence

    async def wait_leader(self) -> None:
        """Return once this server leads."""
        await self._won.wait()

    async def wait_lost(self) -> None:
        """Return once this server does not lead (any more)."""
        await self._lost.wait()

    async def run(self) -> None:
        """Campaign, lead, campaign again, until cancelled; gives the leadership up then."""
        while True:
            try:
                campaign = await self._win()
                await self._lead(campaign)
            except CompactedError:
                logger.debug("leader_watch_compacted")
            except StoreError as error:
                logger.warning("election_interrupted", extra={"identity": self._identity, "error": str(error)})
                await asyncio.sleep(RETRY_S * random.uniform(0.5, 1.0))

    async def _win(self) -> _Campaign:
        while True:
            revision = await self._store.revision()
            self._born_at = self._born_at or revision
            held = await self._store.get(LEADER_KEY)
            if held is None:
                campaign = await self._stand()
                if campaign is not None:
                    return campaign
            elif (predecessor := self._predecessor(held)) is not None:
                await self._store.revoke_lease(predecessor.lease)
            else:
                await self._wait_for_change(revision)

    def _predecessor(self, held: KeyValue) -> _Holder | None:
        """The holder, if it is this server's own earlier life."""
        try:
            holder = msgspec.json.decode(held.value, type=_Holder)
        except msgspec.DecodeError:
            return None
        if holder.identity != self._identity:
            return None
        if holder.instance == self._instance or held.create_revision <= self._born_at:
            return holder
        logger.error("leader_identity_shared", extra={"identity": self._identity})
        return None

    async def _stand(self) -> _Campaign | None:
        """Try to create the key; None if another was faster."""
        asked_at_s = self._store.lease_time_s()
        lease = await self._store.grant_lease(self._ttl_s)
        value = msgspec.json.encode(_Holder(self._identity, self._instance, lease))
        try:
            revision = await self._store.create(LEADER_KEY, value, lease=lease)
        except KeyExistsError:
            await self._store.revoke_lease(lease)
            return None
        keeper = self._store.keep_lease(lease, ttl_s=self._ttl_s, asked_at_s=asked_at_s)
        return _Campaign(Fence(LEADER_KEY, revision), lease, keeper)

    async def _wait_for_change(self, revision: int) -> None:
        async with aclosing(self._store.watch(start_revision=revision + 1, key=LEADER_KEY)) as stream:
            await anext(stream)

    async def _lead(self, campaign: _Campaign) -> None:
        async with campaign.keeper as keeper:
            self._begin(campaign)
            try:
                async with asyncio.TaskGroup() as tasks:
                    touching = tasks.create_task(_touch(keeper))
                    expired = tasks.create_task(keeper.wait_lost())
                    replaced = tasks.create_task(self._wait_replaced(campaign.fence))
                    await asyncio.wait((expired, replaced), return_when=asyncio.FIRST_COMPLETED)
                    for task in (touching, expired, replaced):
                        task.cancel()
            except asyncio.CancelledError:
                await self._resign(campaign)
                raise
            finally:
                self._end()

    async def _wait_replaced(self, fence: Fence) -> None:
        """Return once the key is no longer the campaign's, though its lease may live on: writes are refused then."""
        while True:
            try:
                revision = await self._store.revision()
                held = await self._store.get(LEADER_KEY)
                if held is None or held.create_revision != fence.create_revision:
                    return
                await self._wait_for_change(revision)
            except StoreError as error:
                logger.debug("leader_key_not_watched", extra={"error": str(error)})
                await asyncio.sleep(RETRY_S)

    def _begin(self, campaign: _Campaign) -> None:
        self._campaign = campaign
        self._fence = campaign.fence
        self._lost.clear()
        self._won.set()
        logger.info("leader_elected", extra={"identity": self._identity, "revision": campaign.fence.create_revision})

    def _end(self) -> None:
        if self._campaign is None:
            return
        self._campaign = None
        self._won.clear()
        self._lost.set()
        logger.warning("leadership_ended", extra={"identity": self._identity})

    async def _resign(self, campaign: _Campaign) -> None:
        """Let the others lead at once; the lease runs out by itself where the store can't be reached."""
        self._end()
        try:
            async with asyncio.timeout(RESIGN_TIMEOUT_S):
                await self._store.revoke_lease(campaign.lease)
        except (StoreError, TimeoutError) as error:
            logger.warning("leadership_not_resigned", extra={"identity": self._identity, "error": str(error)})


async def _touch(keeper: LeaseKeeper) -> None:
    while True:
        keeper.touch()
        await asyncio.sleep(TOUCH_S)
