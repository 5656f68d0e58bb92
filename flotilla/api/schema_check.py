"""Strict structural checks of decoded objects: unknown fields, wrong types, required fields.

Each definition becomes a tree of closures once; a check then costs a dictionary look-up and a type test for each
field. Paths are linked tuples that only a fault turns into text. A null field counts as absent, as in Kubernetes.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable
from functools import cache
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.objects import KubeObject, parse_time
from flotilla.api.quantities import InvalidQuantityError, parse_quantity
from flotilla.api.schema_report import SchemaReport
from flotilla.api.schema_source import Schema, definition, reference_of

_UTIL = "io.k8s.apimachinery.pkg."
_OPAQUE = frozenset({f"{_UTIL}apis.meta.v1.FieldsV1"})
_TIMES = frozenset({f"{_UTIL}apis.meta.v1.Time", f"{_UTIL}apis.meta.v1.MicroTime"})
_QUANTITY = f"{_UTIL}api.resource.Quantity"
_INT_OR_STRING = f"{_UTIL}util.intstr.IntOrString"
_STATUS_SUFFIXES = ("Status", "Condition", "SystemInfo", "State", "StateTerminated")
# Fields that the schema calls required although their zero value is valid and Go's decoder supplies it.
_ZERO_IS_VALID = frozenset(
    {
        ("io.k8s.api.core.v1.HTTPHeader", "value"),
        ("io.k8s.api.core.v1.Sysctl", "value"),
        ("io.k8s.api.core.v1.SleepAction", "seconds"),
        ("io.k8s.api.core.v1.Event", "metadata"),
        ("io.k8s.api.core.v1.Event", "involvedObject"),
        ("io.k8s.api.discovery.v1.EndpointSlice", "endpoints"),
    }
)
# Groups whose validators say themselves what is missing, in Kubernetes' words, and which of it has a default.
_STATED_BY_VALIDATORS = tuple(
    f"io.k8s.api.{group}.v1."
    for group in ("certificates", "networking", "node", "policy", "rbac", "scheduling", "storage")
)
_SCHEMA = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
_ALTERNATIVES: dict[str, type] = {f"{_SCHEMA}OrBool": bool, f"{_SCHEMA}OrArray": list, f"{_SCHEMA}OrStringArray": list}
_INTEGER_BOUNDS = {"int32": 2**31, "int64": 2**63}
_NAMES = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "an integer", float: "a number"}

Path = tuple[Any, ...]
Checker = Callable[[Any, Path, "SchemaReport"], None]


def path_text(path: Path, *, dotted: bool = False) -> str:
    """The text of a linked path: ``(((), "spec"), "replicas")`` is ``spec.replicas``.

    ``(key,)`` is a map's key, which stands in brackets unless it shall be ``dotted`` like a field.
    """
    parts: list[str] = []
    while path:
        path, step = path
        key = step[0] if isinstance(step, tuple) else step
        plain = isinstance(step, str) or (dotted and isinstance(step, tuple))
        parts.append(f".{key}" if plain else f"[{key}]")
    return "".join(reversed(parts)).removeprefix(".")


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 64 else text[:64] + "..."


def _mismatch(expected: str, value: Any, path: Path, report: SchemaReport) -> None:
    found = "null" if value is None else _NAMES[type(value)]
    message = f"Invalid value: {_shown(value)}: must be {expected}, not {found}"
    report.errors.append(FieldError(path_text(path), message, "FieldValueTypeInvalid"))


def _malformed(why: str, value: Any, path: Path, report: SchemaReport) -> None:
    message = f"Invalid value: {_shown(value)}: {why}"
    report.errors.append(FieldError(path_text(path), message, "FieldValueTypeInvalid"))


def _check_anything(value: Any, path: Path, report: SchemaReport) -> None:
    """Accepts everything."""


def _exactly(type_: type) -> Checker:
    expected = _NAMES[type_]

    def check_exactly(value: Any, path: Path, report: SchemaReport) -> None:
        if type(value) is not type_:
            _mismatch(expected, value, path, report)

    return check_exactly


def _integer(format_: str) -> Checker:
    bound = _INTEGER_BOUNDS[format_]

    def check_integer(value: Any, path: Path, report: SchemaReport) -> None:
        if type(value) is not int:
            _mismatch("an integer", value, path, report)
        elif not -bound <= value < bound:
            _malformed(f"must be an {format_}", value, path, report)

    return check_integer


def _check_number(value: Any, path: Path, report: SchemaReport) -> None:
    if type(value) not in (int, float):
        _mismatch("a number", value, path, report)


def _check_quantity(value: Any, path: Path, report: SchemaReport) -> None:
    if type(value) not in (str, int, float):
        _mismatch("a quantity", value, path, report)
        return
    try:
        parse_quantity(value)
    except InvalidQuantityError:
        why = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        _malformed(why, value, path, report)


def _check_int_or_string(value: Any, path: Path, report: SchemaReport) -> None:
    if type(value) is int:
        if not -(2**31) <= value < 2**31:
            _malformed("must be an int32", value, path, report)
    elif type(value) is not str:
        _mismatch("an integer or a string", value, path, report)


def _check_time(value: Any, path: Path, report: SchemaReport) -> None:
    if type(value) is not str:
        _mismatch("a time", value, path, report)
        return
    try:
        valid = parse_time(value).tzinfo is not None and value[10:11] == "T"
    except ValueError:
        valid = False
    if not valid:
        _malformed("must be an RFC 3339 time such as 2006-01-02T15:04:05Z", value, path, report)


def _check_base64(value: Any, path: Path, report: SchemaReport) -> None:
    if type(value) is not str:
        _mismatch("a base64 string", value, path, report)
        return
    try:
        binascii.a2b_base64(value.replace("\n", "").replace("\r", ""), strict_mode=True)
    except ValueError:
        report.errors.append(FieldError(path_text(path), "illegal base64 data", "FieldValueTypeInvalid"))


def _list_of(item: Checker) -> Checker:
    def check_list(value: Any, path: Path, report: SchemaReport) -> None:
        if type(value) is not list:
            _mismatch("a list", value, path, report)
            return
        for index, each in enumerate(value):
            item(each, (path, index), report)

    return check_list


def _map_of(item: Checker) -> Checker:
    def check_map(value: Any, path: Path, report: SchemaReport) -> None:
        if type(value) is not dict:
            _mismatch("an object", value, path, report)
            return
        for key, each in value.items():
            if each is not None:
                item(each, (path, (key,)), report)

    return check_map


def _object_of(name: str, schema: Schema) -> Checker:
    fields = {key: _compile(part) for key, part in schema["properties"].items()}
    required = (
        ()
        if name.endswith(_STATUS_SUFFIXES) or name.startswith(_STATED_BY_VALIDATORS)
        else tuple(key for key in schema.get("required", ()) if (name, key) not in _ZERO_IS_VALID)
    )

    def check_object(value: Any, path: Path, report: SchemaReport) -> None:
        if type(value) is not dict:
            _mismatch("an object", value, path, report)
            return
        for key, each in value.items():
            checker = fields.get(key)
            if checker is None:
                report.unknown.append(path_text((path, key), dotted=True))
                report.strays.append((value, key))
            elif each is not None:
                checker(each, (path, key), report)
        for key in required:
            if value.get(key) is None:
                report.errors.append(FieldError(path_text((path, key)), "Required value", "FieldValueRequired"))

    return check_object


def _reference(name: str) -> Checker:
    """Resolved at the first use, because definitions may refer to themselves."""
    resolved: list[Checker] = []

    def check_reference(value: Any, path: Path, report: SchemaReport) -> None:
        if not resolved:
            resolved.append(_checker(name))
        resolved[0](value, path, report)

    return check_reference


def _schema_or(other: type) -> Checker:
    """For what may be a schema or something simpler, of which the published schema says nothing."""
    check_schema = _reference(_SCHEMA)

    def check_either(value: Any, path: Path, report: SchemaReport) -> None:
        if type(value) is dict:
            check_schema(value, path, report)
        elif type(value) is not other:
            _mismatch(f"a schema or {_NAMES[other]}", value, path, report)

    return check_either


_SCALARS: dict[tuple[str, str], Checker] = {
    ("string", ""): _exactly(str),
    ("string", "byte"): _check_base64,
    ("boolean", ""): _exactly(bool),
    ("number", "double"): _check_number,
    ("integer", "int32"): _integer("int32"),
    ("integer", "int64"): _integer("int64"),
}


def _special(name: str) -> Checker | None:
    if name in _OPAQUE:
        return _exactly(dict)
    if name in _TIMES:
        return _check_time
    if name in _ALTERNATIVES:
        return _schema_or(_ALTERNATIVES[name])
    return {_QUANTITY: _check_quantity, _INT_OR_STRING: _check_int_or_string}.get(name)


def _compile(schema: Schema, name: str = "") -> Checker:
    reference = reference_of(schema)
    if reference:
        return _special(reference) or _reference(reference)
    listed = schema.get("type", "")
    kind = listed if isinstance(listed, str) else listed[0]
    if kind == "array":
        return _list_of(_compile(schema["items"]))
    if kind == "object":
        if "properties" in schema:
            return _object_of(name, schema)
        values = schema.get("additionalProperties")
        return _map_of(_compile(values)) if isinstance(values, dict) else _exactly(dict)
    return _SCALARS.get((kind, schema.get("format", "")), _check_anything)


@cache
def _checker(name: str) -> Checker:
    return _special(name) or _compile(definition(name), name)


def check(name: str, obj: KubeObject) -> SchemaReport:
    """Compare a decoded object with the definition of that name; KeyError if there is none."""
    report = SchemaReport()
    _checker(name)(obj, (), report)
    return report


def drop_nulls(value: Any) -> None:
    """Remove null fields, which mean the same as absent ones, from a decoded object in place."""
    if type(value) is dict:
        for key in [key for key, each in value.items() if each is None]:
            del value[key]
        for each in value.values():
            if type(each) in (dict, list):
                drop_nulls(each)
    else:
        for each in value:
            if type(each) in (dict, list):
                drop_nulls(each)
