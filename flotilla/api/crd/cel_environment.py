"""Where rules are compiled: Google's own CEL with the functions of Kubernetes.

The library takes 16 MB once it is loaded, so it is loaded with the first definition that has rules. It ends an
evaluation of more than ten thousand steps, which then goes on in pieces, and the environments here add no function that
could take much longer than its arguments are long. Compiled programs are kept with the schema that they belong to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

from flotilla.api.crd.cel_errors import BudgetError, CompilationError, EvaluationError
from flotilla.api.crd.cel_formats import with_optionals
from flotilla.api.crd.cel_functions import FUNCTIONS
from flotilla.api.crd.cel_pieces import Pieces
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

    __slots__ = ("_environment", "_expression", "_pieces", "needs_old")

    def __init__(self, text: str, node: Node, *, wanted: str, optional_old: bool) -> None:
        """``wanted`` is the name of the type that the expression must give. CompilationError."""
        type_, text = _type_of(node), with_optionals(text)
        self._pieces: Pieces | None = None
        if optional_old:
            self._compile(f"{_OPTIONAL_OLD}\n{text}\n)", type_, OLD_SELVES)
            self.needs_old = False
        else:
            try:
                self._compile(text, type_, "")
                self.needs_old = False
            except CompilationError:
                self._compile(text, type_, OLD_SELF)
                self.needs_old = True
        found = self._expression.return_type().name()
        if found not in (wanted, "DYN"):
            raise CompilationError(f"must evaluate to a {wanted.lower()}")

    def _compile(self, text: str, type_: str, olds: str) -> None:
        self._environment = _environment(type_, olds)
        try:
            self._expression = self._environment.compile(text)
        except RuntimeError as error:
            message = str(error).removeprefix("INVALID_ARGUMENT: ").removesuffix(" [INVALID_ARGUMENT]")
            raise CompilationError(f"compilation failed: {message}") from error

    def value(self, variables: Mapping[str, Any], *, until: float) -> Any:
        """What the expression gives; ``until`` is processor time of the thread. EvaluationError, BudgetError."""
        try:
            return _run(self._expression, variables)
        except BudgetError:
            return self.in_pieces().value(variables, until=until)

    def in_pieces(self) -> Pieces:
        """The expression for values that it takes too many steps for at once."""
        if self._pieces is None:
            self._pieces = Pieces(self._environment, self._expression.serialize(), _run)
        return self._pieces


def _run(expression: Any, variables: Mapping[str, Any]) -> Any:
    try:
        result = expression.eval(data=variables)
    except RuntimeError as error:
        text = str(error)
        raise (BudgetError if _BUDGET in text else EvaluationError)(_plain(text)) from error
    if result.type().name() == "ERROR":
        text = str(result.value())
        raise (BudgetError if _BUDGET in text else EvaluationError)(_plain(text))
    try:
        return result.plain_value()
    except (AssertionError, TypeError, SystemError) as error:
        raise BudgetError from error


def _plain(text: str) -> str:
    """An error in the words of cel-go."""
    if match := _NO_KEY.search(text):
        return f"no such key: {match[1]}"
    if match := _NO_OVERLOAD.search(text):
        return f"no such overload: {match[1]}"
    return _CODE.sub("", text)
