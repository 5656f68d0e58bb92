"""The form of an answer, from the Accept header: the object itself, a Table, or its metadata alone.

Only JSON is spoken. A client that asks for protobuf first and JSON second gets JSON, one that asks for protobuf alone
is told 406, upon which client libraries fall back.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from flotilla.api.errors import ApiError, not_acceptable

JSON = "application/json"
_WILDCARDS = ("*/*", "application/*", JSON)
_META_VERSIONS = ("v1", "v1beta1")
_META_GROUP = "meta.k8s.io"
_KINDS = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One alternative of an Accept header."""

    type: str
    parameters: dict[str, str]
    quality: float


@dataclass(frozen=True, slots=True)
class Form:
    """``kind`` is ``""`` for the object itself, or Table or PartialObjectMetadata of meta.k8s.io/``version``."""

    kind: str = ""
    version: str = ""

    @property
    def api_version(self) -> str:
        return f"{_META_GROUP}/{self.version}"


PLAIN = Form()


@lru_cache(maxsize=256)
def media_ranges(accept: str) -> tuple[MediaRange, ...]:
    """The alternatives of an Accept header, best first; equal ones in their order."""
    ranges = [_media_range(part) for part in accept.split(",") if part.strip()]
    return tuple(sorted(ranges, key=lambda media: -media.quality))


def _media_range(text: str) -> MediaRange:
    media_type, *pairs = (part.strip() for part in text.split(";"))
    parameters = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    try:
        quality = float(parameters.pop("q", "1"))
    except ValueError:
        quality = 0.0
    return MediaRange(media_type.lower(), parameters, quality)


@lru_cache(maxsize=256)
def negotiate(accept: str) -> Form:
    """The best form that is offered. NotAcceptable if there is none."""
    if not accept:
        return PLAIN
    for media in media_ranges(accept):
        form = _form_of(media)
        if form is not None:
            return form
    raise unacceptable()


def _form_of(media: MediaRange) -> Form | None:
    if media.type not in _WILDCARDS:
        return None
    kind = media.parameters.get("as", "")
    if not kind:
        return PLAIN
    version = media.parameters.get("v", "")
    if media.type != JSON or media.parameters.get("g") != _META_GROUP or version not in _META_VERSIONS:
        return None
    return Form(kind.removesuffix("List"), version) if kind in _KINDS else None


def unacceptable() -> ApiError:
    return not_acceptable(f"only the following media types are accepted: {JSON}")


def accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding header allows gzip."""
    return any(media.type == "gzip" and media.quality > 0 for media in media_ranges(header))
