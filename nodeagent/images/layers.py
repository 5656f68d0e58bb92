"""Unpacked layers, shared by all images that stand on the same stack.

A directory is named after its layer's chain id (OCI image configuration, layer ChainID), because what a layer leaves
out is completed from those below it. It appears by a rename once whole, so a name that exists can be mounted.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from nodeagent.images.locks import file_lock
from nodeagent.images.rootfs import leased_stacks
from nodeagent.images.scratch import Scratch
from nodeagent.images.space import available_bytes
from nodeagent.images.unpack import UnpackJob
from nodeagent.images.uses import disk_bytes

_libc = ctypes.CDLL(None, use_errno=True)
_NAME_LENGTH = 16
_LAYERS_LIMIT = 500


class UnpackError(Exception):
    """A layer can't be unpacked; the message says which and why. ``damaged``: its blob on disk is not what it was."""

    def __init__(self, message: str, *, damaged: bool = False) -> None:
        super().__init__(message)
        self.damaged = damaged


@dataclass(frozen=True, slots=True)
class LayerBlob:
    """A layer as an image describes it: the blob's digest and that of its uncompressed content."""

    digest: str
    diff_id: str
    path: Path


@dataclass(frozen=True, slots=True)
class LayerLimits:
    """What the new layers of one image may come to when unpacked, and how much memory unpacking may take.

    ``ratio`` is how much larger than its compressed form a layer may be, small ones (a 256th of ``unpacked_bytes``)
    apart: gzip reaches a thousand with nothing but zeros.
    """

    unpacked_bytes: int = 64 << 30
    ratio: int = 2000
    entries: int = 4_000_000
    memory_bytes: int = 1 << 30


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """The chain id of each layer of a stack, lowest first."""
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(f"sha256:{hashlib.sha256(f'{chain[-1]} {diff_id}'.encode()).hexdigest()}" if chain else diff_id)
    return chain


class LayerStore:
    """The directories under ``root/layers``; safe for several processes."""

    def __init__(self, root: Path, scratch: Scratch, *, limits: LayerLimits) -> None:
        self._directory = root / "layers"
        self._locks = root / "locks"
        self._scratch = scratch
        self._leases = root / "leases"
        self._limits = limits

    def create(self) -> None:
        for directory in (self._directory, self._locks, self._leases):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o711)

    def paths(self, diff_ids: Sequence[str]) -> tuple[Path, ...]:
        """Where the layers of a stack are or will be, lowest first."""
        return tuple(self._directory / _short_name(chain_id) for chain_id in chain_ids(diff_ids))

    def ensure(self, stack: Sequence[LayerBlob]) -> tuple[Path, ...]:
        """Unpack what is missing of ``stack`` (lowest first). Raises :class:`UnpackError`."""
        if len(stack) > _LAYERS_LIMIT:
            raise UnpackError(f"the image has {len(stack)} layers; overlayfs stacks at most {_LAYERS_LIMIT}")
        paths = self.paths([layer.diff_id for layer in stack])
        with ExitStack() as held:
            # Stacks that share layers share their lowest ones, so taking locks from below can't deadlock.
            for path in paths:
                if not path.exists():
                    held.enter_context(file_lock(self._locks / path.name))
            missing = [position for position, path in enumerate(paths) if not path.exists()]
            if missing:
                staging = held.enter_context(self._scratch.open("unpack"))
                self._unpack(stack, paths, missing, staging=staging)
        return paths

    def users(self) -> dict[str, tuple[Path, ...]]:
        """Root file systems by their directories, with the stack that each stands on, lowest first."""
        found = leased_stacks(self._leases)
        return {directory: tuple(self._directory / name for name in names) for directory, names in found.items()}

    def collect(self, kept: Collection[Path]) -> int:
        """Remove the directories not in ``kept`` and under no root file system; returns the bytes that this freed."""
        in_use = {path for stack in self.users().values() for path in stack} | set(kept)
        unused = [path for path in self._directory.iterdir() if path not in in_use]
        freed_bytes = sum(disk_bytes(path) for path in unused)
        for path in unused:
            with self._scratch.open("remove") as doomed:
                path.rename(doomed / path.name)
            (self._locks / path.name).unlink(missing_ok=True)
        return freed_bytes

    def _unpack(
        self, stack: Sequence[LayerBlob], paths: Sequence[Path], missing: Sequence[int], *, staging: Path
    ) -> None:
        targets = list(paths)
        for position in missing:
            targets[position] = staging / paths[position].name
            targets[position].mkdir(mode=0o755)
        room_bytes = available_bytes(staging)
        jobs = [
            UnpackJob(
                blob=str(stack[position].path),
                digest=stack[position].digest,
                diff_id=stack[position].diff_id,
                target=str(targets[position]),
                lowers=tuple(str(path) for path in reversed(targets[:position])),
                limit_bytes=self._limits.unpacked_bytes,
                limit_ratio=self._limits.ratio,
                limit_entries=self._limits.entries,
                limit_memory_bytes=self._limits.memory_bytes,
                room_bytes=room_bytes,
            )
            for position in missing
        ]
        _run_child(jobs)
        _flush(staging)
        for position in missing:
            targets[position].rename(paths[position])


def _short_name(chain_id: str) -> str:
    return chain_id.partition(":")[2][:_NAME_LENGTH]


def _run_child(jobs: Sequence[UnpackJob]) -> None:
    command = [sys.executable, "-I", "-m", "nodeagent.images.unpack"]
    request = json.dumps([job.as_json() for job in jobs])
    finished = subprocess.run(command, input=request, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise UnpackError(f"unpacking ended with status {finished.returncode}: {finished.stderr.strip()[-500:]}")
    answer = json.loads(finished.stdout)
    if "error" in answer:
        raise UnpackError(answer["error"], damaged=bool(answer.get("damaged")))


def _flush(directory: Path) -> None:
    """Write the file system that holds ``directory`` to disk: a layer must be whole also after a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), "syncfs", str(directory))
    finally:
        os.close(descriptor)
