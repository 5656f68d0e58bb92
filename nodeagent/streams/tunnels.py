"""Tunnels of this node: each is opened when a server asks for it, and serves one log, command, terminal or connection.

What goes wrong before the work begins ends the tunnel with a Status, which the server's client sees as the answer to
its request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import grpc

from flotilla.api.errors import ApiError, bad_request, internal, not_found
from flotilla.api.objects import encode, name_of
from flotilla.api.streams import Chunk, StreamOptions
from nodeagent.container_worker import containers_of
from nodeagent.pod_worker import PodWorker
from nodeagent.runtime.containers import Containers
from nodeagent.streams.attaching import attach
from nodeagent.streams.container_logs import LogReader
from nodeagent.streams.forwarding import forward
from nodeagent.streams.processes import run_command
from nodeagent.worker import Worker
from protos import dispatcher_pb2 as pb
from protos import dispatcher_pb2_grpc

logger = logging.getLogger(__name__)


class _TunnelChannels:
    """Implements :class:`nodeagent.streams.channels.Channels` on a tunnel's call."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._writing = asyncio.Lock()

    async def read(self) -> Chunk | None:
        frame = await self._call.read()
        if not isinstance(frame, pb.TunnelFrame) or frame.WhichOneof("body") != "channel":
            return None
        return Chunk(frame.channel.channel, frame.channel.data, end=frame.channel.end)

    async def write(self, chunk: Chunk) -> None:
        message = pb.ChannelFrame(channel=chunk.channel, data=chunk.data, end=chunk.end)
        async with self._writing:
            await self._call.write(pb.TunnelFrame(channel=message))


class Tunnels:
    """Serves every kind of tunnel."""

    def __init__(self, worker: Worker, containers: Containers, logs: LogReader) -> None:
        self._worker, self._containers, self._logs = worker, containers, logs

    async def serve(self, request: pb.TunnelRequest, channel: Any) -> None:
        """Open the tunnel on a session's channel and serve it to its end, or until the other side leaves."""
        call = dispatcher_pb2_grpc.DispatcherStub(channel).Tunnel()  # type: ignore[no-untyped-call]
        try:
            await call.write(pb.TunnelFrame(tunnel_id=request.tunnel_id))
            error = await self._serve(request, call)
            await call.write(pb.TunnelFrame(end=pb.TunnelEnd(error_json=error)))
            await call.done_writing()
            await call.code()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as broken:
            logger.debug("tunnel_broken", extra={"tunnel": request.tunnel_id, "error": str(broken)})
        except Exception:
            logger.exception("tunnel_failed", extra={"tunnel": request.tunnel_id})
        finally:
            call.cancel()

    async def _serve(self, request: pb.TunnelRequest, call: Any) -> str:
        """The Status to end with as JSON, empty if all went well."""
        channels = _TunnelChannels(call)
        try:
            match request.WhichOneof("target"):
                case "logs":
                    await _while_heard(call, _give_log(call, self._logs.frames(request.logs)))
                case "exec":
                    target = request.exec
                    run = self._running(target.pod_uid, target.pod, target.container)
                    command = list(target.command)
                    streams = _streams(target.streams)
                    await run_command(self._containers, run, command, streams=streams, channels=channels)
                case "attach":
                    run = self._running(request.attach.pod_uid, request.attach.pod, request.attach.container)
                    streams = _streams(request.attach.streams)
                    await attach(self._containers, run, streams=streams, channels=channels)
                case "port_forward":
                    namespace = self._namespace(request.port_forward)
                    await forward(namespace, request.port_forward.port, channels)
                case _:
                    raise bad_request("this node's agent does not know the stream that is asked for")
        except ApiError as error:
            return encode(error.status()).decode()
        except OSError as error:
            return encode(internal(str(error)).status()).decode()
        return ""

    def _pod(self, uid: str, name: str) -> PodWorker:
        worker = self._worker.pod(uid)
        if worker is None:
            raise not_found("pods", name)
        return worker

    def _running(self, uid: str, pod: str, container: str) -> str:
        """The id of a container that runs. ApiError."""
        worker = self._pod(uid, pod)
        if container not in {each["name"] for each in containers_of(worker.pod)}:
            raise bad_request(f"container {container} is not valid for pod {name_of(worker.pod)}")
        run = worker.state.container(container).record.run
        if run is None or not run.live:
            raise internal(f'container not running ("{container}")')
        return run.id

    def _namespace(self, target: pb.PortForwardTarget) -> Path | None:
        worker = self._pod(target.pod_uid, target.pod)
        sandbox = worker.state.sandbox
        if sandbox is None:
            raise internal(f"pod {target.pod} has no network yet")
        if not sandbox.netns:
            return None
        return Path(sandbox.netns)


async def _give_log(call: Any, frames: AsyncIterator[bytes]) -> None:
    async for frame in frames:
        await call.write(pb.TunnelFrame(data=frame))


async def _while_heard(call: Any, work: Coroutine[Any, Any, None]) -> None:
    """Do ``work`` as long as the other side is there: who waits for a log's next line writes nothing for hours."""
    working = asyncio.create_task(work)
    leaving = asyncio.ensure_future(call.code())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        leaving.cancel()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


def _streams(streams: pb.Streams) -> StreamOptions:
    return StreamOptions(stdin=streams.stdin, stdout=streams.stdout, stderr=streams.stderr, tty=streams.tty)
