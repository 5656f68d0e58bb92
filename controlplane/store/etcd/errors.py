"""etcd's answers as the store's errors.

etcd tells its own errors apart only by their text. Whatever is not known to be a refusal counts as an outcome that is
not known: the request may have taken effect.
"""

from __future__ import annotations

import asyncio

import grpc

from controlplane.store.store import (
    CompactedError,
    FutureRevisionError,
    LeaseNotFoundError,
    OutOfSpaceError,
    StoreError,
    StoreUnavailableError,
)

COMPACTED = "required revision has been compacted"
REFUSALS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


def is_own_cancellation() -> bool:
    """Whether a CancelledError was meant for the task; gRPC raises one as well when its channel is closed."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def store_error(error: grpc.RpcError) -> StoreError:
    """What ``error`` means to a user of the store. A CompactedError does not know its revision yet (0)."""
    text = error.details() or ""
    described = f"etcd: {error.code().name}: {text}"
    if "database space exceeded" in text:
        return OutOfSpaceError(described)
    if COMPACTED in text:
        return CompactedError(0)
    if "required revision is a future revision" in text:
        return FutureRevisionError(described)
    if "requested lease not found" in text:
        return LeaseNotFoundError(described)
    if error.code() in REFUSALS:
        return StoreError(described)
    return StoreUnavailableError(described)
