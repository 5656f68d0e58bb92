"""``flotilla image``: the images of this node, in the agent's own store, without asking any server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from flotilla.cli.failures import CommandError

app = typer.Typer(help="Images on this node.", no_args_is_help=True)

NodeDir = Annotated[Path, typer.Option("--node-dir", help="Data directory of the node agent.")]
DEFAULT_NODE_DIR = Path("/var/lib/flotilla/node")


@app.command()
def load(
    archive: Annotated[Path, typer.Argument(help="OCI or Docker archive.", exists=True, dir_okay=False)],
    node_dir: NodeDir = DEFAULT_NODE_DIR,
) -> None:
    """Load the images of an archive file into this node's store.

    Example: [bold]sudo flotilla image load sample.tar[/bold]
    """
    for image in _guarded(lambda store: store.load(archive), node_dir):
        for reference in image.references:
            print(f"Loaded {reference}")


@app.command("ls")
def list_images(node_dir: NodeDir = DEFAULT_NODE_DIR) -> None:
    """List the images of this node.

    Example: [bold]sudo flotilla image ls[/bold]
    """
    from flotilla.cli.tables import TableWriter

    rows = [
        [reference, image.id.removeprefix("sha256:")[:12], f"{image.size_bytes / 1e6:.1f} MB"]
        for image in _guarded(lambda store: store.images(), node_dir)
        for reference in image.references or ("<none>",)
    ]
    TableWriter(["reference", "image id", "size"]).write(sorted(rows))


@app.command("rm")
def remove(
    references: Annotated[list[str], typer.Argument(help="Images to remove.")],
    node_dir: NodeDir = DEFAULT_NODE_DIR,
) -> None:
    """Remove images from this node's store; layers that a container uses stay until it has gone.

    Example: [bold]sudo flotilla image rm flotilla.dev/sample:v1[/bold]
    """
    for reference in references:
        if not _guarded(lambda store, name=reference: store.remove(name), node_dir):
            raise CommandError(f"no image {reference} on this node")
        print(f"Removed {reference}")


def _guarded(action: Any, node_dir: Path) -> Any:
    """What ``action`` makes of the node's store, the store's refusals told as a command's failures."""
    if os.geteuid() != 0:
        raise CommandError("the node's images belong to root: use sudo")
    from nodeagent.images.image import ImagePullError
    from nodeagent.images.reference import InvalidReferenceError
    from nodeagent.images.store import ImageStore

    try:
        return action(ImageStore(node_dir / "images"))
    except (ImagePullError, InvalidReferenceError) as error:
        raise CommandError(str(error)) from error
