"""The functions that Kubernetes adds to CEL, as a table for the environment that rules are compiled in.

What Kubernetes has as types of their own (quantities, addresses, networks, URLs, versions) is a map with one key here,
the type's name; two such values are equal when what they stand for is. Functions bound the size of what they build: a
rule must not make much out of little. Source: ``k8s.io/apiserver/pkg/cel/library`` and cel-go's ``ext``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

from flotilla.api.crd.cel_formats import FORMAT_FUNCTIONS
from flotilla.api.crd.cel_net import NET_FUNCTIONS
from flotilla.api.crd.cel_strings import STRING_FUNCTIONS
from flotilla.api.crd.cel_tags import FunctionRow, tagged, value_of
from flotilla.api.crd.patterns import compiled
from flotilla.api.quantities import InvalidQuantityError, parse_quantity

QUANTITY, SEMVER = "kubernetes.Quantity", "kubernetes.Semver"


def _is_sorted(items: Sequence[Any]) -> bool:
    return all(left <= right for left, right in pairwise(items))


def _index_of(whole: Any, part: Any, start: int = 0) -> int:
    if isinstance(whole, str):
        if not 0 <= start <= len(whole):
            raise ValueError(f"index out of range: {start}")
        return whole.find(part, start)
    return next((index for index, item in enumerate(whole) if item == part), -1)


def _last_index_of(whole: Any, part: Any, start: int | None = None) -> int:
    if isinstance(whole, str):
        return whole.rfind(part, 0, None if start is None else start + len(part))
    return next((index for index in range(len(whole) - 1, -1, -1) if whole[index] == part), -1)


def _smallest(items: Sequence[Any]) -> Any:
    if not items:
        raise ValueError("min called on empty list")
    return min(items)


def _largest(items: Sequence[Any]) -> Any:
    if not items:
        raise ValueError("max called on empty list")
    return max(items)


def _find(text: str, pattern: str) -> str:
    match = compiled(pattern).search(text)
    return str(match.group(0)) if match is not None else ""


def _find_all(text: str, pattern: str, most: int = -1) -> list[str]:
    found = [str(match.group(0)) for match in compiled(pattern).finditer(text)]
    return found if most < 0 else found[:most]


def _quantity(text: str) -> dict[str, str]:
    try:
        return tagged(QUANTITY, str(parse_quantity(text)))
    except InvalidQuantityError as error:
        raise ValueError(str(error)) from error


def _is_quantity(text: str) -> bool:
    try:
        parse_quantity(text)
    except InvalidQuantityError:
        return False
    return True


def _number(value: Any) -> Fraction:
    return Fraction(value_of(value, QUANTITY))


def _operand(value: Any) -> Fraction:
    return Fraction(value) if isinstance(value, int) else _number(value)


def _sum_of(left: Any, right: Any) -> dict[str, str]:
    return tagged(QUANTITY, str(_number(left) + _operand(right)))


def _difference(left: Any, right: Any) -> dict[str, str]:
    return tagged(QUANTITY, str(_number(left) - _operand(right)))


def _as_integer(value: Any) -> int:
    if not _is_integer(value):
        raise ValueError("cannot convert value to integer")
    return int(_number(value))


def _is_integer(value: Any) -> bool:
    number = _number(value)
    return number.denominator == 1 and -(2**63) <= number < 2**63


def _version(text: str) -> tuple[Any, ...]:
    core, _, pre = text.partition("+")[0].partition("-")
    parts = core.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError("No Major.Minor.Patch elements found")
    if any(part != str(int(part)) for part in parts):
        raise ValueError("Invalid character(s) found in version: leading zeroes")
    words = [(0, int(word), "") if word.isdigit() else (1, 0, word) for word in pre.split(".")] if pre else []
    return (*map(int, parts), not pre, words)


def _semver(text: str, normalize: bool = False) -> dict[str, str]:
    if normalize:
        text = text.removeprefix("v")
        core, separator, rest = text.partition("-")
        parts = [part.lstrip("0") or "0" for part in core.split(".")]
        text = ".".join([*parts, "0", "0"][: max(3, len(parts))]) + separator + rest
    _version(text)
    return tagged(SEMVER, text)


def _is_semver(text: str, normalize: bool = False) -> bool:
    try:
        _semver(text, normalize)
    except ValueError:
        return False
    return True


def _ordered(value: Any) -> Any:
    return _version(value_of(value, SEMVER)) if SEMVER in value else _number(value)


def _compared(left: Any, right: Any) -> int:
    first, second = _ordered(left), _ordered(right)
    return int(first > second) - int(first < second)


def _part(index: int) -> Callable[[Any], int]:
    return lambda value: int(_version(value_of(value, SEMVER))[index])


def _sign(value: Any) -> int:
    number = _number(value)
    return (number > 0) - (number < 0)


def _contains_all(whole: Sequence[Any], part: Sequence[Any]) -> bool:
    return all(item in whole for item in part)


FUNCTIONS: tuple[FunctionRow, ...] = (
    *STRING_FUNCTIONS,
    *NET_FUNCTIONS,
    *FORMAT_FUNCTIONS,
    FunctionRow("isSorted", ("list",), _is_sorted, result="bool"),
    FunctionRow("sum", ("list",), lambda items: sum(items) if items else 0),
    FunctionRow("min", ("list",), _smallest),
    FunctionRow("max", ("list",), _largest),
    FunctionRow("indexOf", ("string", "string"), _index_of, result="int"),
    FunctionRow("indexOf", ("list", "any"), _index_of, result="int"),
    FunctionRow("indexOf", ("string", "string", "int"), _index_of, result="int"),
    FunctionRow("lastIndexOf", ("string", "string"), _last_index_of, result="int"),
    FunctionRow("lastIndexOf", ("list", "any"), _last_index_of, result="int"),
    FunctionRow("lastIndexOf", ("string", "string", "int"), _last_index_of, result="int"),
    FunctionRow("find", ("string", "string"), _find, result="string"),
    FunctionRow("findAll", ("string", "string"), _find_all),
    FunctionRow("findAll", ("string", "string", "int"), _find_all),
    FunctionRow("sets.contains", ("list", "list"), _contains_all, result="bool", member=False),
    FunctionRow(
        "sets.equivalent",
        ("list", "list"),
        lambda a, b: _contains_all(a, b) and _contains_all(b, a),
        result="bool",
        member=False,
    ),
    FunctionRow(
        "sets.intersects", ("list", "list"), lambda a, b: any(item in b for item in a), result="bool", member=False
    ),
    FunctionRow("quantity", ("string",), _quantity, member=False),
    FunctionRow("isQuantity", ("string",), _is_quantity, result="bool", member=False),
    FunctionRow("sign", ("map",), _sign, result="int"),
    FunctionRow("isInteger", ("map",), _is_integer, result="bool"),
    FunctionRow("asInteger", ("map",), _as_integer, result="int"),
    FunctionRow("asApproximateFloat", ("map",), lambda value: float(_number(value)), result="double"),
    FunctionRow("add", ("map", "any"), _sum_of),
    FunctionRow("sub", ("map", "any"), _difference),
    FunctionRow("semver", ("string",), _semver, member=False),
    FunctionRow("semver", ("string", "bool"), _semver, member=False),
    FunctionRow("isSemver", ("string",), _is_semver, result="bool", member=False),
    FunctionRow("isSemver", ("string", "bool"), _is_semver, result="bool", member=False),
    FunctionRow("major", ("map",), _part(0), result="int"),
    FunctionRow("minor", ("map",), _part(1), result="int"),
    FunctionRow("patch", ("map",), _part(2), result="int"),
    FunctionRow("compareTo", ("map", "map"), _compared, result="int"),
    FunctionRow("isGreaterThan", ("map", "map"), lambda a, b: _compared(a, b) > 0, result="bool"),
    FunctionRow("isLessThan", ("map", "map"), lambda a, b: _compared(a, b) < 0, result="bool"),
)
