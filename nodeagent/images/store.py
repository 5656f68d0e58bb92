"""The node's image store: one pull per image however many pods ask, and what is present is found without the network.

Pulling takes the store's lock shared, collecting garbage takes it alone, so that nothing is removed from under a pull;
both the agent and ``flotilla image`` work on the directory directly.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nodeagent.images.archive import ArchiveError, list_archive
from nodeagent.images.auth import RegistryAuth, matching_auths, registry_auths
from nodeagent.images.image import Image, ImageConfig, ImagePullError
from nodeagent.images.layers import LayerLimits, LayerStore, UnpackError
from nodeagent.images.layout import CorruptBlobError, IndexEntry, Layout
from nodeagent.images.locks import LockedError, file_lock
from nodeagent.images.manifest import ManifestError, StoredManifest, read_manifest
from nodeagent.images.reference import InvalidReferenceError, Reference, parse_reference
from nodeagent.images.transport import Skopeo, TransportError

__all__ = [
    "Image",
    "ImageConfig",
    "ImagePullError",
    "ImageStore",
    "PruneReport",
    "PullPolicy",
    "RegistryAuth",
    "registry_auths",
]

logger = logging.getLogger(__name__)

PullPolicy = Literal["Always", "IfNotPresent", "Never"]
_PARALLEL_PULLS = 4
_CONTENT_ERRORS = (UnpackError, CorruptBlobError, ManifestError, OSError)


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What a prune took away. ``busy`` tells that a pull was running and files were left for the next time."""

    references: tuple[str, ...]
    freed_bytes: int
    busy: bool


