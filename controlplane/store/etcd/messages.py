"""Requests to etcd and its answers as the store's values."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from aetcd.rpc import rpc_pb2

from controlplane.store.keys import prefix_end
from controlplane.store.store import Fence, KeyValue

EVERYTHING = b"\0"


def key_value(message: Any) -> KeyValue:
    return KeyValue(message.key.decode(), message.value, message.create_revision, message.mod_revision)


def first_key_value(messages: Any) -> KeyValue | None:
    return key_value(messages[0]) if messages else None


def range_of(prefix: str, *, revision: int, limit: int, start_key: str) -> Any:
    """The request for a page of a prefix."""
    start = max(start_key, prefix).encode() or EVERYTHING
    end = prefix_end(prefix).encode() if prefix else EVERYTHING
    return rpc_pb2.RangeRequest(key=start, range_end=end, revision=revision, limit=limit)


def created_at(key: bytes, revision: int) -> Any:
    """The condition that a key was created at ``revision``, 0 for one that does not exist."""
    return rpc_pb2.Compare(key=key, target=rpc_pb2.Compare.CREATE, create_revision=revision)


def present(key: bytes) -> Any:
    """The condition that a key exists."""
    greater = rpc_pb2.Compare.GREATER
    return rpc_pb2.Compare(key=key, target=rpc_pb2.Compare.CREATE, result=greater, create_revision=0)


def modified_at(key: bytes, revision: int) -> Any:
    """The condition that a key was last written at ``revision``."""
    return rpc_pb2.Compare(key=key, target=rpc_pb2.Compare.MOD, mod_revision=revision)


def put(key: bytes, value: bytes, lease: int) -> Any:
    return rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=key, value=value, lease=lease))


def delete(key: bytes) -> Any:
    return rpc_pb2.RequestOp(request_delete_range=rpc_pb2.DeleteRangeRequest(key=key))


def read(key: bytes) -> Any:
    return rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=key))


def transaction(key: bytes, condition: Any, write: Any, fence: Fence | None) -> bytes:
    """Do ``write`` if ``condition`` and ``fence`` hold; otherwise read the key, and the keys of the fence after it.

    Encoded: what one message repeats may stand in two parts, and that of a fence is the same in every write.
    """
    request: bytes = rpc_pb2.TxnRequest(compare=[condition], success=[write], failure=[read(key)]).SerializeToString()
    return request if fence is None else request + _fence_part(fence)


@lru_cache(maxsize=16)
def _fence_part(fence: Fence) -> bytes:
    fences = [(each.key.encode(), each.create_revision) for each in fence.chain()]
    compare = [created_at(name, revision) for name, revision in fences]
    part: bytes = rpc_pb2.TxnRequest(compare=compare, failure=[read(name) for name, _ in fences]).SerializeToString()
    return part
