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
from nodeagent.lifecycle import containers_of
from nodeagent.metrics.pages import Pages
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

CHUNKS_IN_FLIGHT = 8
PAGE_FRAME_BYTES = 128 << 10


class _TunnelChannels:
    """Implements :class:`nodeagent.streams.channels.Channels` on a tunnel's call.

    One task reads the call, because a read of gRPC's that is given up ends the call.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._writing = asyncio.Lock()
        self._chunks: asyncio.Queue[Chunk | None] = asyncio.Queue(CHUNKS_IN_FLIGHT)
        self._left = asyncio.Event()

    async def pump(self) -> None:
        """Read the call until the other side leaves."""
        try:
            while isinstance(frame := await self._call.read(), pb.TunnelFrame):
                if frame.WhichOneof("body") == "channel":
                    chunk = Chunk(frame.channel.channel, frame.channel.data, end=frame.channel.end)
                    await self._chunks.put(chunk)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as broken:
            logger.debug("tunnel_broken", extra={"error": str(broken)})
        self._left.set()
        await self._chunks.put(None)

    async def give_log(self, frames: AsyncIterator[bytes]) -> None:
        """Send a log to its end."""
        async for frame in frames:
            await self._call.write(pb.TunnelFrame(data=frame))

    async def while_heard(self, work: Coroutine[Any, Any, None]) -> None:
        """Do ``work`` while the other side is there: who waits for a log's next line writes nothing for hours."""
        working = asyncio.create_task(work)
        leaving = asyncio.create_task(self._left.wait())
        try:
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            for task in (working, leaving):
                task.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)

    async def read(self) -> Chunk | None:
        return await self._chunks.get()

    async def write(self, chunk: Chunk) -> None:
        message = pb.ChannelFrame(channel=chunk.channel, data=chunk.data, end=chunk.end)
        async with self._writing:
            await self._call.write(pb.TunnelFrame(channel=message))


class Tunnels:
    """Serves every kind of tunnel."""

    def __init__(self, worker: Worker, containers: Containers, logs: LogReader, pages: Pages) -> None:
        self._worker, self._containers, self._logs, self._pages = worker, containers, logs, pages

    async def serve(self, request: pb.TunnelRequest, channel: Any) -> None:
        """Open the tunnel on a session's channel and serve it to its end, or until the other side leaves."""
        call = dispatcher_pb2_grpc.DispatcherStub(channel).Tunnel()  # type: ignore[no-untyped-call]
        channels = _TunnelChannels(call)
        pumping = asyncio.create_task(channels.pump(), name=f"tunnel {request.tunnel_id} reader")
        try:
            await call.write(pb.TunnelFrame(tunnel_id=request.tunnel_id))
            error = await self._serve(request, channels)
            await call.write(pb.TunnelFrame(end=pb.TunnelEnd(error_json=error)))
            await call.done_writing()
            await call.code()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as broken:
            logger.debug("tunnel_broken", extra={"tunnel": request.tunnel_id, "error": str(broken)})
        except Exception:
            logger.exception("tunnel_failed", extra={"tunnel": request.tunnel_id})
        finally:
            call.cancel()
            pumping.cancel()
            await asyncio.gather(pumping, return_exceptions=True)

    async def _serve(self, request: pb.TunnelRequest, channels: _TunnelChannels) -> str:
        """The Status to end with as JSON, empty if all went well."""
        try:
            await self._answer(request, channels)
        except ApiError as error:
            return encode(error.status()).decode()
        except OSError as error:
            return encode(internal(str(error)).status()).decode()
        return ""

    async def _answer(self, request: pb.TunnelRequest, channels: _TunnelChannels) -> None:
        match request.WhichOneof("target"):
            case "logs":
                await channels.while_heard(channels.give_log(self._logs.frames(request.logs)))
            case "exec":
                target = request.exec
                run = self._running(target.pod_uid, target.pod, target.container)
                streams = _streams(target.streams)
                await run_command(self._containers, run, list(target.command), streams=streams, channels=channels)
            case "attach":
                run = self._running(request.attach.pod_uid, request.attach.pod, request.attach.container)
                await attach(self._containers, run, streams=_streams(request.attach.streams), channels=channels)
            case "port_forward":
                await forward(self._namespace(request.port_forward), request.port_forward.port, channels)
            case "page":
                await channels.give_log(self._page(request.page.target))
            case _:
                raise bad_request("this node's agent does not know the stream that is asked for")

    async def _page(self, target: str) -> AsyncIterator[bytes]:
        """A page as frames: what it is, then its bytes. The server has asked whether its client may see it."""
        answer = await self._pages.answer(target, trusted=True)
        yield encode({"status": answer.status, "contentType": answer.content_type})
        for start in range(0, len(answer.body), PAGE_FRAME_BYTES):
            yield answer.body[start : start + PAGE_FRAME_BYTES]

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


def _streams(streams: pb.Streams) -> StreamOptions:
    return StreamOptions(stdin=streams.stdin, stdout=streams.stdout, stderr=streams.stderr, tty=streams.tty)
