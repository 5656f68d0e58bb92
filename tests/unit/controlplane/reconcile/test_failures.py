"""Tables for what an exception means for its key."""

from __future__ import annotations

import pytest

from controlplane.api.persistence import DeposedError
from controlplane.reconcile.event_correlation import event_name
from controlplane.reconcile.failures import Failure, PermanentError, classify
from controlplane.reconcile.result import DONE, after, earliest
from controlplane.store.store import (
    CompactedError,
    FencedError,
    KeyExistsError,
    RevisionConflictError,
    StoreUnavailableError,
)
from flotilla.api.errors import (
    ApiError,
    FieldError,
    already_exists,
    conflict,
    forbidden,
    internal,
    invalid,
    not_found,
    unavailable,
)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (conflict("pods", "a", "old"), Failure.STALE),
        (already_exists("pods", "a"), Failure.STALE),
        (not_found("pods", "a"), Failure.STALE),
        (unavailable("no"), Failure.TRANSIENT),
        (internal("broken"), Failure.TRANSIENT),
        (ApiError(429, "TooManyRequests", "slow down"), Failure.TRANSIENT),
        (forbidden("no"), Failure.PERMANENT),
        (invalid("Pod", "a", [FieldError("spec", "wrong")]), Failure.PERMANENT),
        (RevisionConflictError("/a", None), Failure.STALE),
        (KeyExistsError("/a"), Failure.STALE),
        (StoreUnavailableError("no"), Failure.TRANSIENT),
        (CompactedError(3), Failure.UNEXPECTED),
        (FencedError("/key", 1), Failure.DEPOSED),
        (DeposedError(), Failure.DEPOSED),
        (ExceptionGroup("two", [unavailable("no"), DeposedError()]), Failure.DEPOSED),
        (PermanentError("never"), Failure.PERMANENT),
        (TimeoutError(), Failure.TRANSIENT),
        (KeyError("spec"), Failure.UNEXPECTED),
        (ExceptionGroup("two", [conflict("pods", "a", "old"), unavailable("no")]), Failure.TRANSIENT),
        (ExceptionGroup("nested", [ExceptionGroup("in", [forbidden("no")]), KeyError("x")]), Failure.PERMANENT),
    ],
)
def test_classification(error: Exception, failure: Failure) -> None:
    """Stale states repeat at once, what may pass is repeated, refusals are not; the gravest of several counts."""
    assert classify(error) is failure


def test_results() -> None:
    """The earliest known moment counts; none at all is done; the past is now."""
    assert earliest(None, 3.0, 2.0) == after(2.0)
    assert earliest(None) is DONE
    assert after(-1.0) == after(0.0)


def test_event_names_are_determined_by_what_happened() -> None:
    """The same occurrence has one name in every process; long object names leave room for it."""
    assert event_name("web", ("a", "b")) == event_name("web", ("a", "b"))
    assert event_name("web", ("a", "b")) != event_name("web", ("a", "c"))
    assert len(event_name("x" * 253, ("a",))) == 253
