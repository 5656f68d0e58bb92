"""The assignments on disk, so that an agent started again without a server goes on with its pods.

Written whole, flushed, and renamed into place; bursts of changes become one writing. Secrets go to a second file on a
tmpfs: nothing secret outlives the machine's power. A file that cannot be read counts as absent: the server sends all of
it again.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from nodeagent.assigned import SECRETS, Assignments, Held, Moment, ObjectKey
from nodeagent.sandbox import ClusterFacts

logger = logging.getLogger(__name__)

QUIET_S = 0.2


class _Entry(msgspec.Struct, array_like=True):
    resource: str
    namespace: str
    name: str
    resource_version: int
    json: msgspec.Raw


class _Document(msgspec.Struct):
    history_id: str
    revision: int
    facts: ClusterFacts
    objects: list[_Entry]


class Checkpoint:
    """The two files: ``path`` on disk, ``secrets_path`` on a tmpfs."""

    def __init__(self, path: Path, *, secrets_path: Path) -> None:
        self._path, self._secrets_path = path, secrets_path
        self._decoder = msgspec.json.Decoder(_Document)
        self._encoder = msgspec.json.Encoder()

    def load(self) -> tuple[Assignments, ClusterFacts]:
        """What was written last; empty where nothing can be read."""
        document, secrets = self._read(self._path), self._read(self._secrets_path)
        if document is None:
            return Assignments(), ClusterFacts()
        entries = [*document.objects, *(secrets.objects if secrets is not None else ())]
        objects = {
            ObjectKey(entry.resource, entry.namespace, entry.name): Held(entry.resource_version, bytes(entry.json))
            for entry in entries
        }
        return Assignments.restored(Moment(document.history_id, document.revision), objects), document.facts

    def encode(self, assignments: Assignments, facts: ClusterFacts) -> tuple[bytes, bytes]:
        """Both files' contents: to be made on the loop, where the assignments do not change meanwhile."""
        plain: list[_Entry] = []
        secret: list[_Entry] = []
        for key, held in assignments.objects.items():
            entry = _Entry(*key, held.resource_version, msgspec.Raw(held.json))
            (secret if key.resource == SECRETS else plain).append(entry)
        moment = assignments.applied
        return (
            self._encoder.encode(_Document(moment.history_id, moment.revision, facts, plain)),
            self._encoder.encode(_Document(moment.history_id, moment.revision, ClusterFacts(), secret)),
        )

    def write(self, contents: tuple[bytes, bytes]) -> None:
        """Replace both files. Blocks for the disk. Raises OSError."""
        _replace(self._secrets_path, contents[1])
        _replace(self._path, contents[0])

    def _read(self, path: Path) -> _Document | None:
        try:
            return self._decoder.decode(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            logger.warning("checkpoint_unreadable", extra={"path": str(path), "error": str(error)})
            return None


def _replace(path: Path, contents: bytes) -> None:
    staged = path.with_suffix(".new")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(contents)
        file.flush()
        os.fsync(file.fileno())
    staged.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class Checkpointer:
    """Writes a checkpoint soon after ``changed``, never two at once, never more often than every ``QUIET_S``."""

    def __init__(self, checkpoint: Checkpoint, contents: Callable[[], tuple[bytes, bytes]]) -> None:
        self._checkpoint, self._contents = checkpoint, contents
        self._dirty = asyncio.Event()

    def changed(self) -> None:
        self._dirty.set()

    async def run(self) -> None:
        """Write until cancelled; what is still unwritten then is written at the end."""
        try:
            while True:
                await self._dirty.wait()
                await asyncio.sleep(QUIET_S)
                await self._write()
        finally:
            if self._dirty.is_set():
                self._checkpoint.write(self._contents())

    async def _write(self) -> None:
        self._dirty.clear()
        contents = self._contents()
        try:
            await asyncio.to_thread(self._checkpoint.write, contents)
        except OSError as error:
            logger.error("checkpoint_not_written", extra={"error": str(error)})
