"""Where rules are compiled: Google's own CEL with the functions of Kubernetes.

The library takes 16 MB once it is loaded, so it is loaded with the first definition that has rules. It ends a rule that
walks through more than ten thousand items, and the environments here add no function that could take much longer than
its arguments are long. Compiled programs hold no state and are kept with the schema that they belong to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

from flotilla.api.crd.cel_formats import with_optionals
from flotilla.api.crd.cel_functions import FUNCTIONS
from flotilla.api.crd.cel_tags import FunctionRow
from flotilla.api.crd.structural import Node

if TYPE_CHECKING:
    from types import ModuleType

SELF, OLD_SELF, OLD_SELVES = "self", "oldSelf", "oldSelves__"
_OPTIONAL_OLD = f"cel.bind({OLD_SELF}, {OLD_SELVES}.size() > 0 ? optional.of({OLD_SELVES}[0]) : optional.none(), "
_FORMATS = {
    "byte": "BYTES",
    "date": "TIMESTAMP",
    "date-time": "TIMESTAMP",
    "datetime": "TIMESTAMP",
    "duration": "DURATION",
}
_ANY = ("bool", "bytes", "double", "duration", "int", "list", "map", "string", "timestamp", "uint")
_NO_KEY = re.compile(r'NOT_FOUND: Key not found in map : "(.*)"', re.DOTALL)
_NO_OVERLOAD = re.compile(r"UNKNOWN: No matching overloads found : (.*)", re.DOTALL)
_CODE = re.compile(r"^[A-Z_]+: ")
_BUDGET = "Iteration budget exceeded"


class CompilationError(ValueError):
    """An expression is no valid CEL, or gives a value of the wrong type."""


class EvaluationError(ValueError):
    """An expression has no value for this object."""


class BudgetError(EvaluationError):
    """An expression takes too many steps."""


@cache
def _cel() -> ModuleType:
    from cel_expr_python import cel

    return cel  # type: ignore[no-any-return]


@cache
def _extensions() -> tuple[Any, ...]:
    from cel_expr_python.ext import ext_bindings, ext_optional

    return ext_optional.ExtOptional(), ext_bindings.ExtBindings()


@cache
def _types() -> dict[str, Any]:
    types = _cel().Type
    plain = ("bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "uint")
    named = {name: getattr(types, name.upper()) for name in plain}
    map_ = types.Map(types.DYN, types.DYN)
    lists = {"list": types.DYN, "strings": types.STRING, "lists": types.List(types.STRING), "maps": map_}
    return named | {name: types.List(item) for name, item in lists.items()} | {"map": map_}


def _overloads(row: FunctionRow) -> list[Any]:
    """The library matches arguments with declared types only, so ``any`` is one overload for each type."""
    types = _types()
    kind = "member" if row.member else "global"
    return [
        _cel().Overload(
            "_".join([row.name, kind, *chosen]),
            return_type=types[row.result],
            parameters=[types[name] for name in chosen],
            is_member=row.member,
            impl=row.implementation,
        )
        for chosen in product(*(_ANY if name == "any" else (name,) for name in row.parameters))
    ]


@cache
def _functions() -> list[Any]:
    overloads: dict[str, list[Any]] = {}
    for row in FUNCTIONS:
        overloads.setdefault(row.name, []).extend(_overloads(row))
    return [_cel().FunctionDecl(name, rows) for name, rows in overloads.items()]


def _type_of(node: Node) -> str:
    """The type that ``self`` is declared with, as far as it can be said; numbers compare across their types."""
    if node.nullable or node.int_or_string:
        return "DYN"
    if node.type == "string":
        return _FORMATS.get(node.checks.get("format", ""), "STRING")
    return {"boolean": "BOOL", "array": "LIST", "object": "MAP"}.get(node.type, "DYN")


@cache
def _environment(type_: str, olds: str) -> Any:
    """``olds`` is the name under which the old value is known, ``""`` where it isn't."""
    cel = _cel()
    declared = {
        "LIST": cel.Type.List(cel.Type.DYN),
        "MAP": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
    }.get(type_) or getattr(cel.Type, type_)
    variables = {SELF: declared}
    if olds == OLD_SELF:
        variables[OLD_SELF] = declared
    elif olds == OLD_SELVES:
        variables[OLD_SELVES] = cel.Type.List(declared)
    return cel.NewEnv(variables=variables, extensions=list(_extensions()), functions=_functions())


class Program:
    """One expression, compiled for the values of one node."""

    __slots__ = ("_expression", "needs_old")

    def __init__(self, text: str, node: Node, *, wanted: str, optional_old: bool) -> None:
        """``wanted`` is the name of the type that the expression must give. CompilationError."""
        type_, text = _type_of(node), with_optionals(text)
        if optional_old:
            self._expression = _compiled(f"{_OPTIONAL_OLD}\n{text}\n)", type_, OLD_SELVES)
            self.needs_old = False
        else:
            try:
                self._expression, self.needs_old = _compiled(text, type_, ""), False
            except CompilationError:
                self._expression, self.needs_old = _compiled(text, type_, OLD_SELF), True
        found = self._expression.return_type().name()
        if found not in (wanted, "DYN"):
            raise CompilationError(f"must evaluate to a {wanted.lower()}")

    def value(self, variables: Mapping[str, Any]) -> Any:
        """What the expression gives. EvaluationError, BudgetError."""
        try:
            result = self._expression.eval(data=variables)
        except RuntimeError as error:
            text = str(error)
            raise (BudgetError if _BUDGET in text else EvaluationError)(_plain(text)) from error
        if result.type().name() == "ERROR":
            raise EvaluationError(_plain(str(result.value())))
        return result.plain_value()


def _compiled(text: str, type_: str, olds: str) -> Any:
    try:
        return _environment(type_, olds).compile(text)
    except RuntimeError as error:
        message = str(error).removeprefix("INVALID_ARGUMENT: ").removesuffix(" [INVALID_ARGUMENT]")
        raise CompilationError(f"compilation failed: {message}") from error


def _plain(text: str) -> str:
    """An error in the words of cel-go."""
    if match := _NO_KEY.search(text):
        return f"no such key: {match[1]}"
    if match := _NO_OVERLOAD.search(text):
        return f"no such overload: {match[1]}"
    return _CODE.sub("", text)
