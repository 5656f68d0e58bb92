"""What the API server needs of the part that reaches the nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from flotilla.api.errors import unavailable
from flotilla.api.objects import KubeObject
from flotilla.api.streams import Chunk, StreamOptions


class NodeStream(Protocol):
    """The node's end of one stream."""

    async def read(self) -> Chunk | None:
        """The next chunk, None after the last. ApiError where the node could not do what was asked."""

    async def write(self, chunk: Chunk) -> None:
        """Send a chunk; waits while the node can't take more. Nothing happens once the stream has ended."""


class StreamSource(Protocol):
    """Opens streams to nodes; each raises ApiError where there is no node, or it does not answer."""

    def execute(
        self, pod: KubeObject, container: str, command: list[str], *, options: StreamOptions
    ) -> AbstractAsyncContextManager[NodeStream]:
        """Run a command in a container."""

    def attach(
        self, pod: KubeObject, container: str, *, options: StreamOptions
    ) -> AbstractAsyncContextManager[NodeStream]:
        """Join a container's first process."""

    def forward(self, pod: KubeObject, port: int) -> AbstractAsyncContextManager[NodeStream]:
        """Connect to a port of a pod; bytes go on channel 0 and come on channel 1."""

    def page(self, node: str, target: str) -> AsyncIterator[bytes]:
        """See :class:`controlplane.api.node_proxy.PageSource`."""


class NoNodes:
    """The source of a server that no agent can reach."""

    def execute(
        self, pod: KubeObject, container: str, command: list[str], *, options: StreamOptions
    ) -> AbstractAsyncContextManager[NodeStream]:
        raise unavailable("this server reaches no nodes")

    def attach(
        self, pod: KubeObject, container: str, *, options: StreamOptions
    ) -> AbstractAsyncContextManager[NodeStream]:
        raise unavailable("this server reaches no nodes")

    def forward(self, pod: KubeObject, port: int) -> AbstractAsyncContextManager[NodeStream]:
        raise unavailable("this server reaches no nodes")

    def page(self, node: str, target: str) -> AsyncIterator[bytes]:
        raise unavailable("this server reaches no nodes")
