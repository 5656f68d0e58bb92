"""Which images an archive or an image layout on disk holds, read from its own table of contents."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TABLE_LIMIT_BYTES = 4 << 20
_NAME = "org.opencontainers.image.ref.name"
_CONTAINERD_NAME = "io.containerd.image.name"


class ArchiveError(Exception):
    """The file is not an image archive, or one that can't be used."""


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """One image in an archive: how skopeo finds it, and the names that it carries (as written)."""

    transport: str
    selector: str
    names: tuple[str, ...]


def list_archive(archive: Path) -> list[ArchivedImage]:
    """The images in an OCI or Docker archive, plain or compressed, or an OCI layout. Raises :class:`ArchiveError`."""
    if archive.is_dir():
        return _oci_images(_read_table(archive / "index.json"), transport="oci")
    tables = _read_tables(archive)
    if "manifest.json" in tables:
        return _docker_images(tables["manifest.json"])
    if "index.json" in tables:
        return _oci_images(tables["index.json"])
    raise ArchiveError(f"{archive}: neither an OCI nor a Docker image archive (no index.json, no manifest.json)")


def _read_table(path: Path) -> Any:
    try:
        if path.stat().st_size > _TABLE_LIMIT_BYTES:
            raise ArchiveError(f"{path} is larger than {_TABLE_LIMIT_BYTES} bytes")
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ArchiveError(f"{path.parent} is no OCI image layout: it has no {path.name}") from error
    except (OSError, ValueError) as error:
        raise ArchiveError(f"{path}: {error}") from error


def _read_tables(archive: Path) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if name in ("index.json", "manifest.json") and member.isreg():
                    if member.size > _TABLE_LIMIT_BYTES:
                        raise ArchiveError(f"{archive}: {name} is larger than {_TABLE_LIMIT_BYTES} bytes")
                    content = tar.extractfile(member)
                    assert content is not None
                    tables[name] = json.load(content)
    except (OSError, tarfile.TarError, ValueError) as error:
        raise ArchiveError(f"{archive}: {error}") from error
    return tables


def _docker_images(table: Any) -> list[ArchivedImage]:
    if not isinstance(table, list) or not all(isinstance(entry, dict) for entry in table):
        raise ArchiveError("manifest.json is not a list of images")
    return [
        ArchivedImage("docker-archive", f"@{position}", tuple(entry.get("RepoTags") or ()))
        for position, entry in enumerate(table)
    ]


def _oci_images(table: Any, *, transport: str = "oci-archive") -> list[ArchivedImage]:
    manifests = table.get("manifests") if isinstance(table, dict) else None
    if not isinstance(manifests, list) or not manifests:
        raise ArchiveError("index.json lists no manifest")
    images = []
    for descriptor in manifests:
        annotations = descriptor.get("annotations") or {}
        selector = annotations.get(_NAME, "")
        if not selector and len(manifests) > 1:
            raise ArchiveError("index.json lists several images and one of them has no name")
        name = annotations.get(_CONTAINERD_NAME) or selector
        images.append(ArchivedImage(transport, selector, (name,) if name else ()))
    return images
