"""What the rest of the node knows of an image, and how failing to get one is told.

Reasons are the kubelet's, because users and their tools know them from container statuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class ImagePullError(Exception):
    """An image can't be had. ``reason`` is what a waiting container shows, such as ``ErrImagePull``."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    @property
    def transient(self) -> bool:
        """Whether trying again later, with the pod unchanged, may succeed."""
        return self.reason not in {"InvalidImageName", "ErrImageNeverPull"}


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image says about the process to run (OCI image configuration)."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    stop_signal: str = ""


class ImageInUseError(Exception):
    """An image is to be removed that containers or pods of this node need; the message names them."""


@dataclass(frozen=True, slots=True)
class PullTime:
    """How long a pull took, and how long it waited for others before, in seconds."""

    pulling_s: float
    waiting_s: float


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is complete on this node.

    ``id`` is the digest of its configuration, ``digest`` that of its manifest; ``layers`` are unpacked directories,
    lowest first; ``size_bytes`` counts manifest layers and configuration as they are transported. ``repo_digests`` are
    the names under which registries have just this content. ``pulled`` is set where getting it took a pull.
    """

    id: str
    digest: str
    references: tuple[str, ...]
    config: ImageConfig
    layers: tuple[Path, ...]
    size_bytes: int
    repo_digests: tuple[str, ...] = ()
    pinned: bool = False
    stored_unix_s: float = 0.0
    pulled: PullTime | None = None

    def name_by_digest(self, reference: str) -> str:
        """The ``imageID`` of a container that asked for ``reference``: the content by its registry's digest.

        The image's id where the image came from no registry.
        """
        repository = reference.partition("@")[0]
        same = (
            name for name in self.repo_digests if name.partition("@")[0] in (repository, repository.rpartition(":")[0])
        )
        return next(same, self.repo_digests[0] if self.repo_digests else self.id)
