"""The id of a history of revisions.

Revisions compare only within one history. Agents and clients remember the id beside the last revision that they
acted on; when an etcd is replaced by an empty one or by an older backup, the id tells them that the count began anew.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from controlplane.store.keys import HISTORY_KEY
from controlplane.store.store import KeyExistsError, RevisionConflictError

if TYPE_CHECKING:
    from controlplane.store.store import Store


async def read_or_make_history_id(store: Store) -> str:
    """The stored id; an empty store gets one."""
    while True:
        stored = await store.get(HISTORY_KEY)
        if stored is not None:
            return stored.value.decode()
        try:
            await store.create(HISTORY_KEY, uuid.uuid4().hex.encode())
        except KeyExistsError:
            continue


async def replace_history_id(store: Store, known: str) -> str:
    """Put a new id in the place of ``known``; what is stored then, whoever stored it."""
    stored = await store.get(HISTORY_KEY)
    if stored is not None and stored.value.decode() == known:
        try:
            await store.update(HISTORY_KEY, uuid.uuid4().hex.encode(), expected=stored.mod_revision)
        except RevisionConflictError:
            pass
    return await read_or_make_history_id(store)
