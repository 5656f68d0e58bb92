"""Following the manifests of a directory.

Changes arrive by inotify; a slow re-read is the safety net, also for a directory that is replaced. A file that can't be
used is reported once for each state it is in, and pods that an earlier state of it gave keep running: a slip of the
editor stops nothing. A file that is gone takes its pods along.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

from flotilla.api.documents import ManifestError
from flotilla.api.objects import KubeObject, annotations_of, name_of, namespace_of, uid_of
from nodeagent.runtime.inotify import (
    IN_CLOSE_WRITE,
    IN_DELETE,
    IN_DELETE_SELF,
    IN_MOVE_SELF,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    Inotify,
)
from nodeagent.static_pods.manifests import MANIFEST_FILE, static_pods

logger = logging.getLogger(__name__)

REREAD_PERIOD_S = 20.0
LARGEST_MANIFEST_BYTES = 10 << 20
_CHANGES = IN_CLOSE_WRITE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF


class ManifestDirectory:
    """The static pods of one directory. ``changed`` is called whenever they are others than before.

    ``warn`` is told, once, of each fault.
    """

    def __init__(self, path: Path, *, node: str, changed: Callable[[], None], warn: Callable[[str], None]) -> None:
        self._path, self._node = path, node
        self._changed, self._warn = changed, warn
        self._pods: dict[str, KubeObject] = {}
        self._texts: dict[str, bytes] = {}
        self._of_file: dict[str, list[KubeObject]] = {}
        self._faults: dict[str, str] = {}
        self._doubles: set[str] = set()
        self.read = False

    def pods(self) -> Mapping[str, KubeObject]:
        """The pods to run, by uid."""
        return self._pods

    def remember(self, pods: Collection[KubeObject]) -> None:
        """Pods that an earlier agent ran from this directory: they stay while their files are there but faulty."""
        for pod in pods:
            self._of_file.setdefault(annotations_of(pod).get(MANIFEST_FILE, ""), []).append(pod)
            self._pods[uid_of(pod)] = pod

    async def run(self) -> None:
        """Follow the directory until cancelled."""
        stirred = asyncio.Event()
        while True:
            inotify = self._watch(stirred)
            try:
                await self._follow(stirred, watching=inotify is not None)
            finally:
                if inotify is not None:
                    asyncio.get_running_loop().remove_reader(inotify.fileno())
                    inotify.close()

    async def _follow(self, stirred: asyncio.Event, *, watching: bool) -> None:
        """Read at every change, until the time has come to look whether the watch still is on this directory."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + REREAD_PERIOD_S
        while True:
            stirred.clear()
            await self._reread()
            try:
                async with asyncio.timeout_at(until_s):
                    await stirred.wait()
            except TimeoutError:
                return
            if watching and not self._path.is_dir():
                return

    def _watch(self, stirred: asyncio.Event) -> Inotify | None:
        inotify = Inotify()
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            inotify.add(self._path, _CHANGES)
        except OSError as error:
            inotify.close()
            self._fault("", f"{self._path}: {error.strerror}")
            return None

        def readable() -> None:
            if inotify.read():
                stirred.set()

        asyncio.get_running_loop().add_reader(inotify.fileno(), readable)
        return inotify

    async def _reread(self) -> None:
        try:
            texts = await asyncio.to_thread(_texts, self._path)
        except OSError as error:
            self._fault("", f"{self._path}: {error.strerror}; its pods go on as they are")
            return
        self._faults.pop("", None)
        for name in self._of_file.keys() - texts.keys():
            del self._of_file[name]
        for name in [name for name in self._faults if name not in texts]:
            del self._faults[name]
        for name, text in texts.items():
            if self._texts.get(name) != text:
                self._take(name, text)
        self._texts = texts
        self._settle()

    def _take(self, name: str, text: bytes) -> None:
        try:
            self._of_file[name] = static_pods(name, text, node=self._node, now=datetime.now(UTC))
        except ManifestError as error:
            self._fault(name, f"{self._path}/{error}")
        else:
            self._faults.pop(name, None)

    def _settle(self) -> None:
        """Of pods of the same name only the first is run, in the order of the files' names."""
        pods: dict[str, KubeObject] = {}
        holders: dict[tuple[str, str], str] = {}
        doubles: set[str] = set()
        for file in sorted(self._of_file):
            for pod in self._of_file[file]:
                place = (namespace_of(pod), name_of(pod))
                if place in holders:
                    message = f"metadata.name: {holders[place]} has this name first, and is run"
                    doubles.add(f"{self._path}/{file}: Pod/{place[1]}: {message}")
                    continue
                holders[place] = file
                # What was seen first stays as it is: the time when it was seen is no change.
                pods[uid_of(pod)] = self._pods.get(uid_of(pod), pod)
        for message in sorted(doubles - self._doubles):
            self._report(message)
        first, self.read, self._doubles = not self.read, True, doubles
        if first or pods.keys() != self._pods.keys():
            self._pods = pods
            self._changed()

    def _fault(self, what: str, message: str) -> None:
        if self._faults.get(what) != message:
            self._faults[what] = message
            self._report(message)

    def _report(self, message: str) -> None:
        logger.error("static_pod_refused", extra={"error": message})
        self._warn(message)


def _texts(path: Path) -> dict[str, bytes]:
    """Contents by file name, hidden files and editors' backups left out; none without the directory. Raises OSError."""
    texts: dict[str, bytes] = {}
    for entry in sorted(path.iterdir()) if path.exists() else ():
        if entry.name.startswith(".") or entry.name.endswith("~"):
            continue
        try:
            if entry.is_file():
                with entry.open("rb") as file:
                    texts[entry.name] = file.read(LARGEST_MANIFEST_BYTES)
        except FileNotFoundError:
            continue
    return texts
