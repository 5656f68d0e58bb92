"""``pods/<name>/exec``, ``attach`` and ``portforward``: from a request to a stream.

What can be refused is refused as an ordinary answer, before the connection is upgraded: the node is asked first. Only
what goes wrong while a command starts or runs is told on the status channel.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

from aiohttp import web

from controlplane.api.authz import Authorizer, authorize
from controlplane.api.call import Call
from controlplane.api.lists import Lister
from controlplane.api.logs import choose_container
from controlplane.api.streams.channels import PROTOCOLS as CHANNEL_PROTOCOLS
from controlplane.api.streams.channels import ChannelSocket
from controlplane.api.streams.port_forward import SPDY_PROTOCOLS as FORWARD_PROTOCOLS
from controlplane.api.streams.port_forward import WEBSOCKET_PROTOCOLS, ChannelForwarding, SpdyForwarding
from controlplane.api.streams.remote_command import SPDY_PROTOCOLS as COMMAND_PROTOCOLS
from controlplane.api.streams.remote_command import SpdyClient, join
from controlplane.api.streams.source import NodeStream, StreamSource
from controlplane.api.streams.spdy import SpdyConnection, SpdyError
from controlplane.api.streams.upgrades import UpgradedConnection, WebSocketBytes
from controlplane.store.cache import Cache
from flotilla.api.errors import ApiError, bad_request, forbidden, not_found
from flotilla.api.objects import KubeObject
from flotilla.api.resources import PODS
from flotilla.api.streams import STATUS, STDOUT, Chunk, StreamOptions

logger = logging.getLogger(__name__)

HEARTBEAT_S = 30.0
_PROTOCOL_HEADER = "X-Stream-Protocol-Version"
_MOST_PORTS = 128

Opening = AbstractAsyncContextManager[NodeStream]


class Streams:
    """The handlers."""

    def __init__(self, source: StreamSource, cache: Cache, lister: Lister, *, authorizer: Authorizer) -> None:
        self._source = source
        self._cache = cache
        self._lister = lister
        self._authorizer = authorizer
        self._running: set[asyncio.Timeout] = set()

    def close(self) -> None:
        """End every stream that runs."""
        for deadline in self._running:
            deadline.reschedule(asyncio.get_running_loop().time())

    async def serve(self, call: Call) -> web.StreamResponse:
        """Answer an authorized request. Raises ApiError."""
        # A WebSocket is a GET, but who only may read must not run commands.
        authorize(self._authorizer, call.user, replace(call.info, verb="create"))
        await self._lister.reach(None)
        entry = self._cache.get(PODS, call.info.namespace, call.info.name)
        if entry is None:
            raise not_found("pods", call.info.name)
        if call.info.subresource == "portforward":
            return await self._forward(call, entry.obj)
        opening, options = self._opening(call, entry.obj)
        return await self._command(call, opening, options)

    def _opening(self, call: Call, pod: KubeObject) -> tuple[Opening, StreamOptions]:
        options = read_options(call)
        container = choose_container(pod, call.query.get("container", ""))
        phase = (pod.get("status") or {}).get("phase")
        if phase in ("Succeeded", "Failed"):
            doing = "exec into" if call.info.subresource == "exec" else "attach to"
            raise bad_request(f"cannot {doing} a container in a completed pod; current phase is {phase}")
        if call.info.subresource == "attach":
            return self._source.attach(pod, container, options=options), options
        command = call.query.getall("command", [])
        if not command:
            raise bad_request("command: you must specify at least one command for the container")
        return self._source.execute(pod, container, command, options=options), options

    async def _command(self, call: Call, opening: Opening, options: StreamOptions) -> web.StreamResponse:
        transport = _transport(call)
        async with opening as node:
            await node.read()
            if transport == "websocket":
                socket, protocol = await _websocket(call, CHANNEL_PROTOCOLS)
                client = ChannelSocket(socket, protocol)
                await client.write(Chunk(STDOUT if options.stdout else STATUS, b""))
                async with self._until_closed():
                    await join(client, node)
                return socket
            protocol = _agree(call, COMMAND_PROTOCOLS)
            upgraded = UpgradedConnection(call.request)
            response = await upgraded.start(_spdy_headers(protocol))
            call.started()
            async with self._until_closed():
                await _join_spdy(upgraded, protocol, node, options)
            return response

    async def _forward(self, call: Call, pod: KubeObject) -> web.StreamResponse:
        if not (pod.get("spec") or {}).get("nodeName"):
            raise bad_request(f"pod {call.info.name} does not have a host assigned")
        if _transport(call) == "spdy":
            protocol = _agree(call, FORWARD_PROTOCOLS)
            upgraded = UpgradedConnection(call.request)
            response = await upgraded.start(_spdy_headers(protocol))
            call.started()
            await self._serve_forwarding(SpdyForwarding(self._source, pod, upgraded).run)
            return response
        ports = _ports(call)
        protocols = CHANNEL_PROTOCOLS if ports else WEBSOCKET_PROTOCOLS
        socket, protocol = await _websocket(call, (*WEBSOCKET_PROTOCOLS, *protocols))
        if protocol in WEBSOCKET_PROTOCOLS:
            await self._serve_forwarding(SpdyForwarding(self._source, pod, WebSocketBytes(socket)).run)
        else:
            forwarding = ChannelForwarding(self._source, pod, ChannelSocket(socket, protocol), ports)
            await self._serve_forwarding(forwarding.run)
        return socket

    async def _serve_forwarding(self, serve: Callable[[], Awaitable[None]]) -> None:
        async with self._until_closed():
            try:
                await serve()
            except SpdyError as error:
                logger.info("stream_client_unreadable", extra={"error": str(error)})

    @asynccontextmanager
    async def _until_closed(self) -> AsyncIterator[None]:
        deadline = asyncio.timeout(None)
        self._running.add(deadline)
        try:
            async with deadline:
                yield
        except (TimeoutError, ConnectionError):
            pass
        finally:
            self._running.discard(deadline)


def read_options(call: Call) -> StreamOptions:
    """The streams that a request asks for. BadRequest if it asks for none."""
    tty = call.flag("tty")
    options = StreamOptions(
        stdin=call.flag("stdin"),
        stdout=call.flag("stdout"),
        stderr=call.flag("stderr") and not tty,
        tty=tty,
    )
    if not (options.stdin or options.stdout or options.stderr):
        raise bad_request("you must specify at least 1 of stdin, stdout, stderr")
    return options


def _transport(call: Call) -> str:
    headers = call.request.headers
    upgrade = headers.get("Upgrade", "").lower()
    if "upgrade" in headers.get("Connection", "").lower() and upgrade in ("websocket", "spdy/3.1"):
        return "websocket" if upgrade == "websocket" else "spdy"
    raise bad_request("Upgrade request required")


async def _websocket(call: Call, protocols: tuple[str, ...]) -> tuple[web.WebSocketResponse, str]:
    """Accept a WebSocket; its protocol, ``""`` for a client that names none. Forbidden where none is known."""
    named = ",".join(call.request.headers.getall("Sec-WebSocket-Protocol", []))
    offered = [each.strip() for each in named.split(",") if each.strip()]
    if offered and not set(offered) & set(protocols):
        raise _unknown_protocols(offered, protocols)
    socket = web.WebSocketResponse(protocols=protocols, heartbeat=HEARTBEAT_S, compress=False)
    await socket.prepare(call.request)
    call.started()
    return socket, socket.ws_protocol or ""


def _agree(call: Call, protocols: tuple[str, ...]) -> str:
    """The first of the client's protocols that is known; the oldest for a client that names none."""
    named = ",".join(call.request.headers.getall(_PROTOCOL_HEADER, []))
    offered = [each.strip() for each in named.split(",") if each.strip()]
    if not offered:
        return protocols[-1]
    for each in offered:
        if each in protocols:
            return each
    raise _unknown_protocols(offered, protocols)


