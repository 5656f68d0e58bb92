"""Whether an image has programs for the machine's 32-bit mode.

Two signs are looked for: the 32-bit dynamic loader, without which no ordinary 32-bit program runs, and a first program
that is itself a 32-bit ELF file (elf(5)), as in images that hold nothing but one static program.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nodeagent.runtime.image_files import read_image_file

_LOADERS = ("lib/ld-linux.so.2", "lib/ld-musl-i386.so.1", "lib/ld-linux-armhf.so.3", "lib/ld-musl-armhf.so.1")
_ELF_32_BIT = b"\x7fELF\x01"


def has_small_programs(rootfs: Path, arguments: Sequence[str], search: Sequence[str]) -> bool:
    """Whether the root file system runs 32-bit programs; ``search`` is the container's PATH."""
    if any(os.path.lexists(rootfs / loader) for loader in _LOADERS):
        return True
    name = arguments[0] if arguments else ""
    candidates = [name] if "/" in name else [f"{directory}/{name}" for directory in search]
    return any(_is_small(rootfs, candidate) for candidate in candidates)


def _is_small(rootfs: Path, path: str) -> bool:
    return read_image_file(rootfs, path, limit_bytes=len(_ELF_32_BIT)) == _ELF_32_BIT
