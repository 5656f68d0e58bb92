"""Time limits of requests."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.api.deadlines import Deadlines, is_stream, parse_timeout
from controlplane.api.request_info import read_request
from flotilla.api.errors import ApiError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30.0), ("1m30s", 90.0), ("1.5h", 5400.0), ("250ms", 0.25), (".5s", 0.5), ("0", 0.0), ("-1s", -1.0)],
)
def test_durations(text: str, seconds: float) -> None:
    """Go's durations are understood."""
    assert parse_timeout(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["30", "s", "1 s", "1d", "abc", "1m30", "٣s", "9" * 100 + "s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """400 as Kubernetes words it."""
    with pytest.raises(ApiError) as refused:
        parse_timeout(text)
    assert refused.value.code == 400
    assert refused.value.message.startswith("invalid timeout specified in the request URL - time: invalid duration")


@pytest.mark.parametrize(
    ("method", "path", "streams"),
    [
        ("GET", "/api/v1/watch/pods", True),
        ("GET", "/api/v1/namespaces/a/pods/b/log", True),
        ("POST", "/api/v1/namespaces/a/pods/b/exec", True),
        ("GET", "/api/v1/namespaces/a/services/b/proxy/some/path", True),
        ("GET", "/api/v1/namespaces/a/pods/b", False),
        ("GET", "/api/v1/namespaces/a/pods", False),
    ],
)
def test_streams_have_no_deadline(method: str, path: str, streams: bool) -> None:
    """Watches, logs and connections to containers run as long as their clients want."""
    assert is_stream(read_request(method, path, watch=False)) is streams


async def answered(deadlines: Deadlines, wanted: str) -> str:
    task = asyncio.current_task()
    assert task is not None
    deadlines.start(task, wanted)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        if not deadlines.claims(task):
            raise
        return "timed out"
    finally:
        deadlines.stop(task)
    return "done"


async def test_a_shorter_deadline_is_kept() -> None:
    """The request's own timeout cancels it, and leaves a task that goes on as if nothing had happened."""
    task = asyncio.create_task(answered(Deadlines(), "20ms"))
    assert await task == "timed out"
    assert task.cancelling() == 0


async def test_everybodys_deadline_is_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a timeout, with none or with too long a one, the server's deadline holds."""
    monkeypatch.setattr("controlplane.api.deadlines.SWEEP_S", 0.01)
    deadlines = Deadlines(0.02)
    sweeping = asyncio.create_task(deadlines.run())
    results = await asyncio.gather(*(answered(deadlines, wanted) for wanted in ("", "0s", "1h", "-5s")))
    assert results == ["timed out"] * 4
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)


async def test_a_client_that_leaves_is_no_timeout() -> None:
    """A cancellation from elsewhere stays one."""
    task = asyncio.create_task(answered(Deadlines(), ""))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
