"""Why a session or tunnel ends: a gRPC status, raised by whichever of its tasks finds out."""

from __future__ import annotations

import grpc


class StreamEndedError(Exception):
    """The stream is to end with this status; ``code`` None is an orderly end by the other side."""

    def __init__(self, code: grpc.StatusCode | None, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


def left(node: str) -> StreamEndedError:
    """The agent has closed its side."""
    return StreamEndedError(None, f"{node} left")


def slow_agent(node: str, seconds: float) -> StreamEndedError:
    """The agent takes nothing any more; a new session starts from a complete set instead of a growing backlog."""
    return StreamEndedError(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{node} has read nothing for {seconds:g} s")


def replaced(node: str) -> StreamEndedError:
    """The node has opened another session."""
    return StreamEndedError(grpc.StatusCode.ABORTED, f"another session of {node} has replaced this one")


def node_deleted(node: str) -> StreamEndedError:
    """The Node object is gone; the agent may introduce itself again."""
    return StreamEndedError(grpc.StatusCode.ABORTED, f"the Node {node} was deleted")


def violation(details: str) -> StreamEndedError:
    """The agent does not keep to the protocol."""
    return StreamEndedError(grpc.StatusCode.INVALID_ARGUMENT, details)


def not_now(details: str) -> StreamEndedError:
    """Something is missing that may be there soon."""
    return StreamEndedError(grpc.StatusCode.UNAVAILABLE, details)
