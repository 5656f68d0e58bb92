"""Secrets are stored encrypted.

A wrapper around a store seals values under chosen prefixes with AES-256-GCM. The sealed form names its key, so that
keys can be rotated: the first key of the ring seals, all of them open. The object's own key path is authenticated with
it: a sealed value copied to another name does not open there. Values found in the clear are read as they are; they
were written before their prefix was encrypted, and :meth:`EncryptingStore.reseal` changes that.

A value that does not open reads as empty in lists and watches and is logged, so that one damaged Secret does not take
all others along. When none opens the key file is the wrong one, and the store refuses to start.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from controlplane.store.keys import REGISTRY_PREFIX, after
from controlplane.store.store import (
    Backend,
    Change,
    Changes,
    Fence,
    KeyValue,
    LeaseKeeper,
    Page,
    RevisionConflictError,
    StoreError,
)

logger = logging.getLogger(__name__)

SECRETS_PREFIX = REGISTRY_PREFIX + "secrets/"
SEALED = b"aesgcm:1:"
NONCE_BYTES = 12
KEY_BYTES = 32
SAMPLE_OBJECTS = 16
PAGE_OBJECTS = 200


class UnsealingError(StoreError):
    """A stored value can't be opened: its key is not in the ring, or it was damaged or moved."""


@dataclass(frozen=True, slots=True)
class SealingKey:
    id: str
    secret: bytes


class Keyring:
    """The keys that values are sealed with; the first seals, all open."""

    def __init__(self, keys: Sequence[SealingKey]) -> None:
        if not keys:
            raise ValueError("a keyring needs a key")
        self.keys = tuple(keys)
        self._ciphers = {key.id.encode(): AESGCM(key.secret) for key in keys}
        self._first = keys[0].id.encode()

    @classmethod
    def load_or_create(cls, path: Path) -> Keyring:
        """The ring in the file ``path``, made with one key where there is none. The file's mode is 0600.

        ValueError when the file can be read by others or is no keyring.
        """
        try:
            text = path.read_text()
        except FileNotFoundError:
            return cls([_new_key()]).saved(path)
        if path.stat().st_mode & 0o077:
            raise ValueError(f"{path} can be read by others than its owner: chmod 600 {path}")
        try:
            held = json.loads(text)["keys"]
            return cls([SealingKey(key["id"], base64.b64decode(key["secret"], validate=True)) for key in held])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is no keyring: {error}") from error

    def rotated(self) -> Keyring:
        """A ring that seals with a new key and still opens with the present ones."""
        return Keyring([_new_key(), *self.keys])

    def saved(self, path: Path) -> Keyring:
        """This ring, after writing it to ``path`` as a whole or not at all."""
        held = [{"id": key.id, "secret": base64.b64encode(key.secret).decode()} for key in self.keys]
        unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"keys": held}, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        return self

    def seal(self, key: str, value: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._ciphers[self._first].encrypt(nonce, value, key.encode())
        return b"%b%b:%b%b" % (SEALED, self._first, nonce, sealed)

    def open(self, key: str, value: bytes) -> bytes:
        """What was sealed for ``key``; a value in the clear as it is. UnsealingError."""
        if not value.startswith(SEALED):
            return value
        key_id, _, rest = value[len(SEALED) :].partition(b":")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise UnsealingError(
                f"{key} was sealed with key {key_id.decode(errors='replace')}, which is not in the ring"
            )
        try:
            return cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], key.encode())
        except (InvalidTag, ValueError) as error:
            raise UnsealingError(f"{key} is damaged or was sealed under another name") from error

    def is_current(self, value: bytes) -> bool:
        """Whether a stored value is sealed with the first key."""
        return value.startswith(b"%b%b:" % (SEALED, self._first))


def _new_key() -> SealingKey:
    return SealingKey(id=secrets.token_hex(4), secret=secrets.token_bytes(KEY_BYTES))


