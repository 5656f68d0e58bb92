"""JSONPath in kubectl's dialect, as printer columns, scale paths and selectable fields use it.

``.spec.replicas``, ``.spec['a.b']``, ``.metadata.annotations.a\\.b``, ``[0]``, ``[-1]``, ``[1:3]``, ``[*]``, ``..name``
and filters ``[?(@.type=="Ready")]``. Source: ``k8s.io/client-go/util/jsonpath``.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Step = Callable[[Any], Iterator[Any]]

_FIELD = re.compile(r"(?:\\.|[^.\[\]\\\s{}'\"])+")
_QUOTED = re.compile(r"'((?:\\.|[^'\\])*)'|\"((?:\\.|[^\"\\])*)\"")
_INDEX = re.compile(r"-?\d+")
_SLICE = re.compile(r"(-?\d*):(-?\d*)(?::(\d+))?")
_FILTER = re.compile(r"\?\(\s*@(?P<path>[^=!<>]*?)\s*(?:(?P<operator>==|!=|<=|>=|<|>)\s*(?P<value>.+?))?\s*\)")
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class InvalidPathError(ValueError):
    """The text is no path of this dialect."""


@dataclass(frozen=True, slots=True)
class JsonPath:
    """A path, ready to be followed."""

    text: str
    steps: tuple[Step, ...]

    def find(self, value: Any) -> list[Any]:
        """What the path leads to; a place that isn't there is left out."""
        found = [value]
        for step in self.steps:
            found = [each for one in found for each in step(one)]
        return found


def parse_path(text: str) -> JsonPath:
    """A path from its text, with or without braces around it. InvalidPathError."""
    body = text.strip()
    if body.startswith("{") and body.endswith("}"):
        body = body[1:-1].strip()
    body = body.removeprefix("$").removeprefix("@")
    return JsonPath(text, tuple(_steps(body)))


def _steps(body: str) -> Iterator[Step]:
    position = 0
    while position < len(body):
        if body.startswith("..", position):
            yield _descend
            position += 2
            if body[position : position + 1] == "[":
                continue
            step, position = _field(body, position)
            yield step
        elif body[position] == ".":
            if body == "." or body[position + 1 : position + 2] == "[":
                position += 1
                continue
            step, position = _field(body, position + 1)
            yield step
        elif body[position] == "[":
            end = _closing(body, position)
            yield _bracket(body[position + 1 : end].strip())
            position = end + 1
        else:
            raise InvalidPathError(f"unexpected {body[position:]!r} in path {body!r}")


def _field(body: str, position: int) -> tuple[Step, int]:
    match = _FIELD.match(body, position)
    if match is None:
        raise InvalidPathError(f"a name is missing at {body[position:]!r} in path {body!r}")
    name = re.sub(r"\\(.)", r"\1", match[0])
    return (_every if name == "*" else _named(name)), match.end()


def _closing(body: str, start: int) -> int:
    """Where the bracket that opens at ``start`` closes, quotes and inner brackets passed over."""
    depth, quote, position = 0, "", start
    while position < len(body):
        character = body[position]
        if quote:
            if character == "\\":
                position += 1
            elif character == quote:
                quote = ""
        elif character in "'\"":
            quote = character
        elif character == "[":
            depth += 1
        elif character == "]":
            depth -= 1
            if depth == 0:
                return position
        position += 1
    raise InvalidPathError(f"unterminated array in path {body!r}")


def _bracket(inner: str) -> Step:
    if inner == "*":
        return _every
    filtered = _FILTER.fullmatch(inner)
    if filtered:
        return _filter(filtered)
    if _INDEX.fullmatch(inner):
        return _indexed(int(inner))
    sliced = _SLICE.fullmatch(inner)
    if sliced:
        first, last, step = (int(part) if part else None for part in sliced.groups())
        return _sliced(slice(first, last, step))
    names = [_unquoted(match) for match in _QUOTED.finditer(inner)]
    if names and re.fullmatch(
        r"\s*,?\s*".join([""] + [re.escape(m[0]) for m in _QUOTED.finditer(inner)] + [""]), inner
    ):
        return _any_named(names)
    raise InvalidPathError(f"invalid array index {inner!r}")


def _unquoted(match: re.Match[str]) -> str:
    return re.sub(r"\\(.)", r"\1", match[1] if match[1] is not None else match[2])


def _named(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _any_named(names: Sequence[str]) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict):
            yield from (value[name] for name in names if name in value)

    return step


def _every(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from (value[name] for name in sorted(value))
    elif isinstance(value, list):
        yield from value


def _descend(value: Any) -> Iterator[Any]:
    yield value
    for child in _every(value):
        if isinstance(child, dict | list):
            yield from _descend(child)


def _indexed(index: int) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= index < len(value):
            yield value[index]

    return step


def _sliced(part: slice) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list):
            yield from value[part]

    return step


def _filter(match: re.Match[str]) -> Step:
    path = parse_path(match["path"]) if match["path"] else JsonPath("", ())
    compare = _OPERATORS[match["operator"]] if match["operator"] else None
    wanted = _literal(match["value"]) if compare is not None else None

    def holds(item: Any) -> bool:
        found = path.find(item)
        if not found:
            return False
        if compare is None:
            return True
        try:
            return isinstance(found[0], bool) is isinstance(wanted, bool) and compare(found[0], wanted)
        except TypeError:
            return False

    def step(value: Any) -> Iterator[Any]:
        items = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
        yield from (item for item in items if holds(item))

    return step


def _literal(text: str) -> Any:
    quoted = _QUOTED.fullmatch(text)
    if quoted:
        return _unquoted(quoted)
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text) if _INDEX.fullmatch(text) else float(text)
    except ValueError as error:
        raise InvalidPathError(f"unrecognized literal {text!r} in a filter") from error


def simple_fields(text: str) -> tuple[str, ...]:
    """The names in a path of plain fields (``.spec.replicas``). InvalidPathError for anything else."""
    if not text.startswith("."):
        raise InvalidPathError("must be a simple json path starting with .")
    body, names, position = text, [], 0
    while position < len(body):
        if body[position] == "[":
            end = _closing(body, position)
            quoted = _QUOTED.fullmatch(body[position + 1 : end].strip())
            if quoted is None:
                raise InvalidPathError("must be a json path in the dot notation")
            names.append(_unquoted(quoted))
            position = end + 1
            continue
        match = _FIELD.match(body, position + 1)
        if body[position] != "." or match is None or match[0] == "*":
            raise InvalidPathError("must be a json path in the dot notation")
        names.append(re.sub(r"\\(.)", r"\1", match[0]))
        position = match.end()
    return tuple(names)
