"""Writing the content of files from a layer: holes stay holes, and no more is written than the disk has room for.

An archive may say that a file of a few bytes is a petabyte long (GNU sparse files), or hold long runs of zeros. Neither
takes room on disk here, and what does is counted.
"""

from __future__ import annotations

import os
import tarfile
from typing import IO, cast

_CHUNK_BYTES = 1 << 17
_BLOCK_BYTES = 4096
_ZEROS = bytes(_CHUNK_BYTES)


class LayerError(Exception):
    """A layer's content is refused."""


class FileWriter:
    """Writes files while there is room: ``room_bytes`` for all that one instance writes."""

    def __init__(self, room_bytes: int) -> None:
        self._room_bytes = room_bytes
        self._left_bytes = room_bytes

    def write_member(self, path: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Make ``path``, which must not exist, hold the member's content. Raises LayerError, OSError."""
        with _create(path) as file:
            if member.sparse is None:
                content = tar.extractfile(member)
                assert content is not None
                self._copy(content, file, member.size)
            else:
                # What extractfile gives has all the zeros of the holes in it.
                source = cast("IO[bytes]", tar.fileobj)
                source.seek(member.offset_data)
                for offset, size in cast("list[tuple[int, int]]", member.sparse):
                    file.seek(offset)
                    self._copy(source, file, size)
            file.truncate(member.size)

    def write_copy(self, path: str, content: IO[bytes]) -> None:
        """Make ``path``, which must not exist, hold all of ``content``."""
        with _create(path) as file:
            self._copy(content, file, os.fstat(content.fileno()).st_size)
            file.truncate()

    def take(self, size_bytes: int) -> None:
        """Count what is about to be written, in whole blocks. Raises LayerError where there is no more room."""
        self._left_bytes -= -(-size_bytes // _BLOCK_BYTES) * _BLOCK_BYTES
        if self._left_bytes < 0:
            raise LayerError(
                f"unpacking takes more than the {self._room_bytes} bytes that the disk has left: "
                "make room on the node, or remove images that nothing uses (flotilla image prune)"
            )

    def _copy(self, source: IO[bytes], file: IO[bytes], size_bytes: int) -> None:
        left = size_bytes
        while left > 0:
            chunk = source.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise LayerError("the archive ends in the middle of a file")
            left -= len(chunk)
            if len(chunk) >= _BLOCK_BYTES and chunk == _ZEROS[: len(chunk)]:
                file.seek(len(chunk), os.SEEK_CUR)
            else:
                self.take(len(chunk))
                file.write(chunk)


def _create(path: str) -> IO[bytes]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "wb", 0)
