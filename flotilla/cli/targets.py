"""What a command is about: ``TYPE[,TYPE] [NAME...]`` or ``TYPE/NAME...`` turned into kinds and names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flotilla.cli.discovery import Discovery, Kind
from flotilla.cli.failures import CommandError


@dataclass(frozen=True, slots=True)
class Target:
    """One object of ``kind``, or with an empty ``name`` all of them."""

    kind: Kind
    name: str = ""


def parse_targets(words: Sequence[str], discovery: Discovery) -> list[Target]:
    """The targets that ``words`` name. Raises CommandError for an unknown kind or a mixture of the two forms."""
    if not words:
        raise CommandError("name what you mean: a type (pods, deploy,svc, all) and names, or TYPE/NAME")
    if any("/" in word for word in words):
        return [_slashed(word, discovery) for word in words]
    kinds = [kind for word in words[0].split(",") if word for kind in discovery.find(word)]
    names = words[1:]
    if not names:
        return [Target(kind) for kind in kinds]
    return [Target(kind, name) for kind in kinds for name in names]


def _slashed(word: str, discovery: Discovery) -> Target:
    kind, slash, name = word.partition("/")
    if not slash or not kind or not name:
        raise CommandError(f"{word!r}: where one object is named as TYPE/NAME, all must be")
    return Target(discovery.one(kind), name)