class ImageStore:
    """Images under ``root``. ``ensure`` is for the agent's loop; all other methods block."""

    def __init__(
        self,
        root: Path,
        *,
        insecure_registries: Sequence[str] = (),
        limits: LayerLimits | None = None,
        pull_timeout_s: float = 3600,
    ) -> None:
        self._root = root
        self._layout = Layout(root)
        self._layers = LayerStore(root, limits=limits or LayerLimits())
        self._skopeo = Skopeo(self._layout.blobs, insecure_registries=insecure_registries, timeout_s=pull_timeout_s)
        self._known: dict[str, StoredManifest] = {}
        self._flights: dict[tuple[str, tuple[RegistryAuth, ...]], asyncio.Task[Image]] = {}
        self._threads = ThreadPoolExecutor(_PARALLEL_PULLS, thread_name_prefix="image-pull")
        root.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._layout.create()
        self._layers.create()

    async def ensure(self, reference: str, *, policy: PullPolicy, auths: Sequence[RegistryAuth] = ()) -> Image:
        """The image, pulled first if ``policy`` and what is present ask for it. Raises :class:`ImagePullError`.

        Concurrent calls share one pull, which goes on for the others when one caller is cancelled.
        """
        try:
            parsed = parse_reference(reference)
        except InvalidReferenceError as error:
            raise ImagePullError("InvalidImageName", f"Failed to apply default image tag {error}") from error
        if policy != "Always" and (present := self.find(reference)):
            return present
        if policy == "Never":
            message = f'Container image "{reference}" is not present with pull policy of Never'
            raise ImagePullError("ErrImageNeverPull", message)
        key = (str(parsed), tuple(auths))
        flight = self._flights.get(key)
        if flight is None:
            loop = asyncio.get_running_loop()
            flight = loop.create_task(self._fly(parsed, key[1]), name=f"pull {parsed}")
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._land(key, done))
        return await asyncio.shield(flight)

    def find(self, reference: str) -> Image | None:
        """The image of that name if it is present. Raises :class:`InvalidReferenceError`."""
        parsed = parse_reference(reference)
        for entry in self._layout.index():
            if entry.reference == str(parsed) or (parsed.digest and _is_digest_of(entry, parsed)):
                return self._image(entry)
        return None

    def load(self, archive: Path, *, reference: str = "") -> list[Image]:
        """Take in every image of an OCI or Docker archive, under ``reference`` or the names that it carries.

        Raises :class:`ImagePullError` with reason ``ErrImageLoad``.
        """
        try:
            with self._working() as directory:
                found = list_archive(archive)
                if reference and len(found) > 1:
                    raise ArchiveError(f"{archive} holds {len(found)} images; one name does not fit them all")
                entries = []
                for position, image in enumerate(found):
                    names = [parse_reference(name) for name in ([reference] if reference else image.names)]
                    if not names:
                        raise ArchiveError(f"{archive}: the image carries no name; give it one")
                    target = directory / str(position)
                    self._skopeo.unpack_archive(archive, target, transport=image.transport, selector=image.selector)
                    entries.append(self._take_in(target, names))
        except (ArchiveError, InvalidReferenceError, TransportError, *_CONTENT_ERRORS) as error:
            raise ImagePullError("ErrImageLoad", str(error)) from error
        return [self._image(entry) for entry in entries]

    def list(self) -> list[Image]:
        """All images, also those that have lost their name."""
        return [self._image(entry) for entry in {entry.digest: entry for entry in self._layout.index()}.values()]

    def remove(self, reference: str) -> bool:
        """Drop a name and, where it was an image's last and no container uses it, the image. False: no such name."""
        wanted = str(parse_reference(reference))
        names = [entry.reference for entry in self._layout.index()]
        if wanted not in names:
            return False
        self._layout.edit(lambda entries: [entry for entry in entries if entry.reference != wanted])
        self._collect()
        return True

    def prune(self, *, keep: Collection[str] = (), free_bytes: int | None = None) -> PruneReport:
        """Remove images, longest stored first, until ``free_bytes`` are free (None: all that may go).

        ``keep`` holds references as written in pods, or image ids, that stay. Layers under a mounted root always stay.
        """
        kept = {_canonical(name) for name in keep}
        doomed: list[IndexEntry] = []
        freed_bytes = 0
        for entry in sorted(self._layout.index(), key=lambda entry: (bool(entry.reference), entry.stored_unix_s)):
            if free_bytes is not None and freed_bytes >= free_bytes:
                break
            image = self._image(entry)
            if not kept & {entry.reference, entry.digest, image.id}:
                doomed.append(entry)
                freed_bytes += image.size_bytes
        self._layout.edit(lambda entries: [entry for entry in entries if entry not in doomed])
        busy = not self._collect()
        references = tuple(entry.reference or entry.digest for entry in doomed)
        return PruneReport(references=references, freed_bytes=freed_bytes, busy=busy)

    async def close(self) -> None:
        """End running pulls and wait for them."""
        self._skopeo.stop()
        await asyncio.gather(*self._flights.values(), return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _fly(self, reference: Reference, auths: tuple[RegistryAuth, ...]) -> Image:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._pull, reference, auths)

    def _land(self, key: tuple[str, tuple[RegistryAuth, ...]], flight: asyncio.Task[Image]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()

    def _pull(self, reference: Reference, auths: Sequence[RegistryAuth]) -> Image:
        started_s = time.monotonic()
        try:
            with self._working() as directory:
                target = self._fetch(reference, auths, directory)
                entry = self._take_in(target, [reference])
        except TransportError as error:
            reason = "SignatureValidationFailed" if error.untrusted else "ErrImagePull"
            raise ImagePullError(reason, f'failed to pull image "{reference}": {error}') from error
        except _CONTENT_ERRORS as error:
            raise ImagePullError("ErrImagePull", f'failed to unpack image "{reference}": {error}') from error
        logger.info("image_pulled", extra={"image": str(reference), "duration_s": time.monotonic() - started_s})
        return self._image(entry)

    def _fetch(self, reference: Reference, auths: Sequence[RegistryAuth], directory: Path) -> Path:
        attempts: list[RegistryAuth | None] = [*matching_auths(auths, reference), None]
        for position, auth in enumerate(attempts):
            target = directory / f"pull-{position}"
            try:
                self._skopeo.pull(reference, target, auth=auth)
            except TransportError as error:
                if position == len(attempts) - 1 or not error.denied:
                    raise
            else:
                return target
        raise AssertionError("the last attempt returns or raises")

    def _take_in(self, layout: Path, names: Sequence[Reference]) -> IndexEntry:
        """Unpack the one image of a fresh layout and enter it into the index under ``names``."""
        descriptor = Layout(layout).index()[0]
        manifest = self._verified(descriptor.digest)
        try:
            self._layers.ensure(manifest.layers)
        except UnpackError:
            self._distrust(manifest)
            raise
        entries = [
            IndexEntry(descriptor.digest, descriptor.size_bytes, descriptor.media_type, str(name), time.time())
            for name in names
        ]
        self._layout.edit(lambda before: _with_names(before, entries))
        return entries[0]

    def _distrust(self, manifest: StoredManifest) -> None:
        """Drop the blobs of layers that were never unpacked, so that the next pull fetches them anew."""
        for layer, path in zip(manifest.layers, self._paths(manifest), strict=True):
            if not path.exists():
                layer.path.unlink(missing_ok=True)

    def _paths(self, manifest: StoredManifest) -> tuple[Path, ...]:
        return self._layers.paths([layer.diff_id for layer in manifest.layers])

    def _verified(self, digest: str) -> StoredManifest:
        manifest = self._known.get(digest)
        if manifest is None:
            manifest = self._known[digest] = read_manifest(self._layout, digest)
        return manifest

    def _image(self, entry: IndexEntry) -> Image:
        manifest = self._verified(entry.digest)
        references = (other.reference for other in self._layout.index() if other.digest == entry.digest)
        return Image(
            id=manifest.config_digest,
            digest=entry.digest,
            references=tuple(reference for reference in references if reference),
            config=manifest.config,
            layers=self._paths(manifest),
            size_bytes=manifest.size_bytes,
        )

    @contextmanager
    def _working(self) -> Iterator[Path]:
        """A scratch directory, during which no garbage is collected."""
        with file_lock(self._root / "lock", shared=True):
            directory = Path(tempfile.mkdtemp(prefix="image-", dir=self._root / "tmp"))
            try:
                yield directory
            finally:
                shutil.rmtree(directory, ignore_errors=True)

    def _collect(self) -> bool:
        """Remove blobs and layers that no image needs. False: a pull is running, nothing was removed."""
        try:
            with file_lock(self._root / "lock", wait=False):
                kept = [self._verified(entry.digest) for entry in self._layout.index()]
                blobs = {digest for manifest in kept for digest in manifest.blob_digests()}
                for blob in (self._layout.blobs / "sha256").iterdir():
                    if f"sha256:{blob.name}" not in blobs:
                        blob.unlink(missing_ok=True)
                self._layers.collect({path.name for manifest in kept for path in self._paths(manifest)})
                for leftover in (self._root / "tmp").iterdir():
                    shutil.rmtree(leftover, ignore_errors=True)
        except LockedError:
            return False
        return True


def _is_digest_of(entry: IndexEntry, reference: Reference) -> bool:
    """Whether the entry is the very manifest that a ``name@digest`` reference asks for, under any of its tags."""
    return entry.digest == reference.digest and entry.reference.rpartition(":")[0] == reference.repository


def _canonical(name: str) -> str:
    """The form that a name has in the index; an image id stays as it is."""
    try:
        return name if name.startswith("sha256:") else str(parse_reference(name))
    except InvalidReferenceError:
        return name


def _with_names(before: Sequence[IndexEntry], added: Sequence[IndexEntry]) -> Iterator[IndexEntry]:
    """The index after ``added`` has taken its names over; an image left without a name stays until a prune."""
    names = {entry.reference for entry in added}
    kept = [entry for entry in before if entry.reference not in names]
    present = {entry.digest for entry in (*kept, *added)}
    for entry in before:
        if entry.digest not in present:
            present.add(entry.digest)
            yield replace(entry, reference="")
    yield from (entry for entry in kept if entry.reference or entry.digest not in {new.digest for new in added})
    yield from added
