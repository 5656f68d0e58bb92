"""``nodes/<name>/proxy/<path>``: the pages that a node's agent shows, fetched on the agent's own session.

The agent is asked for a page and nothing else: the path names one of its table, it is no way to other ports or hosts of
the node. Only GET is answered.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Protocol

import msgspec
from aiohttp import web

from controlplane.api.call import Call
from controlplane.store.cache import Cache
from flotilla.api.errors import ApiError, internal, method_not_allowed, not_found
from flotilla.api.resources import NODES

logger = logging.getLogger(__name__)

LARGEST_PAGE_BYTES = 64 << 20


class PageSource(Protocol):
    """Where pages come from."""

    def page(self, node: str, target: str) -> AsyncIterator[bytes]:
        """A page of a node, ``target`` its path and query: first ``{"status", "contentType"}`` as JSON, then its bytes.

        Raises ApiError where the node can't be asked.
        """


class _Head(msgspec.Struct):
    status: int
    contentType: str  # noqa: N815 - the name on the wire


async def serve_page(call: Call, cache: Cache, source: PageSource) -> web.StreamResponse:
    """Answer an authorized request. Raises ApiError."""
    if call.info.verb != "get":
        raise method_not_allowed()
    node = _node_name(call.info.name)
    if cache.get(NODES, "", node) is None:
        raise not_found("nodes", node)
    query = call.request.query_string
    target = f"/{call.info.tail}" + (f"?{query}" if query else "")
    frames = source.page(node, target)
    try:
        head = msgspec.json.decode(await anext(frames), type=_Head)
        body = bytearray()
        async for frame in frames:
            body += frame
            if len(body) > LARGEST_PAGE_BYTES:
                raise ApiError(502, "InternalError", f'node "{node}" sent more than {LARGEST_PAGE_BYTES} bytes')
    except (StopAsyncIteration, msgspec.DecodeError) as error:
        raise internal(f'node "{node}" did not say what page it sends') from error
    finally:
        close = getattr(frames, "aclose", None)
        if close is not None:
            await close()
    return web.Response(status=head.status, body=bytes(body), headers={"Content-Type": head.contentType})


def _node_name(name: str) -> str:
    """The node in ``[<scheme>:]<name>[:<port>]``; there is one way to an agent, whatever scheme and port are named."""
    parts = name.split(":")
    return parts[1] if len(parts) > 2 else parts[0]
