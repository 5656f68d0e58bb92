"""The node's image store: one pull per image however many pods ask, and what is present is found without the network.

The agent and ``flotilla image`` work on the directory at once. Entering an image into the index takes the store's lock
shared, collecting garbage takes it alone, so that nothing is removed from under an image that is being unpacked; the
long part of a pull, its transport, takes no lock, so that room can be made while one runs.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nodeagent.images.access import Access
from nodeagent.images.archive import ArchivedImage, ArchiveError, list_archive
from nodeagent.images.auth import RegistryAuth, matching_auths, registry_auths
from nodeagent.images.garbage import Conditions, Reclaimed, StoredImage, Sweeper, eviction_order
from nodeagent.images.image import Image, ImageConfig, ImageInUseError, ImagePullError, PullTime
from nodeagent.images.layers import LayerLimits, LayerStore, UnpackError
from nodeagent.images.layout import CorruptBlobError, IndexEntry, Layout, MissingBlobError, read_index
from nodeagent.images.locks import LockedError, file_lock
from nodeagent.images.manifest import ManifestError, StoredManifest, read_manifest
from nodeagent.images.mending import never_pulled, twice_if_damaged
from nodeagent.images.names import is_digest_of, parsed_or_none, repo_digests, with_names
from nodeagent.images.reference import InvalidReferenceError, Reference, parse_reference
from nodeagent.images.scratch import Scratch
from nodeagent.images.transport import Skopeo, TransportError
from nodeagent.images.uses import Uses

__all__ = [
    "Image",
    "ImageConfig",
    "ImageInUseError",
    "ImagePullError",
    "ImageStore",
    "PullPolicy",
    "Reclaimed",
    "RegistryAuth",
    "registry_auths",
]

logger = logging.getLogger(__name__)

PullPolicy = Literal["Always", "IfNotPresent", "Never"]
PARALLEL_PULLS = 4
_PATIENCE_S = 60.0
_ID_LENGTH = 6
_CONTENT_ERRORS = (UnpackError, CorruptBlobError, ManifestError, OSError)


@dataclass(frozen=True, slots=True)
class _Flight:
    """A pull under way and the credentials that it was begun with."""

    auths: tuple[RegistryAuth, ...]
    task: asyncio.Task[Image]


class ImageStore:
    """Images under ``root``. ``ensure`` is for the agent's loop; all other methods block.

    ``layout``, ``scratch`` and ``skopeo`` are its parts, for what builds and saves images.
    """

    def __init__(
        self,
        root: Path,
        *,
        insecure_registries: Sequence[str] = (),
        limits: LayerLimits | None = None,
        pull_timeout_s: float = 3600,
        parallel_pulls: int = PARALLEL_PULLS,
    ) -> None:
        self._root = root
        self.layout = Layout(root)
        self.scratch = Scratch(root)
        self._uses = Uses(root)
        self._access = Access(root)
        self._layers = LayerStore(root, self.scratch, limits=limits or LayerLimits())
        self.skopeo = Skopeo(self.layout.blobs, insecure_registries=insecure_registries, timeout_s=pull_timeout_s)
        self._sweeper = Sweeper(self.layout, self._layers, self.scratch, self._uses, manifests=self._manifests)
        self._known: dict[str, StoredManifest] = {}
        self._flights: dict[str, _Flight] = {}
        self._threads = ThreadPoolExecutor(parallel_pulls, thread_name_prefix="image-pull")
        root.mkdir(mode=0o711, parents=True, exist_ok=True)
        for part in (self.layout, self._layers, self.scratch, self._uses, self._access):
            part.create()

    # ---- having images ----

    async def ensure(self, reference: str, *, policy: PullPolicy, auths: Sequence[RegistryAuth] = ()) -> Image:
        """The image for a pod, pulled first if ``policy`` and what is present ask for it. Raises ImagePullError.

        Concurrent calls share one pull, which goes on for the others when one caller is cancelled. The image counts as
        needed until the next ``hold``.
        """
        parsed = _parsed(reference)
        self._uses.need(str(parsed))
        while True:
            if policy != "Always" and (present := self.find(reference)) and self._allows(parsed, auths):
                return present
            flight = self._flights.get(str(parsed))
            if flight is None:
                flight = self._take_off(parsed, policy, tuple(auths))
            if flight.auths == tuple(auths):
                return await asyncio.shield(flight.task)
            # What it fetches with other credentials is of use to this one, whether these are accepted is not.
            await asyncio.wait((flight.task,))

    def pull(self, reference: str, *, policy: PullPolicy = "Always", auths: Sequence[RegistryAuth] = ()) -> Image:
        """The image, pulled first if ``policy`` asks for it, for all pods of the node. Raises ImagePullError."""
        parsed = _parsed(reference)
        present = self.find(reference) if policy != "Always" else None
        image = present or self._pull(parsed, policy, auths, time.monotonic())
        self.layout.edit(
            lambda before: [replace(entry, access=()) if entry.reference == str(parsed) else entry for entry in before]
        )
        return image

    def find(self, reference: str) -> Image | None:
        """The image of that name if it is present and whole. Raises :class:`InvalidReferenceError`."""
        entry = self._named(parse_reference(reference))
        image = self._image(entry) if entry else None
        if image is None or not all(path.exists() for path in image.layers):
            return None
        self._uses.touch(image.digest)
        return image

    def get(self, text: str) -> Image | None:
        """The image of that name or, if no name is like it, of that id or the beginning of one."""
        wanted = parsed_or_none(text)
        entry = self._named(wanted) if wanted else None
        entries = [entry] if entry else self._by_id(text)
        return self._image(entries[0]) if entries else None

    def blobs_of(self, image: Image) -> list[str]:
        """The digests of all that the image consists of."""
        return list(self._verified(image.digest).blob_digests())

    def load(self, archive: Path, *, reference: str = "", pinned: bool = True) -> list[Image]:
        """Take in every image of an archive or an OCI layout, under ``reference`` or the names that it carries.

        They come from no registry that could give them again, so they are ``pinned`` unless told otherwise. Raises
        :class:`ImagePullError` with reason ``ErrImageLoad``.
        """
        try:
            with self.scratch.open("load") as directory:
                found = list_archive(archive)
                if reference and len(found) > 1:
                    raise ArchiveError(f"{archive} holds {len(found)} images; one name does not fit them all")
                entries = []
                for position, image in enumerate(found):
                    names = [parse_reference(name) for name in ([reference] if reference else image.names)]
                    if not names:
                        raise ArchiveError(f"{archive}: the image carries no name; give it one")
                    entries.append(self._loaded(archive, image, directory / str(position), names, pinned=pinned))
        except (ArchiveError, InvalidReferenceError, TransportError, *_CONTENT_ERRORS) as error:
            raise ImagePullError("ErrImageLoad", str(error)) from error
        return [present for entry in entries if (present := self._image(entry))]

    def images(self) -> list[Image]:
        """All images, also those that have lost their name."""
        entries = {entry.digest: entry for entry in self.layout.index()}.values()
        return [present for entry in entries if (present := self._image(entry))]

    # ---- letting them go ----

    def hold(self, references: Collection[str]) -> None:
        """These names (as written in pods) are what the node's pods need from now on; what they mean is in use now."""
        self._uses.need_only({str(parsed) for name in references if (parsed := parsed_or_none(name))})
        for digest in self.in_use():
            self._uses.touch(digest)

    def in_use(self) -> set[str]:
        """Manifests' digests of the images that a root file system stands on or a pod needs."""
        stacks = set(self._layers.users().values())
        needed = (self._named(parse_reference(name)) for name in self._uses.needed())
        return {image.digest for image in self._stored() if image.stack in stacks} | {
            entry.digest for entry in needed if entry
        }

    def remove(self, text: str, *, force: bool = False) -> Reclaimed | None:
        """Drop a name, or all names of an image given by its id, and the image with its last name. None: no such image.

        Raises :class:`ImageInUseError` unless ``force``; what a root file system stands on stays on disk until it goes.
        """
        wanted = parsed_or_none(text)
        entries = [entry for entry in self.layout.index() if wanted and entry.reference == str(wanted)]
        entries = entries or self._by_id(text)
        if not entries:
            return None
        left = {entry.digest for entry in self.layout.index() if entry not in entries and entry.reference}
        lost = {entry.digest for entry in entries} - left
        if not force and (users := self._users_of(lost)):
            raise ImageInUseError(f"{text} is in use by {', '.join(users)}")
        self.layout.edit(lambda before: [entry for entry in before if entry not in entries])
        return replace(self._sweep(), references=tuple(entry.reference or entry.digest for entry in entries))

    def reclaim(
        self,
        wanted_bytes: int | None = None,
        *,
        minimum_age_s: float = 0.0,
        unused_s: float = 0.0,
        pinned_too: bool = False,
    ) -> Reclaimed:
        """Remove leftovers, then images that may go, least recently used first, until ``wanted_bytes`` are free.

        None: all that may go. ``minimum_age_s`` spares what was stored more recently, ``unused_s`` what was used more
        recently. Images that are in use, needed by a pod (``hold``) or pinned stay, the last unless ``pinned_too``.
        """
        conditions = Conditions(time.time(), minimum_age_s, unused_s, pinned_too)
        try:
            with self._alone():
                freed_bytes = self._sweeper.sweep()
                order = eviction_order(self._stored(), in_use=self.in_use(), conditions=conditions, uses=self._uses)
                gone: list[str] = []
                while order and (wanted_bytes is None or freed_bytes < wanted_bytes):
                    doomed = order[: len(order) if wanted_bytes is None else 1]
                    del order[: len(doomed)]
                    self._drop({image.digest for image in doomed})
                    freed_bytes += self._sweeper.sweep()
                    gone += [name for image in doomed for name in image.names or (image.digest,)]
        except LockedError:
            return Reclaimed(busy=True)
        return Reclaimed(tuple(gone), freed_bytes)

    async def close(self) -> None:
        """End running pulls and wait for them."""
        self.skopeo.stop()
        await asyncio.gather(*(flight.task for flight in self._flights.values()), return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    # ---- pulling ----

    def _take_off(self, reference: Reference, policy: PullPolicy, auths: tuple[RegistryAuth, ...]) -> _Flight:
        asked_s = time.monotonic()

        async def fly() -> Image:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._pull, reference, policy, auths, asked_s)

        flight = _Flight(auths, asyncio.get_running_loop().create_task(fly(), name=f"pull {reference}"))
        self._flights[str(reference)] = flight
        flight.task.add_done_callback(lambda done: self._land(reference, done))
        return flight

    def _land(self, reference: Reference, task: asyncio.Task[Image]) -> None:
        del self._flights[str(reference)]
        if not task.cancelled():
            task.exception()

    def _pull(self, reference: Reference, policy: PullPolicy, auths: Sequence[RegistryAuth], asked_s: float) -> Image:
        began_s, problem = time.monotonic(), ""
        try:
            allowed = self._allows(reference, auths)
            if policy != "Always" and allowed:
                try:
                    if image := self._mended(reference):
                        return image
                except (ValueError, *_CONTENT_ERRORS) as error:
                    problem = str(error)
            if policy == "Never":
                message = never_pulled(reference, allowed=allowed, problem=problem)
                raise ImagePullError("ErrImageNeverPull", message)
            with self.scratch.open("pull") as directory:
                entry = self._obtain(reference, auths, directory)
        except TransportError as error:
            reason = "SignatureValidationFailed" if error.untrusted else "ErrImagePull"
            here = f"; the one that is here is damaged: {problem}" if problem else ""
            raise ImagePullError(reason, f'failed to pull image "{reference}": {error}{here}') from error
        except _CONTENT_ERRORS as error:
            raise ImagePullError("ErrImagePull", f'failed to unpack image "{reference}": {error}') from error
        image = self._image(entry)
        assert image is not None
        self._uses.touch(image.digest)
        taken = PullTime(time.monotonic() - began_s, began_s - asked_s)
        logger.info("image_pulled", extra={"image": str(reference), "duration_s": taken.pulling_s})
        return replace(image, pulled=taken)

    def _mended(self, reference: Reference) -> Image | None:
        """The image of that name, what is missing of its layers unpacked anew; raises where that can't be done."""
        entry = self._named(reference)
        if entry is None:
            return None
        try:
            with self.entering():
                self._layers.ensure(self._verified(entry.digest).layers)
        except (ValueError, *_CONTENT_ERRORS) as error:
            logger.warning("image_not_mended", extra={"image": str(reference), "error": str(error)})
            raise
        return self._image(entry)

    def _obtain(self, reference: Reference, auths: Sequence[RegistryAuth], directory: Path) -> IndexEntry:
        """The index's entry of what the registry has under that name now; nothing is fetched that is there."""
        auth, source_digest = self._resolve(reference, auths, directory)
        access = self._access.after_pull(self._named(reference), source_digest, auth)
        known = [entry for entry in self.layout.index() if source_digest in (entry.source_digest, entry.digest)]
        if known and self._image(known[0]):
            try:
                with self.entering():
                    entry = replace(known[0], source_digest=source_digest, access=access)
                    return self._enter(entry, [reference])
            except _CONTENT_ERRORS:
                logger.warning("image_fetched_again", extra={"image": str(reference)})

        def fetch(attempt: int) -> IndexEntry:
            target = directory / str(attempt)
            self.skopeo.pull(reference.at(source_digest), target, auth=auth)
            with self.entering():
                return self._take_in(target, [reference], source_digest=source_digest, access=access)

        return twice_if_damaged(fetch)

    def _loaded(
        self, archive: Path, image: ArchivedImage, directory: Path, names: Sequence[Reference], *, pinned: bool
    ) -> IndexEntry:
        def fetch(attempt: int) -> IndexEntry:
            target = directory.with_name(f"{directory.name}-{attempt}")
            self.skopeo.unpack_archive(archive, target, transport=image.transport, selector=image.selector)
            with self.entering():
                return self._take_in(target, names, pinned=pinned)

        return twice_if_damaged(fetch)

    def _resolve(
        self, reference: Reference, auths: Sequence[RegistryAuth], directory: Path
    ) -> tuple[RegistryAuth | None, str]:
        """The credential that the registry accepts for the image (None: it needs none) and what the name stands for."""
        attempts: list[RegistryAuth | None] = [*matching_auths(auths, reference), None]
        refusal: TransportError | None = None
        for auth in attempts:
            try:
                manifest = self.skopeo.manifest(reference, auth=auth, scratch=directory)
            except TransportError as error:
                refusal = refusal or error
                if not error.denied:
                    break
            else:
                digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
                if reference.digest.startswith("sha256:") and digest != reference.digest:
                    raise TransportError(f"the registry answered with {digest}")
                return auth, reference.digest or digest
        assert refusal is not None
        raise refusal

    def _take_in(
        self,
        layout: Path,
        names: Sequence[Reference],
        *,
        source_digest: str = "",
        access: tuple[str, ...] = (),
        pinned: bool = False,
    ) -> IndexEntry:
        """Unpack the one image of a fresh layout and enter it into the index under ``names``."""
        descriptor = read_index(layout / "index.json")[0]
        fresh = IndexEntry(descriptor.digest, descriptor.size_bytes, descriptor.media_type, "", time.time())
        return self._enter(replace(fresh, source_digest=source_digest, access=access, pinned=pinned), names)

    def _enter(self, entry: IndexEntry, names: Sequence[Reference]) -> IndexEntry:
        """Give the image ``names``, its blobs complete and its layers unpacked."""
        manifest = self._verified(entry.digest)
        for digest in manifest.blob_digests():
            if not self.layout.blob(digest).exists():
                raise MissingBlobError(f"{digest} is missing")
        try:
            self._layers.ensure(manifest.layers)
        except UnpackError:
            self._distrust(manifest)
            raise
        entries = [replace(entry, reference=str(name)) for name in names]
        self.layout.edit(lambda before: with_names(before, entries))
        return entries[0]

    def _distrust(self, manifest: StoredManifest) -> None:
        """Drop the blobs of layers that were never unpacked, so that the next pull fetches them anew."""
        for layer, path in zip(manifest.layers, self._paths(manifest), strict=True):
            if not path.exists():
                layer.path.unlink(missing_ok=True)

    # ---- what is there ----

    def _named(self, reference: Reference) -> IndexEntry | None:
        for entry in self.layout.index():
            if entry.reference == str(reference) or (reference.digest and is_digest_of(entry, reference)):
                return entry
        return None

    def _by_id(self, text: str) -> list[IndexEntry]:
        """The entries of the one image whose id, or manifest, begins with ``text``."""
        prefix = text.removeprefix("sha256:")
        if len(prefix) < _ID_LENGTH or not set(prefix) <= set("0123456789abcdef"):
            return []
        found = [
            image
            for image in self._stored()
            if image.digest.startswith(f"sha256:{prefix}")
            or self._verified(image.digest).config_digest.startswith(f"sha256:{prefix}")
        ]
        return list(found[0].entries) if len(found) == 1 else []

    def _allows(self, reference: Reference, auths: Sequence[RegistryAuth]) -> bool:
        """Whether a pod with these credentials may use the image if it is here."""
        entry = self._named(reference)
        return entry is None or self._access.allows(entry, reference, auths)

    def _paths(self, manifest: StoredManifest) -> tuple[Path, ...]:
        return self._layers.paths([layer.diff_id for layer in manifest.layers])

    def _verified(self, digest: str) -> StoredManifest:
        manifest = self._known.get(digest)
        if manifest is None:
            manifest = self._known[digest] = read_manifest(self.layout, digest)
        return manifest

    def _image(self, entry: IndexEntry) -> Image | None:
        """The image of an entry; None where its documents are damaged, so that it counts as not present."""
        try:
            manifest = self._verified(entry.digest)
        except (CorruptBlobError, ManifestError, ValueError) as error:
            logger.warning("image_damaged", extra={"image": entry.reference or entry.digest, "error": str(error)})
            return None
        entries = [other for other in self.layout.index() if other.digest == entry.digest]
        return Image(
            id=manifest.config_digest,
            digest=entry.digest,
            references=tuple(other.reference for other in entries if other.reference),
            config=manifest.config,
            layers=self._paths(manifest),
            size_bytes=manifest.size_bytes,
            repo_digests=repo_digests(entries),
            pinned=any(other.pinned for other in entries),
            stored_unix_s=max(other.stored_unix_s for other in (entry, *entries)),
        )

    def _stored(self) -> list[StoredImage]:
        grouped: dict[str, list[IndexEntry]] = {}
        for entry in self.layout.index():
            grouped.setdefault(entry.digest, []).append(entry)
        return [
            StoredImage(tuple(entries), image.layers)
            for entries in grouped.values()
            if (image := self._image(entries[0]))
        ]

    def _manifests(self) -> Iterator[StoredManifest]:
        for image in self._stored():
            yield self._verified(image.digest)

    # ---- uses ----

    def _users_of(self, digests: Collection[str]) -> list[str]:
        """Who uses the images, in words."""
        stacks = {image.stack for image in self._stored() if image.digest in digests}
        users = [f"container {Path(root).name[:12]}" for root, stack in self._layers.users().items() if stack in stacks]
        for name in self._uses.needed():
            entry = self._named(parse_reference(name))
            if entry and entry.digest in digests:
                users.append(f"a pod that needs {name}")
        return users

    def _drop(self, digests: Collection[str]) -> None:
        self.layout.edit(lambda before: [entry for entry in before if entry.digest not in digests])

    def _sweep(self) -> Reclaimed:
        try:
            with self._alone():
                return Reclaimed((), self._sweeper.sweep())
        except LockedError:
            return Reclaimed(busy=True)

    @contextmanager
    def entering(self) -> Iterator[None]:
        """No garbage is collected meanwhile."""
        with file_lock(self._root / "lock", shared=True):
            yield

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No image is entered meanwhile. Raises :class:`LockedError`."""
        with file_lock(self._root / "lock", patience_s=_PATIENCE_S):
            yield


def _parsed(reference: str) -> Reference:
    try:
        return parse_reference(reference)
    except InvalidReferenceError as error:
        raise ImagePullError("InvalidImageName", f"Failed to apply default image tag {error}") from error
