"""Secrets at rest: what lies in the store, key files, rotation, and values that do not open."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import pytest

from controlplane.store.encryption import EncryptingStore, Keyring, UnsealingError
from controlplane.store.memory import MemoryStore
from controlplane.store.store import RevisionConflictError
from flotilla.api.resources import SECRETS
from tests.unit.controlplane.store.conftest import running_cache, stored

KEY = "/registry/secrets/default/token"
PLAIN = stored("token", data={"password": "aHVudGVyMg=="})


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.load_or_create(tmp_path / "encryption.key")


async def test_secrets_are_sealed_and_nothing_else(store: MemoryStore, keyring: Keyring) -> None:
    """What lies in the store under a secret's key shows nothing of it; other objects lie in the clear."""
    sealed = EncryptingStore(store, keyring)
    await sealed.create(KEY, PLAIN)
    await sealed.create("/registry/configmaps/default/token", PLAIN)
    raw = await store.get(KEY)
    assert raw is not None
    assert b"hunter" not in raw.value and b"password" not in raw.value and b"aHVudGVyMg" not in raw.value
    assert (await store.list("/registry/configmaps/")).items[0].value == PLAIN
    item = await sealed.get(KEY)
    assert item is not None
    assert item.value == PLAIN
    assert [item.value for item in (await sealed.list("/registry/")).items] == [PLAIN, PLAIN]


async def test_watch_and_conflict_show_the_clear_value(store: MemoryStore, keyring: Keyring) -> None:
    """Changes, the state before them, and the state that won a race are all opened."""
    sealed = EncryptingStore(store, keyring)
    first = await sealed.create(KEY, PLAIN)
    await sealed.update(KEY, PLAIN + b" ", expected=first)
    await sealed.delete(KEY)
    await sealed.create("/registry/pods/default/a", b"pod")
    seen = []
    async with aclosing(sealed.watch(start_revision=2)) as stream:
        async for changes in stream:
            seen += changes
            if len(seen) == 4:
                break
    assert [change.value for change in seen] == [PLAIN, PLAIN + b" ", b"", b"pod"]
    assert [change.previous.value if change.previous else None for change in seen] == [None, PLAIN, PLAIN + b" ", None]
    await sealed.create(KEY, PLAIN)
    for write in (sealed.update(KEY, b"x", expected=1), sealed.delete(KEY, expected=1)):
        with pytest.raises(RevisionConflictError) as conflict:
            await write
        assert conflict.value.current is not None
        assert conflict.value.current.value == PLAIN


async def test_same_value_is_sealed_differently(store: MemoryStore, keyring: Keyring) -> None:
    """Sealing twice gives two values, so that equal secrets can't be told."""
    assert keyring.seal(KEY, PLAIN) != keyring.seal(KEY, PLAIN)


async def test_moved_or_damaged_value_does_not_open(store: MemoryStore, keyring: Keyring) -> None:
    """A sealed value opens under its own key path only, and only whole."""
    sealed = keyring.seal(KEY, PLAIN)
    for key, value in ((KEY + "2", sealed), (KEY, sealed[:-1]), (KEY, sealed[:20]), (KEY, sealed[:-1] + b"\0")):
        with pytest.raises(UnsealingError):
            keyring.open(key, value)


def test_key_file_is_private_and_kept(tmp_path: Path) -> None:
    """The file is made once with mode 0600; a file that others can read or that is no keyring is refused."""
    path = tmp_path / "encryption.key"
    ring = Keyring.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Keyring.load_or_create(path).keys == ring.keys
    assert list(tmp_path.iterdir()) == [path]
    path.chmod(0o640)
    with pytest.raises(ValueError, match="chmod 600"):
        Keyring.load_or_create(path)
    path.chmod(0o600)
    path.write_text("{}")
    with pytest.raises(ValueError, match="no keyring"):
        Keyring.load_or_create(path)


async def test_rotation(store: MemoryStore, tmp_path: Path) -> None:
    """A rotated ring opens old values and seals new ones; once resealed, the old key is needed no more."""
    path = tmp_path / "encryption.key"
    old = Keyring.load_or_create(path)
    await EncryptingStore(store, old).create(KEY, PLAIN)
    await store.create(KEY + "-plain", PLAIN)
    new = old.rotated().saved(path)
    assert Keyring.load_or_create(path).keys == new.keys
    sealed = EncryptingStore(store, new)
    await sealed.create(KEY + "-new", PLAIN)
    assert [item.value for item in (await sealed.list(KEY)).items] == [PLAIN] * 3
    assert await sealed.reseal() == 2
    assert await sealed.reseal() == 0
    alone = EncryptingStore(store, Keyring(new.keys[:1]))
    assert [item.value for item in (await alone.list(KEY)).items] == [PLAIN] * 3


async def test_wrong_key_file_stops_the_start(store: MemoryStore, keyring: Keyring, tmp_path: Path) -> None:
    """A store whose secrets none of the keys open refuses to start; the right keys start it."""
    await EncryptingStore(store, keyring).create(KEY, PLAIN)
    with pytest.raises(UnsealingError, match="right key file"):
        await EncryptingStore(store, Keyring.load_or_create(tmp_path / "another.key")).start()
    await EncryptingStore(store, keyring).start()


async def test_one_damaged_secret_leaves_the_others(store: MemoryStore, keyring: Keyring) -> None:
    """A secret that does not open is left out of the cache, all others are served."""
    sealed = EncryptingStore(store, keyring)
    await sealed.create(KEY, PLAIN)
    await store.create(KEY + "-damaged", keyring.seal(KEY, PLAIN))
    await sealed.start()
    with pytest.raises(UnsealingError):
        await sealed.get(KEY + "-damaged")
    async with running_cache(sealed) as cache:
        assert [entry.name for entry in cache.list(SECRETS)] == ["token"]
        assert cache.counters.unreadable == 1
