"""The store on etcd.

Each write is one transaction on one key, with an else-branch that reads what stood in the way, so that a writer that
has been fenced off, one that lost a race and one that found the key taken are told apart in one round trip. A write
whose answer did not arrive is never repeated here: only the caller knows whether doing it twice is right. Reads are
repeated, on another member where there is one, until their deadline.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import grpc
from aetcd.rpc import rpc_pb2

from controlplane.store.etcd import messages
from controlplane.store.etcd.channels import Member, Members
from controlplane.store.etcd.errors import is_own_cancellation, store_error
from controlplane.store.etcd.leases import EtcdLeaseKeeper, keep_alive_call, lease_time_s
from controlplane.store.etcd.targets import EtcdTls, is_on_this_machine
from controlplane.store.etcd.watch import watch
from controlplane.store.history import read_or_make_history_id, replace_history_id
from controlplane.store.keys import HISTORY_KEY
from controlplane.store.store import (
    Changes,
    CompactedError,
    Fence,
    FencedError,
    KeyExistsError,
    KeyValue,
    LeaseKeeper,
    LeaseNotFoundError,
    OutOfSpaceError,
    Page,
    RevisionConflictError,
    StoreError,
    StoreUnavailableError,
)

logger = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 5.0
MAINTENANCE_TIMEOUT_S = 120.0
READ_AGAIN_S = 0.05

Method = Callable[[Member], Any]


class EtcdStore:
    """See :class:`controlplane.store.store.Store`.

    ``endpoints`` are the client URLs of one cluster (``https://``, ``http://``, ``unix://``); ``tls`` is needed for
    the first kind. A call fails with StoreUnavailableError after ``timeout_s``.
    """

    def __init__(
        self, endpoints: Sequence[str], *, tls: EtcdTls | None = None, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> None:
        self._endpoints = tuple(endpoints)
        self._tls = tls
        self._timeout_s = timeout_s
        self._opened: Members | None = None
        self._out_of_space = asyncio.Event()
        self._seen_revision = 0

    async def start(self) -> None:
        if self._opened is None:
            self._opened = Members(self._endpoints, self._tls)
        while True:
            try:
                await self.revision()
                return
            except StoreUnavailableError as error:
                logger.warning("store_unreachable", extra={"endpoints": self._endpoints, "error": str(error)})

    async def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.close()

    async def history_id(self) -> str:
        return await read_or_make_history_id(self)

    @property
    def seen_revision(self) -> int:
        return self._seen_revision

    async def shares_clock(self) -> bool:
        """True for the only member of a cluster, on this machine: it is the member that leads whose clock counts."""
        if not all(map(is_on_this_machine, self._endpoints)):
            return False
        listed = await self._call(_list_members, rpc_pb2.MemberListRequest())
        return len(listed.members) == 1

    async def new_history(self, known: str) -> str:
        self._seen_revision = 0
        return await replace_history_id(self, known)

    async def revision(self) -> int:
        request = rpc_pb2.RangeRequest(key=HISTORY_KEY.encode(), count_only=True)
        response = await self._read(_range, request)
        revision: int = response.header.revision
        return revision

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        response = await self._read(_range, rpc_pb2.RangeRequest(key=key.encode(), revision=revision))
        return messages.first_key_value(response.kvs)

    async def list(self, prefix: str, *, revision: int = 0, limit: int = 0, start_key: str = "") -> Page:
        request = messages.range_of(prefix, revision=revision, limit=limit, start_key=start_key)
        response = await self._read(_range, request)
        return Page(
            items=[messages.key_value(item) for item in response.kvs],
            revision=revision or response.header.revision,
            more=response.more,
            count=response.count,
        )

    async def create(self, key: str, value: bytes, *, lease: int = 0, fence: Fence | None = None) -> int:
        name = key.encode()
        response = await self._write(name, messages.created_at(name, 0), messages.put(name, value, lease), fence)
        if not response.succeeded:
            raise KeyExistsError(key)
        return _revision(response)

    async def update(self, key: str, value: bytes, *, expected: int, lease: int = 0, fence: Fence | None = None) -> int:
        if expected <= 0:
            raise ValueError(f"update of {key} without the revision that it is based on")
        name = key.encode()
        put = messages.put(name, value, lease)
        response = await self._write(name, messages.modified_at(name, expected), put, fence)
        if not response.succeeded:
            raise RevisionConflictError(key, messages.first_key_value(response.responses[0].response_range.kvs))
        return _revision(response)

    async def delete(self, key: str, *, expected: int = 0, fence: Fence | None = None) -> int:
        name = key.encode()
        condition = messages.modified_at(name, expected) if expected else messages.present(name)
        response = await self._write(name, condition, messages.delete(name), fence)
        if not response.succeeded:
            raise RevisionConflictError(key, messages.first_key_value(response.responses[0].response_range.kvs))
        return _revision(response)

    async def watch(self, *, start_revision: int, key: str = "") -> AsyncGenerator[Changes, None]:
        member = await self._members.connected(timeout_s=self._timeout_s)
        changes = watch(member.dialer, start_revision=start_revision, key=key, open_timeout_s=self._timeout_s)
        try:
            async with aclosing(changes) as stream:
                async for revision in stream:
                    yield revision
        except StoreUnavailableError:
            self._members.failed(member)
            raise

    async def compact(self, revision: int) -> None:
        request = rpc_pb2.CompactionRequest(revision=revision, physical=True)
        try:
            await self._call(_compact, request, timeout_s=MAINTENANCE_TIMEOUT_S)
        except CompactedError:
            return

    async def recover_space(self) -> None:
        for member in self._members.all:
            await self._maintain(member.maintenance.Defragment, rpc_pb2.DefragmentRequest())
        maintenance = (await self._members.connected(timeout_s=self._timeout_s)).maintenance
        listed = await self._maintain(maintenance.Alarm, rpc_pb2.AlarmRequest(action=rpc_pb2.AlarmRequest.GET))
        for alarm in listed.alarms:
            disarm = rpc_pb2.AlarmRequest(
                action=rpc_pb2.AlarmRequest.DEACTIVATE, memberID=alarm.memberID, alarm=alarm.alarm
            )
            await self._maintain(maintenance.Alarm, disarm)

    async def wait_out_of_space(self) -> None:
        self._out_of_space.clear()
        await self._out_of_space.wait()

    async def grant_lease(self, ttl_s: int) -> int:
        response = await self._call(_grant, rpc_pb2.LeaseGrantRequest(TTL=ttl_s))
        lease: int = response.ID
        return lease

    async def renew_lease(self, lease: int) -> bool:
        response = await self._call(_keep_alive, rpc_pb2.LeaseKeepAliveRequest(ID=lease))
        return bool(response.TTL > 0)

    async def revoke_lease(self, lease: int) -> None:
        try:
            await self._call(_revoke, rpc_pb2.LeaseRevokeRequest(ID=lease))
        except LeaseNotFoundError:
            return

    def lease_time_s(self) -> float:
        return lease_time_s()

    def keep_lease(self, lease: int, *, ttl_s: int, asked_at_s: float) -> LeaseKeeper:
        return EtcdLeaseKeeper(self._endpoints, self._tls, lease, ttl_s=ttl_s, asked_at_s=asked_at_s)

    @property
    def _members(self) -> Members:
        if self._opened is None:
            raise StoreUnavailableError("the store is not open")
        return self._opened

    async def _write(self, key: bytes, condition: Any, write: Any, fence: Fence | None) -> Any:
        """The transaction's answer. FencedError if it was the fence that did not hold."""
        response = await self._call(_transact, messages.transaction(key, condition, write, fence))
        if fence is not None and not response.succeeded:
            for each, found in zip(fence.chain(), response.responses[1:], strict=True):
                held = found.response_range.kvs
                if (held[0].create_revision if held else 0) != each.create_revision:
                    raise FencedError(each.key, each.create_revision)
        return response

    async def _read(self, method: Method, request: Any) -> Any:
        """Call until there is an answer or the time is up."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_s
        while True:
            try:
                share_s = self._timeout_s / len(self._members.all)
                return await self._call(method, request, timeout_s=min(share_s, deadline - loop.time()))
            except CompactedError as error:
                raise await self._explained(error) from error
            except StoreUnavailableError:
                if loop.time() + READ_AGAIN_S >= deadline or self._opened is None:
                    raise
                await asyncio.sleep(READ_AGAIN_S)

    async def _call(self, method: Method, request: Any, *, timeout_s: float | None = None) -> Any:
        """Call once. Raises the store's errors."""
        member = await self._members.connected(timeout_s=timeout_s or self._timeout_s)
        try:
            answer = await method(member)(request, timeout=timeout_s or self._timeout_s)
        except grpc.RpcError as error:
            raise self._failure(member, error) from error
        except asyncio.CancelledError as error:
            if is_own_cancellation():
                raise
            raise StoreUnavailableError("the store was closed") from error
        self._seen_revision = max(self._seen_revision, answer.header.revision)
        return answer

    async def _maintain(self, method: Any, request: Any) -> Any:
        try:
            return await method(request, timeout=MAINTENANCE_TIMEOUT_S)
        except grpc.RpcError as error:
            raise store_error(error) from error

    def _failure(self, member: Member, error: grpc.RpcError) -> StoreError:
        failure = store_error(error)
        if isinstance(failure, StoreUnavailableError):
            self._members.failed(member)
        elif isinstance(failure, OutOfSpaceError):
            self._out_of_space.set()
        return failure

    async def _explained(self, error: CompactedError) -> CompactedError:
        """The error with the revision compacted to, which etcd tells only to a watch."""
        try:
            async with asyncio.timeout(self._timeout_s), aclosing(self.watch(start_revision=1)) as stream:
                await anext(stream)
        except CompactedError as found:
            return found
        except (StoreError, TimeoutError):
            return error
        return error


def _range(member: Member) -> Any:
    return member.range


def _transact(member: Member) -> Any:
    return member.transact


def _compact(member: Member) -> Any:
    return member.kv.Compact


def _list_members(member: Member) -> Any:
    return member.cluster.MemberList


def _grant(member: Member) -> Any:
    return member.lease.LeaseGrant


def _revoke(member: Member) -> Any:
    return member.lease.LeaseRevoke


def _keep_alive(member: Member) -> Any:
    return keep_alive_call(member.channel)


def _revision(response: Any) -> int:
    revision: int = response.header.revision
    return revision
