"""Functions on strings. Source: cel-go's ``ext.Strings``, version 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flotilla.api.crd.cel_tags import LONGEST_RESULT, FunctionRow, bounded
from flotilla.api.objects import encode

_ASCII_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_ASCII_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}


def _char_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise ValueError(f"index out of range: {index}")
    return text[index : index + 1]


def _replace(text: str, old: str, new: str, most: int = -1) -> str:
    count = text.count(old) if most < 0 else min(most, text.count(old))
    if len(text) + count * (len(new) - len(old)) > LONGEST_RESULT:
        raise ValueError("the result is too long")
    return text.replace(old, new, most)


def _split(text: str, separator: str, most: int = -1) -> list[str]:
    if most == 0:
        return []
    if not separator:
        parts = list(text)
        return parts if most < 0 or most >= len(parts) else [*parts[: most - 1], "".join(parts[most - 1 :])]
    return text.split(separator, most - 1 if most > 0 else -1)


def _substring(text: str, start: int, end: int | None = None) -> str:
    last = len(text) if end is None else end
    if not 0 <= start <= last <= len(text):
        raise ValueError(f"invalid substring range. start: {start}, end: {last}")
    return text[start:last]


def _join(parts: Sequence[str], separator: str = "") -> str:
    if not all(isinstance(part, str) for part in parts):
        raise ValueError("no such overload")
    return bounded(separator.join(parts))


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return encode(value).decode() if isinstance(value, bool | list | dict | None) else str(value)


def _format(template: str, values: Sequence[Any]) -> str:
    """The verbs of Go that CEL takes: ``%s %d %f %e %b %x %X %o %%``, with a precision for floats."""
    parts: list[str] = []
    position, used = 0, 0
    while position < len(template):
        at = template.find("%", position)
        if at < 0:
            break
        parts.append(template[position:at])
        end = at + 1
        while end < len(template) and template[end] in ".0123456789":
            end += 1
        verb = template[end : end + 1]
        if verb == "%":
            parts.append("%")
        else:
            if used >= len(values):
                raise ValueError(f"index {used} out of range")
            parts.append(_formatted(verb, template[at + 1 : end], values[used]))
            used += 1
        position = end + 1
    parts.append(template[position:])
    return bounded("".join(parts))


def _formatted(verb: str, precision: str, value: Any) -> str:
    if verb == "s":
        return _shown(value)
    if verb in "dbo" and isinstance(value, int):
        return format(value, verb)
    if verb in "xX":
        data = value.encode() if isinstance(value, str) else value
        text = data.hex() if isinstance(data, bytes) else format(value, "x")
        return text.upper() if verb == "X" else text
    if verb in "fe" and isinstance(value, int | float):
        return format(float(value), f"{precision or '.6'}{verb}")
    raise ValueError(f"could not parse formatting clause: unrecognized formatting clause {verb!r}")


STRING_FUNCTIONS: tuple[FunctionRow, ...] = (
    FunctionRow("charAt", ("string", "int"), _char_at, result="string"),
    FunctionRow("format", ("string", "list"), _format, result="string"),
    FunctionRow("join", ("list",), _join, result="string"),
    FunctionRow("join", ("list", "string"), _join, result="string"),
    FunctionRow("lowerAscii", ("string",), lambda text: text.translate(_ASCII_LOWER), result="string"),
    FunctionRow("upperAscii", ("string",), lambda text: text.translate(_ASCII_UPPER), result="string"),
    FunctionRow("replace", ("string", "string", "string"), _replace, result="string"),
    FunctionRow("replace", ("string", "string", "string", "int"), _replace, result="string"),
    FunctionRow("reverse", ("string",), lambda text: text[::-1], result="string"),
    FunctionRow("split", ("string", "string"), _split, result="strings"),
    FunctionRow("split", ("string", "string", "int"), _split, result="strings"),
    FunctionRow("substring", ("string", "int"), _substring, result="string"),
    FunctionRow("substring", ("string", "int", "int"), _substring, result="string"),
    FunctionRow("trim", ("string",), lambda text: text.strip(), result="string"),
    FunctionRow("strings.quote", ("string",), lambda text: encode(text).decode(), result="string", member=False),
)
