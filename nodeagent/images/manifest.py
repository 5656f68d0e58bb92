"""Reading an image's manifest and configuration from the layout (OCI image specification, Docker's schema 2 alike)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nodeagent.images.image import ImageConfig
from nodeagent.images.layers import LayerBlob
from nodeagent.images.layout import Layout

_LAYER_TYPES = ("application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar")


class ManifestError(Exception):
    """A document that is no usable image manifest or configuration."""


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """One image as its documents describe it; ``layers`` lowest first."""

    digest: str
    config_digest: str
    config: ImageConfig
    layers: tuple[LayerBlob, ...]
    size_bytes: int

    def blob_digests(self) -> Iterator[str]:
        """Every blob that the image consists of."""
        yield self.digest
        yield self.config_digest
        for layer in self.layers:
            yield layer.digest


def read_manifest(layout: Layout, digest: str) -> StoredManifest:
    """The image of the manifest ``digest``. Raises :class:`ManifestError` and the layout's CorruptBlobError."""
    manifest = layout.read_json(digest)
    try:
        config_digest = manifest["config"]["digest"]
        config = layout.read_json(config_digest)
        descriptors = manifest["layers"]
        diff_ids = config["rootfs"]["diff_ids"]
        size_bytes = manifest["config"]["size"] + sum(descriptor["size"] for descriptor in descriptors)
        types = [descriptor["mediaType"] for descriptor in descriptors]
        digests = [descriptor["digest"] for descriptor in descriptors]
    except (KeyError, TypeError) as error:
        raise ManifestError(f"{digest} is not an image manifest: {error!r}") from error
    foreign = [media_type for media_type in types if not media_type.startswith(_LAYER_TYPES)]
    if foreign:
        raise ManifestError(f"{digest} has a layer of type {foreign[0]}, which is no file system layer")
    if not digests or len(digests) != len(diff_ids):
        raise ManifestError(f"{digest} lists {len(digests)} layers and its configuration {len(diff_ids)}")
    layers = tuple(
        LayerBlob(digest=blob, diff_id=diff_id, path=layout.blob(blob))
        for blob, diff_id in zip(digests, diff_ids, strict=True)
    )
    return StoredManifest(digest, config_digest, _process_config(config.get("config") or {}), layers, size_bytes)


def _process_config(config: dict[str, Any]) -> ImageConfig:
    return ImageConfig(
        entrypoint=tuple(config.get("Entrypoint") or ()),
        cmd=tuple(config.get("Cmd") or ()),
        env=tuple(config.get("Env") or ()),
        working_dir=config.get("WorkingDir") or "",
        user=config.get("User") or "",
        exposed_ports=tuple(config.get("ExposedPorts") or ()),
        labels=tuple((config.get("Labels") or {}).items()),
        stop_signal=config.get("StopSignal") or "",
    )
