"""Custom objects against their schema, compiled once into closures.

``old`` travels along: where the stored object already had the very same value, nothing is said about it, so that an
object that was valid once can still be edited after its schema became stricter (Kubernetes' ratcheting).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flotilla.api.crd.faults import place, wrong, wrong_format, wrong_type, wrong_whole
from flotilla.api.crd.formats import FORMATS
from flotilla.api.crd.patterns import compiled
from flotilla.api.crd.structural import INT_OR_STRING, LIST_MAP_KEYS, LIST_TYPE, Schema
from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import duplicate, required, shown, too_many
from flotilla.api.objects import encode
from flotilla.api.schema_check import Path

MISSING: Any = object()
"""The old value of what was not there, or can't be told."""

Errors = list[FieldError]
Checker = Callable[[Any, Any, Path, Errors], None]


def same(value: Any, old: Any) -> bool:
    """Whether two JSON values are the same; true is not 1."""
    return bool(value == old) and encode(value) == encode(old)


def correlate(items: Sequence[Any], old: Any, keys: Sequence[str]) -> list[Any]:
    """For each item of a list that is a map by ``keys``, the old item with the same key."""
    if not keys or not isinstance(old, list):
        return [MISSING] * len(items)
    known = {item_key(item, keys): item for item in old if isinstance(item, dict)}
    return [known.get(item_key(item, keys), MISSING) if isinstance(item, dict) else MISSING for item in items]


def item_key(item: Mapping[str, Any], keys: Sequence[str]) -> bytes:
    return encode([item.get(key) for key in keys])


def compile_schema(schema: Schema) -> Checker:
    """A function that adds what is wrong with a value to a list of errors."""
    checkers = [
        checker
        for checker in (
            *_scalar_checkers(schema),
            _object_checker(schema),
            _list_checker(schema),
            *_composition_checkers(schema),
        )
        if checker is not None
    ]
    types = _types(schema)
    nullable = schema.get("nullable") is True
    wanted = schema.get("type") or ""

    def check(value: Any, old: Any, path: Path, errors: Errors) -> None:
        if old is not MISSING and same(value, old):
            return
        if value is None and nullable:
            return
        if types is not None and not _has_type(value, types):
            errors.append(wrong_type(path, value, wanted))
            return
        for checker in checkers:
            checker(value, old, path, errors)

    return check


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int, float),
    "number": (int, float),
}


def _types(schema: Schema) -> tuple[str, tuple[type, ...]] | None:
    name = schema.get("type") or ""
    return (name, _TYPES[name]) if name in _TYPES else None


def _has_type(value: Any, types: tuple[str, tuple[type, ...]]) -> bool:
    name, classes = types
    if type(value) not in classes:
        return False
    return name != "integer" or type(value) is int or value.is_integer()


def _scalar_checkers(schema: Schema) -> list[Checker]:
    checkers: list[Checker] = []
    if "enum" in schema:
        checkers.append(_enum(schema["enum"]))
    if any(word in schema for word in ("minimum", "maximum", "multipleOf")):
        checkers.append(_number(schema))
    if any(word in schema for word in ("minLength", "maxLength", "pattern")) or schema.get("format") in FORMATS:
        checkers.append(_string(schema))
    return checkers


def _enum(values: Sequence[Any]) -> Checker:
    allowed = {encode(value) for value in values}
    listed = ", ".join(f'"{value}"' if isinstance(value, str) else shown(value) for value in values)

    def check(value: Any, old: Any, path: Path, errors: Errors) -> None:
        if encode(value) not in allowed:
            message = f"Unsupported value: {shown(value)}: supported values: {listed}"
            errors.append(FieldError(place(path), message, "FieldValueNotSupported"))

    return check


def _number(schema: Schema) -> Checker:
    lowest, highest, step = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    above, below = schema.get("exclusiveMinimum") is True, schema.get("exclusiveMaximum") is True

    def check(value: Any, old: Any, path: Path, errors: Errors) -> None:
        if type(value) not in (int, float):
            return
        if highest is not None and (value > highest or (below and value == highest)):
            word = "less than" if below else "less than or equal to"
            errors.append(wrong(path, value, f"should be {word} {highest}"))
        if lowest is not None and (value < lowest or (above and value == lowest)):
            word = "greater than" if above else "greater than or equal to"
            errors.append(wrong(path, value, f"should be {word} {lowest}"))
        if step and not float(value / step).is_integer():
            errors.append(wrong(path, value, f"should be a multiple of {step}"))

    return check


def _string(schema: Schema) -> Checker:
    shortest, longest = schema.get("minLength"), schema.get("maxLength")
    pattern, format_ = schema.get("pattern"), schema.get("format", "")
    expression = compiled(pattern) if pattern else None
    fits = FORMATS.get(format_)

    def check(value: Any, old: Any, path: Path, errors: Errors) -> None:
        if type(value) is not str:
            return
        if longest is not None and len(value) > longest:
            errors.append(
                FieldError(place(path), f"Too long: may not be more than {longest} bytes", "FieldValueTooLong")
            )
        if shortest is not None and len(value) < shortest:
            errors.append(wrong(path, value, f"should be at least {shortest} chars long"))
        if expression is not None and expression.search(value) is None:
            errors.append(wrong(path, value, f"should match '{pattern}'"))
        if fits is not None and not fits(value):
            errors.append(wrong_format(path, value, format_))

    return check


