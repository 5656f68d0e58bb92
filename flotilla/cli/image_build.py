"""``flotilla image build``: an image of a directory, or of a Containerfile by buildah."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from flotilla.cli.failures import CommandError
from flotilla.cli.image_store import DEFAULT_NODE_DIR, NodeDir, Pinned, node_images, size_text

_ONLY_ROOTFS = "Without a Containerfile"
_ONLY_FILE = "With a Containerfile"


def build(
    directory: Annotated[Path, typer.Argument(help="Root file system, or what a Containerfile is about.")],
    tag: Annotated[str, typer.Option("--tag", "-t", help="Name of the image.")],
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Containerfile, if it is not in DIRECTORY.")] = None,
    rootfs: Annotated[bool, typer.Option("--rootfs", help="DIRECTORY is the root file system as it is.")] = False,
    build_arg: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of an ARG.", rich_help_panel=_ONLY_FILE)
    ] = None,
    target: Annotated[str, typer.Option(help="Stage to stop at.", rich_help_panel=_ONLY_FILE)] = "",
    entrypoint: Annotated[str, typer.Option(help="Words as for a shell.", rich_help_panel=_ONLY_ROOTFS)] = "",
    cmd: Annotated[str, typer.Option(help="Words as for a shell.", rich_help_panel=_ONLY_ROOTFS)] = "",
    env: Annotated[list[str] | None, typer.Option(help="NAME=VALUE.", rich_help_panel=_ONLY_ROOTFS)] = None,
    label: Annotated[list[str] | None, typer.Option(help="NAME=VALUE.", rich_help_panel=_ONLY_ROOTFS)] = None,
    port: Annotated[list[str] | None, typer.Option(help="8080 or 53/udp.", rich_help_panel=_ONLY_ROOTFS)] = None,
    workdir: Annotated[str, typer.Option(help="Working directory.", rich_help_panel=_ONLY_ROOTFS)] = "",
    user: Annotated[str, typer.Option(help="USER[:GROUP].", rich_help_panel=_ONLY_ROOTFS)] = "",
    pinned: Pinned = True,
    node_dir: NodeDir = DEFAULT_NODE_DIR,
) -> None:
    """Build an image into this node's store: of a directory as it is, or of a Containerfile, which takes buildah.

    Options for variables, labels and ports may be repeated. Examples:
    [bold]sudo flotilla image build ./rootfs -t web:v1 --entrypoint "/bin/server -v" --env PORT=8080[/bold],
    [bold]sudo flotilla image build . -t web:v1[/bold] with a Containerfile in it
    """
    from nodeagent.images.building import build_from_directory
    from nodeagent.images.containerfiles import NAMES, build_from_containerfile, containerfile_in
    from nodeagent.images.image import ImageConfig

    if not directory.is_dir():
        raise CommandError(f"{directory} is no directory: give the root file system, or where the Containerfile is")
    if file is not None and (rootfs or not file.is_file()):
        raise CommandError(f"--file {file}: {'leave it out with --rootfs' if rootfs else 'there is no such file'}")
    process = ImageConfig(
        entrypoint=_words("--entrypoint", entrypoint),
        cmd=_words("--cmd", cmd),
        env=_assignments("--env", env),
        working_dir=workdir,
        user=user,
        exposed_ports=tuple(port or ()),
        labels=tuple((name, value) for name, _, value in map(_parts, _assignments("--label", label))),
    )
    containerfile = None if rootfs else file or containerfile_in(directory)
    _check(containerfile, build_arg, target, says=process != ImageConfig(), names=NAMES)
    with node_images(node_dir) as store:
        if containerfile is None:
            image = build_from_directory(store, directory, tag, process=process, pinned=pinned)
        else:
            arguments = _assignments("--build-arg", build_arg)
            image = build_from_containerfile(
                store, directory, tag, containerfile=containerfile, arguments=arguments, stage=target, pinned=pinned
            )
    print(f"Built {', '.join(image.references)}, {size_text(image.size_bytes)}")


def _check(
    containerfile: Path | None,
    build_arg: list[str] | None,
    target: str,
    *,
    says: bool,
    names: tuple[str, ...],
) -> None:
    """Refuse options that mean nothing for this kind of build; ``says``: some say what the image is to run."""
    if containerfile is not None and says:
        raise CommandError(
            f"{containerfile} says what the image runs: leave out --entrypoint, --cmd, --env, --label, --port, "
            "--workdir and --user, or build the directory as it is (--rootfs)"
        )
    if containerfile is None and (build_arg or target):
        option = "--build-arg" if build_arg else "--target"
        raise CommandError(f"{option} takes a Containerfile: there is no {' or '.join(names)}, and no --file")


def _words(option: str, text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise CommandError(f"{option} {text}: {error}") from error


def _parts(assignment: str) -> tuple[str, str, str]:
    return assignment.partition("=")


def _assignments(option: str, values: list[str] | None) -> tuple[str, ...]:
    for value in values or ():
        if not value.partition("=")[0] or "=" not in value:
            raise CommandError(f"{option} {value}: write NAME=VALUE")
    return tuple(values or ())
