"""What a list or a watch asks for beside the selectors: which version of the state, in which pages, as which stream.

The rules and messages are those of ``k8s.io/apimachinery/pkg/apis/meta/internalversion/validation``: combinations
without meaning are 422 Invalid ``ListOptions``; a version or a token that can't be read is 400 BadRequest.
"""

from __future__ import annotations

import base64
import binascii
import random
from dataclasses import dataclass

import msgspec

from controlplane.api.call import Call
from flotilla.api.errors import FieldError, bad_request, invalid

DEFAULT_TIMEOUT_S = 1800.0
_TOKEN_VERSION = "meta.k8s.io/v1"  # noqa: S105
_LARGEST_REVISION = (1 << 64) - 1
_DIGITS = len(str(_LARGEST_REVISION))
_LATEST = -1
_MATCH = "resourceVersionMatch"
_INITIAL = "sendInitialEvents"


class _Token(msgspec.Struct):
    v: str = ""
    rv: int = 0
    start: str = ""


@dataclass(frozen=True, slots=True)
class Continuation:
    """Where a list goes on: ``start`` is a key without the list's prefix, ``revision`` None means the present state."""

    revision: int | None
    start: str

    def encode(self) -> str:
        """The token that a client sends back; it means nothing to the client."""
        token = _Token(_TOKEN_VERSION, _LATEST if self.revision is None else self.revision, self.start)
        return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class ListOptions:
    """The version and paging parameters of a list; ``revision`` None is unset, ``limit`` 0 no limit."""

    revision: int | None
    exact: bool
    limit: int
    continuation: Continuation | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """``revision`` None is unset. ``initial`` says whether the present state comes first, as ADDED events."""

    revision: int | None
    initial: bool
    announce_end: bool
    bookmarks: bool
    timeout_s: float


def read_list_options(call: Call) -> ListOptions:
    """The options of a list. Invalid, BadRequest."""
    match, token = call.query.get(_MATCH, ""), call.query.get("continue", "")
    text = call.query.get("resourceVersion", "")
    faults: list[FieldError] = []
    if match:
        if not text:
            faults.append(_forbidden(_MATCH, f"{_MATCH} is forbidden unless resourceVersion is provided"))
        if token:
            faults.append(_forbidden(_MATCH, f"{_MATCH} is forbidden when continue is provided"))
        if match not in ("Exact", "NotOlderThan"):
            faults.append(_unsupported(match, "Exact", "NotOlderThan", ""))
        if match == "Exact" and text == "0":
            faults.append(_forbidden(_MATCH, f'{_MATCH} "exact" is forbidden for resourceVersion "0"'))
    if _INITIAL in call.query:
        faults.append(_forbidden(_INITIAL, f"{_INITIAL} is forbidden for list"))
    _check(faults)
    revision = parse_revision(text)
    if match == "Exact" and revision == 0:
        _check([_forbidden(_MATCH, f'{_MATCH} "exact" is forbidden for resourceVersion "0"')])
    limit = max(0, call.number("limit") or 0)
    continuation = _read_token(token) if token else None
    if continuation and revision:
        raise bad_request("specifying resource version is not allowed when using continue")
    exact = match == "Exact" or (bool(limit) and bool(revision) and not match)
    return ListOptions(revision, exact, limit, continuation)


def read_watch_options(call: Call) -> WatchOptions:
    """The options of a watch. Invalid, BadRequest."""
    match = call.query.get(_MATCH, "")
    send_initial = call.flag(_INITIAL) if _INITIAL in call.query else None
    faults: list[FieldError] = []
    if send_initial is not None and match != "NotOlderThan":
        faults.append(_forbidden(_MATCH, f"{_INITIAL} requires setting {_MATCH} to NotOlderThan"))
    if match:
        if send_initial is None:
            faults.append(_forbidden(_MATCH, f"{_MATCH} is forbidden for watch unless {_INITIAL} is provided"))
        if match != "NotOlderThan":
            faults.append(_unsupported(match, "NotOlderThan"))
        if call.query.get("continue", ""):
            faults.append(_forbidden(_MATCH, f"{_MATCH} is forbidden when continue is provided"))
    _check(faults)
    revision = parse_revision(call.query.get("resourceVersion", ""))
    timeout_s = float(call.number("timeoutSeconds") or 0)
    return WatchOptions(
        revision=revision,
        initial=not revision if send_initial is None else send_initial,
        announce_end=bool(send_initial),
        bookmarks=call.flag("allowWatchBookmarks"),
        timeout_s=timeout_s or DEFAULT_TIMEOUT_S * random.uniform(1, 2),
    )


def parse_revision(text: str) -> int | None:
    """A resourceVersion parameter, None if it is not given. BadRequest for what is no revision."""
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise _unparsable(text, "invalid syntax")
    if len(text.lstrip("0")) > _DIGITS or int(text) > _LARGEST_REVISION:
        raise _unparsable(text, "value out of range")
    return int(text)


def _unparsable(text: str, why: str) -> Exception:
    shown = text[:100]
    return bad_request(f'resourceVersion: Invalid value: "{shown}": strconv.ParseUint: parsing "{shown}": {why}')


def _forbidden(field: str, why: str) -> FieldError:
    return FieldError(field, f"Forbidden: {why}", "FieldValueForbidden")


def _unsupported(match: str, *supported: str) -> FieldError:
    listed = ", ".join(f'"{one}"' for one in supported)
    return FieldError(_MATCH, f'Unsupported value: "{match}": supported values: {listed}', "FieldValueNotSupported")


def _check(faults: list[FieldError]) -> None:
    if faults:
        raise invalid("ListOptions", "", faults, group="meta.k8s.io")


def _read_token(text: str) -> Continuation:
    try:
        padded = text + "=" * (-len(text) % 4)
        token = msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=_Token)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise bad_request(f"continue key is not valid: {error}") from error
    if token.v != _TOKEN_VERSION:
        raise bad_request(f"continue key is not valid: server does not recognize this encoded version {token.v!r}")
    if token.rv == 0 or token.rv < _LATEST or token.rv > _LARGEST_REVISION:
        raise bad_request("continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
    if not token.start:
        raise bad_request("continue key is not valid: encoded start key empty (version meta.k8s.io/v1)")
    if any(part in ("", ".", "..") for part in token.start.removeprefix("/").split("/")):
        raise bad_request(f"continue key is not valid: {token.start[:100]}")
    return Continuation(None if token.rv == _LATEST else token.rv, token.start.removeprefix("/"))
