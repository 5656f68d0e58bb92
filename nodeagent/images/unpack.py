"""The child process that turns layer archives into directories which overlayfs can stack.

A layer is hostile input. Each is unpacked with the process's root changed to the layer's own empty directory, parents
are resolved one component at a time, and a file is only ever created in a directory that was found that way; so
neither ``..`` nor a link leads anywhere else. Running apart from the agent keeps its loop and memory out of it.

What a layer does not hold but refers to (a parent directory, a link's target) is copied from the layers below, as
unpacking onto the stacked file system would. Whiteouts become overlayfs's own marks (OCI image specification, layer).

Called as ``python -m nodeagent.images.unpack``: a JSON list of jobs on standard input, ``{"error": ...}`` (with
``"damaged": true`` where a blob has changed on disk) or ``{"sizes_bytes": [...]}`` on standard output.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import resource
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import IO, Any, Protocol, cast

from nodeagent.images.file_writer import FileWriter, LayerError
from nodeagent.images.layer_writer import LayerWriter
from nodeagent.images.lower import LowerLayers

_CHUNK_BYTES = 1 << 20
# tarfile moves what is left in its buffer for each header that it reads.
_BUFFER_BYTES = 1 << 16
# A layer of less than this share of all that an image may come to may have any ratio.
_SMALL_SHARE = 256


@dataclass(frozen=True, slots=True)
class UnpackJob:
    """One layer to unpack: ``blob`` into the empty directory ``target`` over ``lowers`` (top first).

    ``limit_bytes`` and ``room_bytes`` (what may be written to the disk) hold for all jobs of one call together.
    """

    blob: str
    digest: str
    diff_id: str
    target: str
    lowers: tuple[str, ...]
    limit_bytes: int
    limit_ratio: int
    limit_entries: int
    limit_memory_bytes: int
    room_bytes: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class DamagedBlobError(LayerError):
    """The blob on disk does not have the digest that it is named after."""


class _Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


class _Measured:
    """A layer's uncompressed bytes, hashed and counted on their way."""

    def __init__(self, source: _Readable, job: UnpackJob, *, before_bytes: int, compressed_bytes: int) -> None:
        self._source, self._job = source, job
        self._limit_bytes = job.limit_bytes - before_bytes
        self._likely_bytes = max(compressed_bytes * job.limit_ratio, job.limit_bytes // _SMALL_SHARE)
        self._hash = hashlib.sha256()
        self.count_bytes = 0

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self.count_bytes += len(data)
        if self.count_bytes > self._limit_bytes:
            raise LayerError(f"the image unpacks to more than {self._job.limit_bytes} bytes")
        if self.count_bytes > self._likely_bytes:
            raise LayerError(f"the layer unpacks to more than {self._job.limit_ratio} times what it is compressed to")
        self._hash.update(data)
        return data

    def digest(self) -> str:
        while self.read(_CHUNK_BYTES):
            pass
        return f"sha256:{self._hash.hexdigest()}"


@contextmanager
def _decompressed(blob: IO[bytes]) -> Iterator[_Readable]:
    magic = blob.read(4)
    blob.seek(0)
    if magic[:2] == b"\x1f\x8b":
        yield gzip.GzipFile(fileobj=blob)
    elif magic == b"\x28\xb5\x2f\xfd":
        try:
            process = subprocess.Popen(["zstd", "-dcq"], stdin=blob, stdout=subprocess.PIPE)
        except FileNotFoundError as error:
            raise LayerError("the layer is compressed with zstd: install the package zstd on the node") from error
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.stdout.close()
            process.wait()
    else:
        yield blob


def unpack(job: UnpackJob, files: FileWriter, *, before_bytes: int) -> int:
    """Verify and unpack one layer after others of ``before_bytes``; returns its uncompressed size.

    Raises :class:`LayerError`, tarfile's and zlib's errors, OSError.
    """
    # Unbuffered: the file's own offset is what a decompressing child goes by.
    with open(job.blob, "rb", buffering=0) as blob:  # noqa: PTH123
        found = hashlib.file_digest(blob, "sha256").hexdigest()
        if f"sha256:{found}" != job.digest:
            raise DamagedBlobError(f"the blob of {job.digest} has the digest sha256:{found}")
        blob.seek(0)
        with _decompressed(blob) as content:
            size_bytes = os.fstat(blob.fileno()).st_size
            measured = _Measured(content, job, before_bytes=before_bytes, compressed_bytes=size_bytes)
            _write(job, measured, files)
    return measured.count_bytes


def _write(job: UnpackJob, measured: _Measured, files: FileWriter) -> None:
    lowers = LowerLayers(job.lowers)
    outside = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.chroot(job.target)
    os.chdir("/")
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", measured), mode="r|", bufsize=_BUFFER_BYTES) as tar:
            LayerWriter(lowers, files, limit_entries=job.limit_entries).write(tar)
        if measured.digest() != job.diff_id:
            raise LayerError(f"the layer's content does not have the digest {job.diff_id} that its image names")
    finally:
        os.fchdir(outside)
        os.chroot(".")
        os.close(outside)
        lowers.close()


def main() -> None:
    os.umask(0)
    jobs = [UnpackJob(**job) for job in json.load(sys.stdin)]
    # An entry's extended header is read into memory whole, however long it says that it is.
    limit_bytes = max(job.limit_memory_bytes for job in jobs)
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    try:
        files = FileWriter(min(job.room_bytes for job in jobs))
        sizes: list[int] = []
        for job in jobs:
            sizes.append(unpack(job, files, before_bytes=sum(sizes)))
        answer: dict[str, Any] = {"sizes_bytes": sizes}
    except MemoryError:
        answer = {"error": f"the layer takes more than {limit_bytes} bytes of memory to unpack"}
    except RecursionError:
        answer = {"error": "the layer has an entry with too many extended headers"}
    except (LayerError, tarfile.TarError, OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
        answer = {"error": str(error) or type(error).__name__, "damaged": isinstance(error, DamagedBlobError)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
