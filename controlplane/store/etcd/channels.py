"""Connections to the members of an etcd cluster.

Every member has a channel of its own that is kept connected, and beside it connections without gRPC's core for what
comes often and costs that most: one for small calls and one for each watch. Calls go to one member until a call there
fails, then to the next that is connected, so that a member that hangs without being disconnected is left as well.
gRPC's own balancing would not see that, and can't take host names of several members.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from aetcd.rpc import rpc_pb2, rpc_pb2_grpc

from controlplane.store.etcd.dialing import Dialer
from controlplane.store.etcd.targets import EtcdTls, target_of
from controlplane.store.etcd.unary import UnaryClient
from controlplane.store.store import StoreUnavailableError

_TXN, _RANGE = "/etcdserverpb.KV/Txn", "/etcdserverpb.KV/Range"
OPTIONS: Sequence[tuple[str, Any]] = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),  # etcd refuses pings that come more often than every 5 s
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.client_idle_timeout_ms", 2**31 - 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True, slots=True)
class Member:
    """One member's channel, connections and stubs."""

    url: str
    channel: grpc.aio.Channel
    dialer: Dialer
    unary: UnaryClient
    kv: Any
    lease: Any
    cluster: Any
    maintenance: Any

    async def transact(self, request: bytes, *, timeout: float) -> Any:
        """``KV.Txn`` of an encoded request. :class:`grpc.RpcError`."""
        answer = await self.unary.call(_TXN, request, timeout_s=timeout)
        return rpc_pb2.TxnResponse.FromString(answer)

    async def range(self, request: Any, *, timeout: float) -> Any:
        """``KV.Range``. :class:`grpc.RpcError`."""
        answer = await self.unary.call(_RANGE, request.SerializeToString(), timeout_s=timeout)
        return rpc_pb2.RangeResponse.FromString(answer)


def _connect(url: str, tls: EtcdTls | None) -> Member:
    target = target_of(url)
    if not target.secure:
        channel = grpc.aio.insecure_channel(target.address, options=OPTIONS)
    elif tls is None:
        raise ValueError(f"etcd endpoint {url!r} needs a client certificate")
    else:
        channel = grpc.aio.secure_channel(target.address, tls.credentials(), options=OPTIONS)
    dialer = Dialer(target, tls)
    return Member(
        url=url,
        channel=channel,
        dialer=dialer,
        unary=UnaryClient(dialer),
        kv=rpc_pb2_grpc.KVStub(channel),
        lease=rpc_pb2_grpc.LeaseStub(channel),
        cluster=rpc_pb2_grpc.ClusterStub(channel),
        maintenance=rpc_pb2_grpc.MaintenanceStub(channel),
    )


class Members:
    """The members, one of them preferred. Made inside the running event loop."""

    def __init__(self, urls: Sequence[str], tls: EtcdTls | None) -> None:
        self.all = [_connect(url, tls) for url in urls]
        self._preferred = 0
        self._connecting: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        for member in self.all:
            await member.unary.close()
            member.dialer.close()
            await member.channel.close(None)

    async def connected(self, *, timeout_s: float) -> Member:
        """A member to call, the preferred one if it is connected. StoreUnavailableError when none is in time."""
        member: Member | None = self.all[self._preferred]
        if member is not None and member.unary.usable:
            return member
        member = self._first_ready()
        if member is not None:
            return member
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._connect_any())
        await asyncio.wait([self._connecting], timeout=timeout_s)
        member = self._first_ready()
        if member is None:
            urls = ", ".join(member.url for member in self.all)
            raise StoreUnavailableError(f"no connection to etcd at {urls} in {timeout_s:.1f} s")
        return member

    def failed(self, member: Member) -> None:
        """Prefer the next member from now on."""
        if self.all[self._preferred] is member:
            self._preferred = (self._preferred + 1) % len(self.all)

    def _first_ready(self) -> Member | None:
        """The preferred member or the next one after it that is connected. Has all others connect as well."""
        ready = [index for index, member in enumerate(self.all) if _is_ready(member)]
        if not ready:
            return None
        self._preferred = next((index for index in ready if index >= self._preferred), ready[0])
        return self.all[self._preferred]

    async def _connect_any(self) -> None:
        waits = [asyncio.create_task(_until_ready(member.channel)) for member in self.all]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.wait(waits)


def _is_ready(member: Member) -> bool:
    return bool(member.channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY)


async def _until_ready(channel: grpc.aio.Channel) -> None:
    while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
        await channel.wait_for_state_change(state)
