"""A watch on etcd that leaves nothing out and never ends in silence.

etcd sends the changes of one revision in one response, which it may cut into fragments; they are put together here
again, so that a revision is seen whole or not at all. The watch is opened one revision early and that revision thrown
away: etcd 3.4 keeps no deletion made at exactly the revision that it is compacted to, yet lets a watch start there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import grpc
from aetcd.rpc import kv_pb2, rpc_pb2

from controlplane.store.etcd.dialing import Dialer
from controlplane.store.etcd.errors import store_error
from controlplane.store.etcd.http2 import Connection
from controlplane.store.etcd.messages import EVERYTHING, key_value
from controlplane.store.store import Change, Changes, ChangeType, CompactedError, StoreUnavailableError

_WATCH = "/etcdserverpb.Watch/Watch"
NEEDS_LEADER = (("hasleader", "true"),)


async def watch(
    dialer: Dialer, *, start_revision: int, key: str, open_timeout_s: float
) -> AsyncGenerator[Changes, None]:
    """See :meth:`controlplane.store.store.Store.watch`."""
    connection: Connection | None = None
    try:
        async with asyncio.timeout(open_timeout_s):
            connection = await dialer.connect()
            request = _create_request(start_revision, key).SerializeToString()
            stream = connection.subscribe(_WATCH, request, NEEDS_LEADER)
            messages = await stream.batch()
        revisions = Revisions()
        while True:
            for message in messages:
                for changes in revisions.complete(_checked(message)):
                    if changes[0].mod_revision >= start_revision:
                        yield changes
            messages = await stream.batch()
    except TimeoutError as error:
        raise StoreUnavailableError("etcd did not open the watch in time") from error
    except grpc.RpcError as error:
        raise store_error(error) from error
    finally:
        if connection is not None:
            connection.abort()


def _create_request(start_revision: int, key: str) -> Any:
    first = key.encode() or EVERYTHING
    request = rpc_pb2.WatchCreateRequest(
        key=first,
        range_end=b"" if key else EVERYTHING,
        start_revision=max(1, start_revision - 1),
        prev_kv=True,
        fragment=True,
    )
    return rpc_pb2.WatchRequest(create_request=request)


def _checked(message: bytes) -> Any:
    """The response, which is not the end of the watch. CompactedError, StoreUnavailableError."""
    response = rpc_pb2.WatchResponse.FromString(message)
    if response.canceled:
        if response.compact_revision:
            raise CompactedError(response.compact_revision)
        raise StoreUnavailableError(f"etcd cancelled the watch: {response.cancel_reason}")
    return response


class Revisions:
    """Puts the changes of each revision together from responses."""

    def __init__(self) -> None:
        self._open: Changes = []

    def complete(self, response: Any) -> Iterator[Changes]:
        """The revisions that are whole with this response, in order."""
        for event in response.events:
            change = _change(event)
            if self._open and self._open[0].mod_revision != change.mod_revision:
                yield self._take()
            self._open.append(change)
        if self._open and not response.fragment:
            yield self._take()

    def _take(self) -> Changes:
        changes, self._open = self._open, []
        return changes


def _change(event: Any) -> Change:
    current = event.kv
    previous = key_value(event.prev_kv) if event.HasField("prev_kv") else None
    if event.type == kv_pb2.Event.DELETE:
        return Change(ChangeType.DELETE, current.key.decode(), b"", 0, current.mod_revision, previous)
    return Change(
        ChangeType.PUT,
        current.key.decode(),
        current.value,
        current.create_revision,
        current.mod_revision,
        previous,
    )
