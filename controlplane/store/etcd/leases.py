"""Renewing a lease from a thread with connections of its own.

The leader must not lose its lease because the event loop was busy for a second or the main channel was full. A process
that is stopped as a whole does lose it, and learns so at once when it goes on: the time that is left is counted from
when the last successful renewal was sent, on a clock that runs on while the machine sleeps and never on the event
loop's, which stands during a round. A loop that hangs for long is no leader either, so the thread renews only while the
loop says that it is alive.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
from aetcd.rpc import rpc_pb2

from controlplane.store.etcd.channels import OPTIONS
from controlplane.store.etcd.targets import EtcdTls, target_of

logger = logging.getLogger(__name__)

KEEP_ALIVE = "/etcdserverpb.Lease/LeaseKeepAlive"
HUNG_LOOP_S = 15.0
CERTAIN_SHARE = 0.9  # of a lease's time, for clocks that run at different speeds


def lease_time_s() -> float:
    """See :meth:`controlplane.store.store.Backend.lease_time_s`."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def keep_alive_call(channel: Any) -> Callable[..., Any]:
    """One renewal as a unary call: on the wire a stream that carries one message each way is the same."""
    call: Callable[..., Any] = channel.unary_unary(
        KEEP_ALIVE,
        request_serializer=rpc_pb2.LeaseKeepAliveRequest.SerializeToString,
        response_deserializer=rpc_pb2.LeaseKeepAliveResponse.FromString,
    )
    return call


class EtcdLeaseKeeper:
    """See :class:`controlplane.store.store.LeaseKeeper`."""

    def __init__(self, urls: Sequence[str], tls: EtcdTls | None, lease: int, *, ttl_s: int, asked_at_s: float) -> None:
        self._urls = urls
        self._tls = tls
        self._lease = lease
        self._ttl_s = ttl_s
        self._touched_at = 0.0
        self._held_s = ttl_s * CERTAIN_SHARE
        self._expires_at = asked_at_s + self._held_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"lease-{lease:x}", daemon=True)
        self._gone = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self.touch()
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()

    def remaining_s(self) -> float:
        return self._expires_at - lease_time_s()

    def touch(self) -> None:
        self._touched_at = time.monotonic()

    async def wait_lost(self) -> None:
        while not self._gone.is_set() and (remaining_s := self.remaining_s()) > 0:
            try:
                async with asyncio.timeout(remaining_s):
                    await self._gone.wait()
            except TimeoutError:
                continue

    def _run(self) -> None:
        channels = [self._channel(url) for url in self._urls]
        calls = [keep_alive_call(channel) for channel in channels]
        preferred = 0
        pause_s = self._ttl_s / 4
        try:
            while not self._stop.wait(pause_s) and not self._loop_hangs():
                sent = lease_time_s()
                renewed = self._renew(calls[preferred])
                if renewed is False:
                    self._report_gone()
                    return
                if renewed:
                    self._expires_at = sent + self._held_s
                else:
                    preferred = (preferred + 1) % len(calls)
                pause_s = max(0.05, self._ttl_s / 4 - (lease_time_s() - sent))
        finally:
            for channel in channels:
                channel.close()

    def _renew(self, call: Callable[..., Any]) -> bool | None:
        """Whether the lease lives; None when that could not be learned."""
        try:
            answer = call(rpc_pb2.LeaseKeepAliveRequest(ID=self._lease), timeout=self._ttl_s / 4)
        except grpc.RpcError as error:
            logger.debug("lease_not_renewed", extra={"lease": self._lease, "error": str(error)})
            return None
        return bool(answer.TTL > 0)

    def _report_gone(self) -> None:
        self._expires_at = 0.0
        try:
            self._loop.call_soon_threadsafe(self._gone.set)
        except RuntimeError:
            logger.debug("lease_gone_after_loop", extra={"lease": self._lease})

    def _loop_hangs(self) -> bool:
        silent_s = time.monotonic() - self._touched_at
        if silent_s > HUNG_LOOP_S:
            logger.error("lease_given_up_for_hung_loop", extra={"lease": self._lease, "silent_s": silent_s})
        return silent_s > HUNG_LOOP_S

    def _channel(self, url: str) -> grpc.Channel:
        target = target_of(url)
        if target.secure and self._tls is not None:
            return grpc.secure_channel(target.address, self._tls.credentials(), options=OPTIONS)
        return grpc.insecure_channel(target.address, options=OPTIONS)
