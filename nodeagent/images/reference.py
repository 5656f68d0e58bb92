"""Image references: the grammar and the normalization of the Docker distribution project.

``nginx`` means ``docker.io/library/nginx:latest`` wherever it is written, so a name that was loaded from an archive
and the same name in a pod always meet in the index under one string.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_DEFAULT_DOMAIN = "docker.io"
_MAXIMUM_NAME_LENGTH = 255
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_HOST_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = re.compile(rf"(?:{_HOST_LABEL}(?:\.{_HOST_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


class InvalidReferenceError(ValueError):
    """The text is not an image reference."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A normalized reference. ``tag`` is empty where only a digest was given; a digest decides over a tag."""

    domain: str
    path: str
    tag: str
    digest: str = ""

    @property
    def repository(self) -> str:
        return f"{self.domain}/{self.path}"

    def at(self, digest: str) -> Reference:
        """The reference of that very manifest in the same repository."""
        return Reference(self.domain, self.path, "", digest)

    def __str__(self) -> str:
        """The canonical text: ``domain/path@digest`` where there is a digest, else ``domain/path:tag``."""
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"


def parse_reference(text: str) -> Reference:
    """The normalized reference that ``text`` names. Raises :class:`InvalidReferenceError`."""
    remainder, _, digest = text.partition("@")
    if "@" in text and not _DIGEST.fullmatch(digest):
        raise InvalidReferenceError(f'"{text}": invalid digest "{digest}"')
    name, tag = _split_tag(remainder)
    if ":" in remainder[len(name) :] and not _TAG.fullmatch(tag):
        raise InvalidReferenceError(f'"{text}": invalid tag "{tag}"')
    domain, path = _split_domain(name)
    if not _DOMAIN.fullmatch(domain):
        raise InvalidReferenceError(f'"{text}": invalid registry "{domain}"')
    if not _PATH.fullmatch(path):
        lower = "; repository names are lower case" if path != path.lower() else ""
        raise InvalidReferenceError(f'"{text}": invalid repository name "{path}"{lower}')
    if len(domain) + 1 + len(path) > _MAXIMUM_NAME_LENGTH:
        raise InvalidReferenceError(f'"{text}": a repository name has at most {_MAXIMUM_NAME_LENGTH} characters')
    return Reference(domain, path, tag or ("" if digest else "latest"), digest)


def _split_tag(text: str) -> tuple[str, str]:
    head, colon, last = text.rpartition(":")
    if not colon or "/" in last:
        return text, ""
    return head, last


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    is_domain = slash and ("." in first or ":" in first or first == "localhost" or first != first.lower())
    domain, path = (first, rest) if is_domain else (_DEFAULT_DOMAIN, name)
    if domain == "index.docker.io":
        domain = _DEFAULT_DOMAIN
    if domain == _DEFAULT_DOMAIN and "/" not in path:
        path = f"library/{path}"
    return domain, path
