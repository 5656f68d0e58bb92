"""A node without pods that keeps one session to the server under load, as an agent does, and notices when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from controlplane.pki import ClusterPki
from flotilla.api.objects import encode
from protos import dispatcher_pb2 as pb
from protos import dispatcher_pb2_grpc

NODE = "benchmark-session"
HEARTBEAT_S = 1.0


class Session:
    """``ended`` once the server has closed the stream or it broke."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.ended = False

    async def listen(self) -> None:
        """Take what the server says until the stream ends."""
        try:
            while isinstance(await self._call.read(), pb.ServerMessage):
                pass
        except grpc.aio.AioRpcError:
            pass
        self.ended = True

    async def beat(self) -> None:
        """Send heartbeats."""
        sequence = 0
        while not self.ended:
            sequence += 1
            await self._call.write(pb.AgentMessage(heartbeat=pb.Heartbeat(sequence=sequence)))
            await asyncio.sleep(HEARTBEAT_S)


@asynccontextmanager
async def session(pki: ClusterPki, port: int) -> AsyncIterator[Session]:
    """Open the session and keep it while entered."""
    issued = pki.issue_client_certificate(f"system:node:{NODE}", ["system:nodes"])
    credentials = grpc.ssl_channel_credentials(pki.ca_pem, issued.key_pem, issued.certificate_pem)
    amounts = {"cpu": "1", "memory": "1Gi", "pods": "0"}
    status = {"capacity": amounts, "allocatable": amounts, "addresses": []}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}, "status": status}
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        stub = dispatcher_pb2_grpc.DispatcherStub(channel)  # type: ignore[no-untyped-call]
        call = stub.Session()
        await call.write(pb.AgentMessage(hello=pb.Hello(agent_version="1", boot_id="b", node_json=encode(node))))
        kept = Session(call)
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(kept.listen()), tasks.create_task(kept.beat())]
            try:
                yield kept
            finally:
                for task in running:
                    task.cancel()
                call.cancel()
