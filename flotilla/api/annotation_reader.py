"""Reads options out of annotations, one by one, and keeps what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

_T = TypeVar("_T")

Fault = tuple[str, str, str]
"""An annotation, its value, and what is expected."""


@dataclass(slots=True)
class AnnotationReader:
    """The annotations of one object, and the faults found so far."""

    annotations: Mapping[str, str]
    faults: list[Fault] = field(default_factory=list)

    def read(self, name: str, default: _T, parse: Callable[[str], _T]) -> _T:
        """What ``parse`` makes of the value; the default without one, and where ``parse`` raises ValueError, whose
        message says what is expected."""
        text = self.annotations.get(name)
        if text is None:
            return default
        try:
            return parse(text)
        except ValueError as error:
            self.faults.append((name, text, str(error)))
            return default


def one_of(*choices: str) -> Callable[[str], str]:
    """A parser that takes these values only."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be {', '.join(choices[:-1])} or {choices[-1]}")
        return text

    return parse
