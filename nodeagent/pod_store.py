"""The pods' records: the newest in memory, soon after on disk.

A record is written before a container exists and after every change, in the path of everything a user waits for, so it
goes to a tmpfs, where a write takes 50 µs: that survives the agent being killed at any moment, and when the machine
goes its containers go too. What has to outlive the machine (restart counts, ends, what has been initialized) is copied
to the disk, where replacing a file takes ten times as long, once a second and for changed pods only.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
from pathlib import Path

import msgspec

from nodeagent.pod_state import PodRecord

logger = logging.getLogger(__name__)

COPY_PERIOD_S = 1.0


class PodStore:
    """Records by pod uid: ``directory/<uid>/record.json`` on disk, ``newest_directory/<uid>.json`` on the tmpfs."""

    def __init__(self, directory: Path, newest_directory: Path) -> None:
        self._directory, self._newest = directory, newest_directory
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(PodRecord)
        self._changed: dict[str, bytes] = {}
        self._wake = asyncio.Event()
        self._removing = threading.Lock()
        newest_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for unfinished in newest_directory.glob("*.new"):
            unfinished.unlink()

    def save(self, uid: str, record: PodRecord) -> None:
        """Replace the record. Raises OSError."""
        content = self._encoder.encode(record)
        _replace(self._newest / f"{uid}.json", content)
        self._changed[uid] = content
        self._wake.set()

    async def run(self) -> None:
        """Copy changed records to the disk until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            changed, self._changed = self._changed, {}
            await asyncio.to_thread(self._copy, changed)
            await asyncio.sleep(COPY_PERIOD_S)

    def _copy(self, changed: dict[str, bytes]) -> None:
        for uid, content in changed.items():
            # A pod that has been removed meanwhile must not come back.
            with self._removing:
                if (self._newest / f"{uid}.json").exists():
                    self._copy_one(uid, content)

    def _copy_one(self, uid: str, content: bytes) -> None:
        try:
            (self._directory / uid).mkdir(mode=0o700, parents=True, exist_ok=True)
            _replace(self._directory / uid / "record.json", content)
        except OSError as error:
            logger.error("pod_record_not_copied", extra={"pod_uid": uid, "error": str(error)})

    def load(self) -> dict[str, PodRecord]:
        """All records that can be read; one that cannot is logged and left out."""
        found: dict[str, PodRecord] = {}
        for uid in sorted(self.known()):
            record = self.load_one(uid)
            if record is not None:
                found[uid] = record
        return found

    def load_one(self, uid: str) -> PodRecord | None:
        """One pod's newest record, None if there is none that can be read."""
        for path in (self._newest / f"{uid}.json", self._directory / uid / "record.json"):
            try:
                return self._decoder.decode(path.read_bytes())
            except FileNotFoundError:
                continue
            except (OSError, msgspec.MsgspecError) as error:
                logger.warning("pod_record_unreadable", extra={"path": str(path), "error": str(error)})
        return None

    def known(self) -> set[str]:
        """Uids of all pods that have left a record or a directory."""
        on_disk = {entry.name for entry in self._directory.iterdir()} if self._directory.is_dir() else set()
        return on_disk | {entry.name.removesuffix(".json") for entry in self._newest.glob("*.json")}

    def remove(self, uid: str) -> None:
        """Forget a pod; repeatable."""
        self._changed.pop(uid, None)
        with self._removing:
            (self._newest / f"{uid}.json").unlink(missing_ok=True)
            shutil.rmtree(self._directory / uid, ignore_errors=True)


def _replace(path: Path, content: bytes) -> None:
    staged = path.with_name(f"{path.name}.new")
    staged.write_bytes(content)
    staged.rename(path)
