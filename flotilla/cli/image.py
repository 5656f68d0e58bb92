"""``flotilla image``: the images of this node, in the agent's own store, without asking any server.

The agent may run or not: both work on the directory under the store's locks.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from flotilla.cli.failures import CommandError
from flotilla.cli.image_build import build
from flotilla.cli.image_store import DEFAULT_NODE_DIR, NodeDir, Pinned, node_images, size_text

if TYPE_CHECKING:
    from nodeagent.images.auth import RegistryAuth
    from nodeagent.images.image import Image

app = typer.Typer(help="Images on this node.", no_args_is_help=True)
app.command()(build)

_STANDARD_INPUT = Path("-")
_FORMS = ("oci-archive", "docker-archive")


@app.command()
def load(
    archive: Annotated[Path, typer.Argument(help="OCI or Docker archive, OCI layout, or - for standard input.")],
    tag: Annotated[str, typer.Option("--tag", "-t", help="Name for the image, in place of the archive's.")] = "",
    pinned: Pinned = True,
    node_dir: NodeDir = DEFAULT_NODE_DIR,
) -> None:
    """Load the images of an archive into this node's store.

    They come from no registry that could give them again, so they are pinned. Example: [bold]sudo flotilla image load
    sample.tar[/bold]
    """
    if archive != _STANDARD_INPUT and not archive.exists():
        raise CommandError(f"{archive} does not exist: give the path of an archive or of an OCI layout")
    with node_images(node_dir) as store, store.scratch.open("input") as scratch:
        if archive == _STANDARD_INPUT:
            archive = scratch / "archive"
            with archive.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        for image in store.load(archive, reference=tag, pinned=pinned):
            for reference in image.references:
                print(f"Loaded {reference}")


@app.command()
def save(
    references: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Names or ids.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; standard output else.")] = None,
    form: Annotated[str, typer.Option("--format", help=f"{' or '.join(_FORMS)}.")] = _FORMS[0],
    node_dir: NodeDir = DEFAULT_NODE_DIR,
) -> None:
    """Save images as an archive that skopeo, podman, docker and other nodes can load.

    Examples: [bold]sudo flotilla image save web:v1 -o web.tar[/bold],
    [bold]sudo flotilla image save web:v1 | ssh node-2 sudo flotilla image load -[/bold]
    """
    if form not in _FORMS:
        raise CommandError(f"--format {form}: give {' or '.join(_FORMS)}")
    from nodeagent.images.saving import save_images

    with node_images(node_dir) as store, _written(output) as file:
        save_images(store, references, file, form=form)  # type: ignore[arg-type]


@app.command()
def pull(
    reference: Annotated[str, typer.Argument(metavar="IMAGE", help="Name, with a tag or a digest.")],
    creds: Annotated[str, typer.Option("--creds", help="USER[:PASSWORD]; asked for without it.")] = "",
    authfile: Annotated[Path | None, typer.Option("--authfile", help="What skopeo login writes.")] = None,
    missing: Annotated[bool, typer.Option("--missing", help="Only if it is not here.")] = False,
    tls_verify: Annotated[bool, typer.Option("--tls-verify/--no-tls-verify", help="Check certificates.")] = True,
    node_dir: NodeDir = DEFAULT_NODE_DIR,
) -> None:
    """Pull an image from its registry into this node's store.

    Certificates, mirrors and plain registries are the host's, in /etc/containers. Example:
    [bold]sudo flotilla image pull docker.io/library/nginx:1.27[/bold]
    """
    from nodeagent.images.reference import parse_reference

    with node_images(node_dir) as store:
        domain = parse_reference(reference).domain
    with node_images(node_dir, insecure_registries=() if tls_verify else (domain,)) as store:
        auths = _credentials(domain, creds, authfile)
        image = store.pull(reference, policy="IfNotPresent" if missing else "Always", auths=auths)
    taken = f" in {image.pulled.pulling_s:.1f} s" if image.pulled else ", which was here"
    print(f"Pulled {image.name_by_digest(reference)}{taken}, {size_text(image.size_bytes)}")


@app.command("ls")
def list_images(
    output: Annotated[str, typer.Option("--output", "-o", help="json for programs, name for names alone.")] = "",
    digests: Annotated[bool, typer.Option("--digests", help="Show the registries' digests, too.")] = False,
    node_dir: NodeDir = DEFAULT_NODE_DIR,
) -> None:
    """List the images of this node.

    Examples: [bold]sudo flotilla image ls[/bold], [bold]sudo flotilla image ls -o json[/bold]
    """
    if output not in ("", "json", "name"):
        raise CommandError(f"--output {output}: give json or name, or leave it out for a table")
    with node_images(node_dir) as store:
        images, used = store.images(), store.in_use()
    if output == "json":
        print(json.dumps([_described(image, used) for image in images], indent=2))
    elif output == "name":
        for name in sorted(name for image in images for name in image.references):
            print(name)
    else:
        _print_table(images, used, digests=digests)


@app.command("rm")
def remove(
    references: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Names, or ids as ls shows them.")],
    force: Annotated[bool, typer.Option("--force", "-f", help="Also what containers or pods use.")] = False,
    node_dir: NodeDir = DEFAULT_NODE_DIR,
) -> None:
    """Remove images from this node's store.

    What a running container stands on stays on disk until it has gone, also with --force. Example:
    [bold]sudo flotilla image rm flotilla.dev/sample:v1[/bold]
    """
    from nodeagent.images.image import ImageInUseError

    with node_images(node_dir) as store:
        for reference in references:
            try:
                removed = store.remove(reference, force=force)
            except ImageInUseError as error:
                raise CommandError(f"{error}: delete the pods, or use --force") from error
            if removed is None:
                raise CommandError(f"no image {reference} on this node: flotilla image ls shows what there is")
            for name in removed.references:
                print(f"Removed {name}")
            _print_freed(removed.freed_bytes, busy=removed.busy)


@app.command()
def prune(
    everything: Annotated[bool, typer.Option("--all", "-a", help="Also images that are pinned.")] = False,
    node_dir: NodeDir = DEFAULT_NODE_DIR,
) -> None:
    """Remove all images that no container and no pod of this node uses, and what is left of interrupted pulls.

    Example: [bold]sudo flotilla image prune[/bold]
    """
    with node_images(node_dir) as store:
        reclaimed = store.reclaim(pinned_too=everything)
    for name in reclaimed.references:
        print(f"Removed {name}")
    _print_freed(reclaimed.freed_bytes, busy=reclaimed.busy)


def _print_freed(freed_bytes: int, *, busy: bool) -> None:
    if busy:
        raise CommandError("an image is being unpacked: what is not used any more goes at the next prune")
    print(f"Freed {size_text(freed_bytes)}")


def _print_table(images: list[Image], used: set[str], *, digests: bool) -> None:
    from flotilla.api.durations import human_duration
    from flotilla.cli.tables import TableWriter

    rows = [
        [
            reference,
            image.id.removeprefix("sha256:")[:12],
            *([_digest_of(image)] if digests else []),
            size_text(image.size_bytes),
            human_duration(time.time() - image.stored_unix_s),
            "yes" if image.digest in used else "no",
            "yes" if image.pinned else "no",
        ]
        for image in images
        for reference in image.references or ("<none>",)
    ]
    columns = ["reference", "image id", *(["digest"] if digests else []), "size", "age", "in use", "pinned"]
    TableWriter(columns).write(sorted(rows))


def _digest_of(image: Image) -> str:
    return image.repo_digests[0].partition("@")[2] if image.repo_digests else "<none>"


def _described(image: Image, used: set[str]) -> dict[str, Any]:
    return {
        "names": list(image.references),
        "repoDigests": list(image.repo_digests),
        "id": image.id,
        "digest": image.digest,
        "sizeBytes": image.size_bytes,
        "storedUnixS": image.stored_unix_s,
        "inUse": image.digest in used,
        "pinned": image.pinned,
    }


def _credentials(domain: str, creds: str, authfile: Path | None) -> list[RegistryAuth]:
    from nodeagent.images.auth import RegistryAuth, document_auths

    if creds:
        user, colon, password = creds.partition(":")
        return [RegistryAuth(domain, user, password if colon else typer.prompt("Password", hide_input=True, err=True))]
    if authfile is None:
        return []
    try:
        found = document_auths(json.loads(authfile.read_bytes()))
    except (OSError, ValueError) as error:
        raise CommandError(f"--authfile {authfile}: {error}") from error
    if not found:
        raise CommandError(f"--authfile {authfile} holds no credential: skopeo login --authfile writes one")
    return found


@contextmanager
def _written(output: Path | None) -> Iterator[IO[bytes]]:
    """The file to write, whole or not at all; standard output unless that is a terminal."""
    if output is None:
        if sys.stdout.isatty():
            raise CommandError("an archive is nothing for a terminal: give --output FILE, or send it on through a pipe")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    staged = output.with_name(output.name + ".partial")
    try:
        with staged.open("wb") as file:
            yield file
        os.replace(staged, output)  # noqa: PTH105
    finally:
        staged.unlink(missing_ok=True)
