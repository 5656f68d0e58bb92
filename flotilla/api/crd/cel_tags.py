"""What the tables of functions for CEL are made of, and values of types that only Kubernetes has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

LONGEST_RESULT = 1 << 20


@dataclass(frozen=True, slots=True)
class FunctionRow:
    """One overload of a function. ``parameters`` name CEL types, the receiver's first; ``any`` is each of them.

    ``result`` names a type too; ``dyn`` is known at run time only.
    """

    name: str
    parameters: tuple[str, ...]
    implementation: Callable[..., Any]
    result: str = "dyn"
    member: bool = True


def tagged(type_: str, value: str) -> dict[str, str]:
    """A value of a type that CEL doesn't know."""
    return {type_: value}


def value_of(value: Any, type_: str) -> str:
    """What :func:`tagged` was given. ValueError for a value of another type."""
    if not isinstance(value, Mapping) or type_ not in value:
        raise ValueError("no such overload")
    return str(value[type_])


def bounded(text: str) -> str:
    """The text, if it is not longer than a whole object may be. ValueError."""
    if len(text) > LONGEST_RESULT:
        raise ValueError("the result is too long")
    return text
