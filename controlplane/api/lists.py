"""LIST: which state is shown, and how it is cut into pages.

Without a resourceVersion a list reflects every write acknowledged before it; ``0`` takes what the cache has; a number
asks for that state or a newer one, or with ``resourceVersionMatch=Exact`` for exactly that one. Pages are cut from one
revision: what the cache can answer whole it answers, the rest is read from the store at the revision of the first page.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from controlplane.api.call import Call
from controlplane.api.persistence import store_errors
from controlplane.api.selection import Selection, candidates, read_selection, select
from controlplane.api.views import viewed_entry
from controlplane.store.cache import Cache, Entry
from controlplane.store.keys import after, resource_prefix
from controlplane.store.store import CompactedError, FutureRevisionError, Page, Store
from flotilla.api.errors import bad_request, expired, too_large_resource_version
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource

NEWER_REVISION_WAIT_S = 3.0
_TOKEN_VERSION = "meta.k8s.io/v1"  # noqa: S105
_SMALLEST_READ = 100


class _Token(msgspec.Struct):
    v: str
    rv: int
    start: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Some objects of one revision, and what the list's metadata says about them."""

    entries: Sequence[Entry]
    metadata: KubeObject


@dataclass(frozen=True, slots=True)
class ListOptions:
    """The version and paging parameters of a list; ``revision`` None is unset, ``limit`` 0 no limit."""

    revision: int | None
    exact: bool
    limit: int
    token: str


def read_list_options(call: Call) -> ListOptions:
    """The options of a request. BadRequest for combinations without meaning."""
    text = call.query.get("resourceVersion", "")
    match = call.query.get("resourceVersionMatch", "")
    token = call.query.get("continue", "")
    revision = parse_revision(text)
    if match and match not in ("Exact", "NotOlderThan"):
        raise bad_request(
            f'resourceVersionMatch: Unsupported value: "{match}": supported values: "Exact", "NotOlderThan"'
        )
    if match and revision is None:
        raise bad_request(
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
        )
    if match and token:
        raise bad_request(
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided"
        )
    if match == "Exact" and revision == 0:
        raise bad_request(
            'resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        )
    if token and revision:
        raise bad_request("specifying resource version is not allowed when using continue")
    limit = call.number("limit") or 0
    if limit < 0:
        raise bad_request("limit: Invalid value: must be greater than or equal to 0")
    exact = match == "Exact" or (bool(limit) and bool(revision) and not match)
    return ListOptions(revision, exact, limit, token)


def parse_revision(text: str) -> int | None:
    """A resourceVersion parameter, None if it is not given. BadRequest for what is no revision."""
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise bad_request(
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    return int(text)


class Lister:
    """Answers lists from the cache and, where they ask for the past, from the store."""

    def __init__(self, store: Store, cache: Cache) -> None:
        self._store = store
        self._cache = cache

    async def list(self, call: Call, resource: Resource) -> Listing:
        """The objects that a request asks for."""
        selection = read_selection(call, resource)
        options = read_list_options(call)
        if options.token:
            token = _decode_token(options.token)
            return await self._page(selection, token.rv, limit=options.limit, start=token.start)
        if options.exact and options.revision:
            return await self._page(selection, options.revision, limit=options.limit, start="")
        await self.reach(options.revision)
        return await self._from_cache(selection, options)

    async def reach(self, revision: int | None) -> None:
        """Return once the cache is new enough for a read of ``revision``; None stands for everything acknowledged."""
        if revision is None:
            with store_errors():
                await self._cache.barrier()
        elif revision > self._cache.revision:
            try:
                await self._cache.wait_for(revision, timeout_s=NEWER_REVISION_WAIT_S)
            except TimeoutError as error:
                raise too_large_resource_version(revision, self._cache.revision) from error

    async def _from_cache(self, selection: Selection, options: ListOptions) -> Listing:
        revision = self._cache.revision
        found = candidates(self._cache, selection)
        if options.limit and options.revision != 0 and len(found) > options.limit:
            return await self._page(selection, revision, limit=options.limit, start="")
        entries = await select(found, selection)
        return Listing(entries, {"resourceVersion": str(revision)})

    async def _page(self, selection: Selection, revision: int, *, limit: int, start: str) -> Listing:
        """One page of the state at ``revision`` from the key ``start`` on, given without the prefix."""
        resource = selection.resource
        prefix = resource_prefix(resource, selection.namespace)
        start_key = prefix + start if start else ""
        entries: list[Entry] = []
        last_key, remaining = "", 0
        while True:
            page = await self._read(
                prefix, revision, limit=max(limit, _SMALLEST_READ) if limit else 0, start_key=start_key
            )
            for index, item in enumerate(page.items):
                entry = self._cache.read(resource.hub, item)
                if not selection.matches(entry):
                    continue
                entries.append(viewed_entry(resource, entry))
                if limit and len(entries) == limit:
                    last_key, remaining = item.key, page.count - index - 1
                    break
            if last_key or not page.more:
                break
            start_key = after(page.items[-1].key)
        return Listing(entries, _page_metadata(selection, revision, prefix, last_key, remaining))

    async def _read(self, prefix: str, revision: int, *, limit: int, start_key: str) -> Page:
        try:
            with store_errors():
                return await self._store.list(prefix, revision=revision, limit=limit, start_key=start_key)
        except CompactedError as error:
            message = (
                "The provided continue parameter or resource version is too old to display a consistent list result"
            )
            raise expired(f"{message}. You can start a new list without it.") from error
        except FutureRevisionError as error:
            raise too_large_resource_version(revision, self._cache.revision) from error


def _page_metadata(selection: Selection, revision: int, prefix: str, last_key: str, remaining: int) -> KubeObject:
    metadata: KubeObject = {"resourceVersion": str(revision)}
    if last_key and remaining:
        token = _Token(_TOKEN_VERSION, revision, after(last_key).removeprefix(prefix))
        encoded = base64.urlsafe_b64encode(msgspec.json.encode(token)).decode().rstrip("=")
        metadata["continue"] = encoded
        if selection.everything:
            metadata["remainingItemCount"] = remaining
    return metadata


def _decode_token(text: str) -> _Token:
    try:
        padded = text + "=" * (-len(text) % 4)
        token = msgspec.json.decode(base64.urlsafe_b64decode(padded), type=_Token)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise bad_request(f"continue key is not valid: {error}") from error
    if token.v != _TOKEN_VERSION or token.rv <= 0 or "/.." in f"/{token.start}":
        raise bad_request("continue key is not valid: incorrect token")
    return token
