"""Room on the disk that holds images: when it fills, images that nothing uses go, until it is less full again.

Thresholds, their defaults and the reasons of the events are the kubelet's.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from nodeagent.images.garbage import Reclaimed
from nodeagent.images.store import ImageStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DiskThresholds:
    """From ``high_percent`` of the disk in use, images go until ``low_percent``; 100 means never.

    ``minimum_age_s`` spares what was stored more recently; what has not been used for ``maximum_age_s`` goes however
    much room there is (0: it stays).
    """

    high_percent: float = 85
    low_percent: float = 80
    minimum_age_s: float = 120
    maximum_age_s: float = 0


@dataclass(frozen=True, slots=True)
class Complaint:
    """A Warning event about the node."""

    reason: str
    message: str


def keep_room(images: ImageStore, directory: Path, thresholds: DiskThresholds) -> Complaint | None:
    """Remove what the thresholds say should go; tells where that was not enough. Blocks."""
    if thresholds.maximum_age_s:
        _log(images.reclaim(minimum_age_s=thresholds.minimum_age_s, unused_s=thresholds.maximum_age_s))
    status = os.statvfs(directory)
    total, free = status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize
    if not total:
        return Complaint("InvalidDiskCapacity", "invalid capacity 0 on image filesystem")
    if thresholds.high_percent >= 100 or 100 - free * 100 / total < thresholds.high_percent:
        return None
    wanted_bytes = int(total * (100 - thresholds.low_percent) / 100) - free
    freed_bytes = _log(images.reclaim(wanted_bytes, minimum_age_s=thresholds.minimum_age_s))
    if freed_bytes >= wanted_bytes:
        return None
    return Complaint(
        "FreeDiskSpaceFailed",
        f"Failed to garbage collect required amount of images. Attempted to free {wanted_bytes} bytes, "
        f"but only found {freed_bytes} bytes eligible to free.",
    )


def _log(reclaimed: Reclaimed) -> int:
    if reclaimed.references or reclaimed.freed_bytes:
        figures = {"images": ", ".join(reclaimed.references), "freed_bytes": reclaimed.freed_bytes}
        logger.info("images_reclaimed", extra=figures)
    return reclaimed.freed_bytes
