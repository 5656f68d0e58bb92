"""The node's image store for a command: opened with the right to, its refusals told as the command's failures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flotilla.cli.failures import CommandError

if TYPE_CHECKING:
    from nodeagent.images.store import ImageStore

NodeDir = Annotated[Path, typer.Option("--node-dir", help="Data directory of the node agent.")]
Pinned = Annotated[
    bool, typer.Option("--pin/--no-pin", help="Keep the image when the agent makes room on a full disk.")
]
DEFAULT_NODE_DIR = Path("/var/lib/flotilla/node")


@contextmanager
def node_images(node_dir: Path, *, insecure_registries: tuple[str, ...] = ()) -> Iterator[ImageStore]:
    """The store below ``node_dir``, which the agent may be using at the same time."""
    if os.geteuid() != 0:
        raise CommandError("the node's images belong to root: use sudo")
    from nodeagent.images.building import BuildError
    from nodeagent.images.image import ImageInUseError, ImagePullError
    from nodeagent.images.reference import InvalidReferenceError
    from nodeagent.images.saving import SaveError
    from nodeagent.images.store import ImageStore

    try:
        yield ImageStore(node_dir / "images", insecure_registries=insecure_registries)
    except (ImagePullError, ImageInUseError, InvalidReferenceError, SaveError, BuildError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise CommandError(f"{where}{error.strerror or error}") from error


def size_text(size_bytes: float) -> str:
    """A size in the unit that suits it: ``512 B``, ``1.4 MB``, ``2.0 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000 or unit == "GB":
            break
        size_bytes /= 1000
    return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