class EncryptingStore:
    """A :class:`controlplane.store.store.Store` that keeps values under ``prefixes`` sealed in ``store``."""

    def __init__(self, store: Backend, keyring: Keyring, *, prefixes: Sequence[str] = (SECRETS_PREFIX,)) -> None:
        self._store = store
        self._keyring = keyring
        self._prefixes = tuple(prefixes)
        self.close = store.close
        self.shares_clock = store.shares_clock
        self.lease_time_s = store.lease_time_s
        self.history_id = store.history_id
        self.new_history = store.new_history
        self.revision = store.revision
        self.compact = store.compact
        self.recover_space = store.recover_space
        self.wait_out_of_space = store.wait_out_of_space
        self.grant_lease = store.grant_lease
        self.renew_lease = store.renew_lease
        self.revoke_lease = store.revoke_lease

    @property
    def seen_revision(self) -> int:
        return self._store.seen_revision

    async def start(self) -> None:
        """Connect. UnsealingError when values are stored and none of a sample can be opened."""
        await self._store.start()
        for prefix in self._prefixes:
            page = await self._store.list(prefix, limit=SAMPLE_OBJECTS)
            opened = [self._opened_or_none(item.key, item.value) for item in page.items]
            if opened and all(value is None for value in opened):
                raise UnsealingError(f"no value under {prefix} opens with the keys at hand: is it the right key file?")

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """As the store's; UnsealingError too."""
        item = await self._store.get(key, revision=revision)
        return replace(item, value=self._keyring.open(key, item.value)) if item is not None else None

    async def list(self, prefix: str, *, revision: int = 0, limit: int = 0, start_key: str = "") -> Page:
        page = await self._store.list(prefix, revision=revision, limit=limit, start_key=start_key)
        if not self._may_cover(prefix):
            return page
        return replace(page, items=[self._opened(item) for item in page.items])

    async def create(self, key: str, value: bytes, *, lease: int = 0, fence: Fence | None = None) -> int:
        return await self._store.create(key, self._sealed(key, value), lease=lease, fence=fence)

    async def update(self, key: str, value: bytes, *, expected: int, lease: int = 0, fence: Fence | None = None) -> int:
        try:
            return await self._store.update(key, self._sealed(key, value), expected=expected, lease=lease, fence=fence)
        except RevisionConflictError as error:
            raise self._opened_conflict(key, error) from error

    async def delete(self, key: str, *, expected: int = 0, fence: Fence | None = None) -> int:
        try:
            return await self._store.delete(key, expected=expected, fence=fence)
        except RevisionConflictError as error:
            raise self._opened_conflict(key, error) from error

    async def watch(self, *, start_revision: int, key: str = "") -> AsyncGenerator[Changes, None]:
        async with aclosing(self._store.watch(start_revision=start_revision, key=key)) as stream:
            async for changes in stream:
                if any(change.key.startswith(self._prefixes) for change in changes):
                    changes = [self._opened_change(change) for change in changes]
                yield changes

    def keep_lease(self, lease: int, *, ttl_s: int, asked_at_s: float) -> LeaseKeeper:
        return self._store.keep_lease(lease, ttl_s=ttl_s, asked_at_s=asked_at_s)

    async def reseal(self) -> int:
        """Seal every value with the first key that is not yet; how many were. Concurrent writes do it themselves."""
        resealed = 0
        for prefix in self._prefixes:
            start_key = ""
            while True:
                page = await self._store.list(prefix, limit=PAGE_OBJECTS, start_key=start_key)
                for item in page.items:
                    resealed += await self._reseal(item)
                if not page.more:
                    break
                start_key = after(page.items[-1].key)
        return resealed

    async def _reseal(self, item: KeyValue) -> bool:
        value = self._opened_or_none(item.key, item.value)
        if value is None or self._keyring.is_current(item.value):
            return False
        try:
            await self._store.update(item.key, self._keyring.seal(item.key, value), expected=item.mod_revision)
        except RevisionConflictError:
            return False
        return True

    def _may_cover(self, prefix: str) -> bool:
        return any(prefix.startswith(sealed) or sealed.startswith(prefix) for sealed in self._prefixes)

    def _sealed(self, key: str, value: bytes) -> bytes:
        return self._keyring.seal(key, value) if key.startswith(self._prefixes) else value

    def _opened(self, item: KeyValue) -> KeyValue:
        if not item.key.startswith(self._prefixes):
            return item
        return replace(item, value=self._opened_or_none(item.key, item.value) or b"")

    def _opened_or_none(self, key: str, value: bytes) -> bytes | None:
        try:
            return self._keyring.open(key, value)
        except UnsealingError as error:
            logger.error("stored_value_does_not_open", extra={"key": key, "error": str(error)})
            return None

    def _opened_change(self, change: Change) -> Change:
        if not change.key.startswith(self._prefixes):
            return change
        previous = self._opened(change.previous) if change.previous is not None else None
        value = (self._opened_or_none(change.key, change.value) or b"") if change.value else b""
        return replace(change, value=value, previous=previous)

    def _opened_conflict(self, key: str, error: RevisionConflictError) -> RevisionConflictError:
        return RevisionConflictError(key, self._opened(error.current) if error.current is not None else None)
