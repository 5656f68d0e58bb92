"""What a reconcile's exception means for its key: the classification that the controller acts upon."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from controlplane.store.store import FencedError, KeyExistsError, RevisionConflictError, StoreError
from flotilla.api.errors import DEPOSED, ApiError

_STALE_REASONS = frozenset({"Conflict", "AlreadyExists", "NotFound"})


class PermanentError(Exception):
    """Repeating the reconcile can't help until an object changes; the message says why."""


class Failure(Enum):
    """From the mildest to the gravest; of several at once the gravest counts."""

    STALE = "stale"  # decided on a state that is no longer there: repeat with the newest, silently
    TRANSIENT = "transient"  # the same may succeed later: back off
    UNEXPECTED = "unexpected"  # a defect, or a case nobody thought of: back off and show where
    PERMANENT = "permanent"  # refused for what it is: wait until something changes
    DEPOSED = "deposed"  # another server leads and does it: drop the key, silently


_GRAVITY = list(Failure)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _classify_one(error: BaseException) -> Failure:
    match error:
        case FencedError():
            return Failure.DEPOSED
        case ApiError() if error.reason == DEPOSED:
            return Failure.DEPOSED
        case ApiError() if error.reason in _STALE_REASONS:
            return Failure.STALE
        case ApiError():
            return Failure.TRANSIENT if error.transient or error.code >= 500 else Failure.PERMANENT
        case RevisionConflictError() | KeyExistsError():
            return Failure.STALE
        case PermanentError():
            return Failure.PERMANENT
        case StoreError():
            return Failure.TRANSIENT if error.transient else Failure.UNEXPECTED
        case TimeoutError() | OSError():
            return Failure.TRANSIENT
    return Failure.UNEXPECTED


def classify(error: BaseException) -> Failure:
    """The gravest failure in an exception or exception group."""
    return max((_classify_one(leaf) for leaf in _leaves(error)), key=_GRAVITY.index)