def _object_checker(schema: Schema) -> Checker | None:
    fields = {name: compile_schema(part) for name, part in (schema.get("properties") or {}).items()}
    additional = schema.get("additionalProperties")
    values = compile_schema(additional) if isinstance(additional, dict) else None
    closed = additional is False
    needed = tuple(schema.get("required") or ())
    fewest, most = schema.get("minProperties"), schema.get("maxProperties")
    if not fields and values is None and not needed and fewest is None and most is None and not closed:
        return None

    def check(value: Any, old: Any, path: Path, errors: Errors) -> None:
        if type(value) is not dict:
            return
        was = old if type(old) is dict else {}
        for name, child in value.items():
            checker = fields.get(name, values)
            if checker is not None:
                checker(child, was.get(name, MISSING), (path, name), errors)
            elif closed:
                errors.append(wrong((path, name), "", "is a forbidden property"))
        errors.extend(required(place((path, name))) for name in needed if name not in value)
        if most is not None and len(value) > most:
            errors.append(too_many(place(path), len(value), most))
        if fewest is not None and len(value) < fewest:
            errors.append(wrong(path, "object", f"should have at least {fewest} properties"))

    return check


def _list_checker(schema: Schema) -> Checker | None:
    raw = schema.get("items")
    item = compile_schema(raw) if isinstance(raw, dict) else None
    fewest, most = schema.get("minItems"), schema.get("maxItems")
    keys = tuple(schema.get(LIST_MAP_KEYS) or ())
    unique = _uniqueness(schema.get(LIST_TYPE) or "", keys)
    if item is None and fewest is None and most is None and unique is None:
        return None

    def check(value: Any, old: Any, path: Path, errors: Errors) -> None:
        if type(value) is not list:
            return
        if most is not None and len(value) > most:
            errors.append(too_many(place(path), len(value), most))
        if fewest is not None and len(value) < fewest:
            errors.append(wrong(path, len(value), f"should have at least {fewest} items"))
        if item is not None:
            for index, (each, was) in enumerate(zip(value, correlate(value, old, keys), strict=True)):
                item(each, was, (path, index), errors)
        if unique is not None:
            _check_unique(value, unique, keys, path, errors)

    return check


def _uniqueness(list_type: str, keys: Sequence[str]) -> Callable[[Any], bytes] | None:
    """What must tell the items of a list apart, None where they may repeat."""
    if list_type == "set":
        return encode
    return (lambda item: item_key(item, keys)) if list_type == "map" else None


def _check_unique(
    items: Sequence[Any], key_of: Callable[[Any], bytes], keys: Sequence[str], path: Path, errors: Errors
) -> None:
    seen: set[bytes] = set()
    for index, each in enumerate(items):
        if keys and type(each) is not dict:
            continue
        key = key_of(each)
        if key in seen:
            named = {name: each[name] for name in keys if name in each} if keys else each
            errors.append(duplicate(place((path, index)), named))
        seen.add(key)


def _composition_checkers(schema: Schema) -> list[Checker]:
    checkers: list[Checker] = []
    if schema.get("allOf"):
        checkers.append(_all_of([compile_schema(part) for part in schema["allOf"]]))
    if schema.get("anyOf") and not _is_int_or_string(schema):
        checkers.append(_any_of([compile_schema(part) for part in schema["anyOf"]]))
    if schema.get("oneOf"):
        checkers.append(_one_of([compile_schema(part) for part in schema["oneOf"]]))
    if schema.get("not") is not None:
        checkers.append(_not(compile_schema(schema["not"])))
    if schema.get(INT_OR_STRING) is True:
        checkers.append(_int_or_string)
    return checkers


def _is_int_or_string(schema: Schema) -> bool:
    parts = schema["anyOf"]
    return schema.get(INT_OR_STRING) is True and [dict(part) for part in parts] == [
        {"type": "integer"},
        {"type": "string"},
    ]


def _int_or_string(value: Any, old: Any, path: Path, errors: Errors) -> None:
    if type(value) not in (int, str) and not (type(value) is float and value.is_integer()):
        errors.append(wrong_type(path, value, "integer,string"))


def _faults(checker: Checker, value: Any, path: Path) -> Errors:
    errors: Errors = []
    checker(value, MISSING, path, errors)
    return errors


def _all_of(parts: Sequence[Checker]) -> Checker:
    def check(value: Any, old: Any, path: Path, errors: Errors) -> None:
        failures = [found for part in parts if (found := _faults(part, value, path))]
        if failures:
            none = ". None validated" if len(failures) == len(parts) else ""
            errors.append(wrong_whole(path, f"must validate all the schemas (allOf){none}"))
            errors.extend(error for found in failures for error in found)

    return check


def _any_of(parts: Sequence[Checker]) -> Checker:
    def check(value: Any, old: Any, path: Path, errors: Errors) -> None:
        best: Errors = []
        for part in parts:
            found = _faults(part, value, path)
            if not found:
                return
            best = found if not best or len(found) < len(best) else best
        errors.append(wrong_whole(path, "must validate at least one schema (anyOf)"))
        errors.extend(best)

    return check


def _one_of(parts: Sequence[Checker]) -> Checker:
    def check(value: Any, old: Any, path: Path, errors: Errors) -> None:
        results = [_faults(part, value, path) for part in parts]
        valid = sum(not found for found in results)
        if valid == 1:
            return
        if valid:
            why = f"Found {valid} valid alternatives"
            errors.append(wrong_whole(path, f"must validate one and only one schema (oneOf). {why}"))
            return
        errors.append(wrong_whole(path, "must validate one and only one schema (oneOf). Found none valid"))
        closest: Errors = min(results, key=len)
        errors.extend(closest)

    return check


def _not(part: Checker) -> Checker:
    def check(value: Any, old: Any, path: Path, errors: Errors) -> None:
        if not _faults(part, value, path):
            errors.append(wrong_whole(path, "must not validate the schema (not)"))

    return check
