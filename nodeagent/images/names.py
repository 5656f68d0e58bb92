"""What the names in the index mean: which entry a reference asks for, and who has a name when several want it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from nodeagent.images.layout import IndexEntry
from nodeagent.images.reference import InvalidReferenceError, Reference, parse_reference


def parsed_or_none(text: str) -> Reference | None:
    """The reference that ``text`` is, None if it is none."""
    try:
        return parse_reference(text)
    except InvalidReferenceError:
        return None


def is_digest_of(entry: IndexEntry, reference: Reference) -> bool:
    """Whether the entry is the very content that a ``name@digest`` reference asks for, under any of its tags."""
    return reference.digest in (entry.digest, entry.source_digest) and repository_of(entry) == reference.repository


def repository_of(entry: IndexEntry) -> str:
    """The repository of the entry's name, empty where it has none."""
    head, _, digest = entry.reference.partition("@")
    return head if digest else head.rpartition(":")[0]


def repo_digests(entries: Sequence[IndexEntry]) -> tuple[str, ...]:
    """The names under which registries have the content of the entries of one image."""
    found = (f"{repository_of(entry)}@{entry.source_digest}" for entry in entries if entry.source_digest)
    return tuple(dict.fromkeys(name for name in found if not name.startswith("@")))


def with_names(before: Sequence[IndexEntry], added: Sequence[IndexEntry]) -> Iterator[IndexEntry]:
    """The index after ``added`` has taken its names over; an image left without a name stays until it is collected."""
    names = {entry.reference for entry in added}
    kept = [entry for entry in before if entry.reference not in names]
    present = {entry.digest for entry in (*kept, *added)}
    for entry in before:
        if entry.digest not in present:
            present.add(entry.digest)
            yield replace(entry, reference="", pinned=False)
    yield from (entry for entry in kept if entry.reference or entry.digest not in {new.digest for new in added})
    yield from added