def _unknown_protocols(offered: list[str], protocols: tuple[str, ...]) -> ApiError:
    return forbidden(f"unable to upgrade: none of {offered} is known, only {list(protocols)}")


def _spdy_headers(protocol: str) -> dict[str, str]:
    return {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", _PROTOCOL_HEADER: protocol}


def _ports(call: Call) -> list[int]:
    """The ports that a request names, for the channel protocols. BadRequest for what is none."""
    named = [port for text in call.query.getall("ports", []) for port in text.split(",") if port]
    if len(named) > _MOST_PORTS:
        raise bad_request(f"ports: at most {_MOST_PORTS} can be forwarded at once")
    ports = [int(port) if port.isdecimal() and len(port) < 6 else 0 for port in named]
    for port, text in zip(ports, named, strict=True):
        if not 0 < port < 1 << 16:
            raise bad_request(f'ports: "{text}" is not a port: must be between 1 and 65535')
    return ports


async def _join_spdy(upgraded: UpgradedConnection, protocol: str, node: NodeStream, options: StreamOptions) -> None:
    client = SpdyClient(protocol, options)
    reading = asyncio.create_task(client.run(SpdyConnection(upgraded, client.opened)), name="SPDY client")
    try:
        await client.wait_complete()
        await join(client, node)
    finally:
        reading.cancel()
        ended = (await asyncio.gather(reading, return_exceptions=True))[0]
        if isinstance(ended, SpdyError):
            logger.info("stream_client_unreadable", extra={"error": str(ended)})
