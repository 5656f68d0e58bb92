"""The pods' records on disk: one directory a pod, one file in it, replaced whole.

A record names containers before they exist and survives ``kill -9`` of the agent at any moment. It is not flushed to
the medium: after a power failure the containers it names are gone with the machine, and the server sends the pods.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import msgspec

from nodeagent.pod_state import PodRecord

logger = logging.getLogger(__name__)


class PodStore:
    """Records below ``directory``, by pod uid."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(PodRecord)

    def save(self, uid: str, record: PodRecord) -> None:
        """Replace the record. Raises OSError."""
        directory = self._directory / uid
        staged = directory / "record.new"
        try:
            staged.write_bytes(self._encoder.encode(record))
        except FileNotFoundError:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            staged.write_bytes(self._encoder.encode(record))
        staged.rename(directory / "record.json")

    def load(self) -> dict[str, PodRecord]:
        """All records that can be read; one that cannot is logged and left out."""
        found: dict[str, PodRecord] = {}
        if not self._directory.is_dir():
            return found
        for directory in sorted(self._directory.iterdir()):
            record = self.load_one(directory.name)
            if record is not None:
                found[directory.name] = record
        return found

    def load_one(self, uid: str) -> PodRecord | None:
        """One pod's record, None if it cannot be read."""
        try:
            return self._decoder.decode((self._directory / uid / "record.json").read_bytes())
        except (OSError, msgspec.MsgspecError) as error:
            logger.warning("pod_record_unreadable", extra={"pod_uid": uid, "error": str(error)})
            return None

    def known(self) -> set[str]:
        """Uids of all pods that have a directory, readable or not."""
        return {entry.name for entry in self._directory.iterdir()} if self._directory.is_dir() else set()

    def remove(self, uid: str) -> None:
        """Forget a pod; repeatable."""
        shutil.rmtree(self._directory / uid, ignore_errors=True)
