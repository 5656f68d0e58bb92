"""The words of streams into containers, which the API server and the node agent share.

Channels have the numbers of Kubernetes' ``channel.k8s.io``: 0 input, 1 output, 2 error output, 3 how it ended (a Status
object), 4 the size of the terminal. The first chunk that a node sends is empty: it has found the container and begins.
"""

from __future__ import annotations

from dataclasses import dataclass

STDIN, STDOUT, STDERR, STATUS, RESIZE = range(5)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some bytes on one channel; ``end`` when no more will come on it."""

    channel: int
    data: bytes
    end: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """Which of a process's streams are joined; with ``tty`` one terminal takes the place of three pipes."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False
