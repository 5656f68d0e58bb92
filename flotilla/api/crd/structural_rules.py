"""What makes a schema structural, and which words of OpenAPI it may not use.

Every place must have a type outside of the compositions (allOf, anyOf, oneOf, not), which may then only judge values.
Source: ``pkg/apiserver/schema/validation.go`` and ``complete.go``, ``pkg/apis/apiextensions/validation``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flotilla.api.crd.patterns import InvalidPatternError, compiled
from flotilla.api.crd.structural import (
    EMBEDDED,
    INT_OR_STRING,
    LIST_MAP_KEYS,
    LIST_TYPE,
    MAP_TYPE,
    PRESERVE,
    RULES,
    Schema,
)
from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import forbidden, invalid, required, unsupported

DEEPEST = 200
ROOT, ITEM, FIELD = "root", "item", "field"
_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_UNTYPED = {
    ROOT: "must not be empty at the root",
    ITEM: "must not be empty for specified array items",
    FIELD: "must not be empty for specified object fields",
}
_NO_WORDS = ("additionalItems", "definitions", "dependencies", "id", "patternProperties", "$ref")
_NOT_IN_COMPOSITIONS = {
    "type": "must be empty to be structural",
    "additionalProperties": "must be undefined to be structural",
    "default": "must be undefined to be structural",
    "title": "must be empty to be structural",
    "description": "must be empty to be structural",
    "nullable": "must be false to be structural",
    "externalDocs": "must be undefined to be structural",
    PRESERVE: "must be false to be structural",
    EMBEDDED: "must be false to be structural",
    INT_OR_STRING: "must be false to be structural",
    LIST_MAP_KEYS: "must be empty to be structural",
    LIST_TYPE: "must be undefined to be structural",
    MAP_TYPE: "must be undefined to be structural",
    RULES: "must be empty to be structural",
}
_EITHER = [{"type": "integer"}, {"type": "string"}]
_COMPOSITIONS = ("allOf", "anyOf", "oneOf")
_PLAIN_WORDS = frozenset(
    {
        *("type", "description", "properties", "items", "required", "format", "enum", "default", "nullable", "title"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength"),
        *("minItems", "maxItems", "minProperties", "maxProperties", "example", RULES),
    }
)

Errors = list[FieldError]


def structural_faults(schema: Schema, path: str) -> Errors:
    """Everything that keeps a schema from being structural, in the order of the fields."""
    errors: Errors = []
    if _depth(schema) > DEEPEST:
        return [forbidden(path, f"must not be nested more than {DEEPEST} levels deep")]
    _check(schema, path, ROOT, errors)
    return sorted(errors, key=str)


def _depth(schema: Any) -> int:
    """How deep the JSON of a schema is nested."""
    deepest, waiting = 0, [(schema, 1)]
    while waiting and deepest <= DEEPEST:
        value, depth = waiting.pop()
        deepest = max(deepest, depth)
        children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        waiting.extend((child, depth + 1) for child in children if isinstance(child, dict | list))
    return deepest


def _parts(schema: Schema) -> Iterator[tuple[str, str, Schema]]:
    """The schemas right below: the rest of the path, the level, the schema."""
    for name, part in (schema.get("properties") or {}).items():
        yield f".properties[{name}]", FIELD, part
    if isinstance(schema.get("items"), dict):
        yield ".items", ITEM, schema["items"]
    if isinstance(schema.get("additionalProperties"), dict):
        yield ".additionalProperties", FIELD, schema["additionalProperties"]


def _is_plain(schema: Schema, level: str) -> bool:
    """Whether nothing about the place itself can be wrong, as with nine in ten; definitions have thousands of them."""
    type_ = schema.get("type")
    if level == ROOT or type_ not in _TYPES or not schema.keys() <= _PLAIN_WORDS:
        return False
    return type_ != "array" or isinstance(schema.get("items"), dict)


def _check(schema: Schema, path: str, level: str, errors: Errors) -> None:
    if not _is_plain(schema, level):
        _check_words(schema, path, errors)
        _check_type(schema, path, level, errors)
        _check_extensions(schema, path, errors)
        _check_lists(schema, path, errors)
        _check_metadata(schema, path, level, errors)
        _check_compositions(schema, path, errors, outermost=True)
        _check_complete(schema, path, errors)
    for rest, below, part in _parts(schema):
        _check(part, path + rest, below, errors)


def _check_words(schema: Schema, path: str, errors: Errors) -> None:
    errors.extend(forbidden(f"{path}.{word}", f"{word} is not supported") for word in _NO_WORDS if word in schema)
    if schema.get("uniqueItems") is True:
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        errors.append(forbidden(f"{path}.uniqueItems", why))
    if isinstance(schema.get("items"), list):
        errors.append(forbidden(f"{path}.items", "items must be a schema object and not an array"))
    pattern = schema.get("pattern")
    if pattern:
        try:
            compiled(pattern)
        except InvalidPatternError as error:
            why = f"must be a valid regular expression, but isn't: {error}"
            errors.append(invalid(f"{path}.pattern", pattern, why))
    additional = schema.get("additionalProperties")
    if additional is False:
        errors.append(forbidden(f"{path}.additionalProperties", "additionalProperties cannot be set to false"))
    if schema.get("properties") and isinstance(additional, dict):
        why = "additionalProperties and properties are mutual exclusive"
        errors.append(forbidden(f"{path}.additionalProperties", why))


def _check_type(schema: Schema, path: str, level: str, errors: Errors) -> None:
    type_ = schema.get("type") or ""
    if type_ == "null":
        errors.append(forbidden(f"{path}.type", "type cannot be set to null, use nullable as an alternative"))
    elif type_ and type_ not in _TYPES:
        errors.append(unsupported(f"{path}.type", type_, _TYPES))
    if schema.get(EMBEDDED) is True and type_ != "object":
        why = f"must be object if {EMBEDDED} is true"
        errors.append(invalid(f"{path}.type", type_, why) if type_ else required(f"{path}.type", why))
    elif not type_ and schema.get(INT_OR_STRING) is not True and schema.get(PRESERVE) is not True:
        errors.append(required(f"{path}.type", _UNTYPED[level]))
    if level == ROOT and type_ and type_ != "object":
        errors.append(invalid(f"{path}.type", type_, "must be object at the root"))
    if level == ROOT and schema.get("additionalProperties") is not None:
        errors.append(forbidden(f"{path}.additionalProperties", "must not be used at the root"))
    if level == ROOT and schema.get("nullable") is True:
        errors.append(forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    if type_ == "array" and schema.get("items") is None:
        errors.append(required(f"{path}.items", "must be specified"))


def _check_extensions(schema: Schema, path: str, errors: Errors) -> None:
    if schema.get(PRESERVE) is False:
        errors.append(invalid(f"{path}.{PRESERVE}", False, "must be true or undefined"))
    if schema.get(INT_OR_STRING) is True:
        if schema.get("type"):
            errors.append(invalid(f"{path}.type", schema["type"], f"must be empty if {INT_OR_STRING} is true"))
        for word in (PRESERVE, EMBEDDED):
            if schema.get(word) is True:
                errors.append(invalid(f"{path}.{word}", True, f"must be false if {INT_OR_STRING} is true"))
    if schema.get(EMBEDDED) is True:
        if schema.get("additionalProperties") is not None:
            errors.append(forbidden(f"{path}.additionalProperties", f"must not be used if {EMBEDDED} is set"))
        if schema.get(PRESERVE) is not True and not schema.get("properties"):
            why = f"must not be empty if {EMBEDDED} is true without {PRESERVE}"
            errors.append(required(f"{path}.properties", why))
    map_type = schema.get(MAP_TYPE)
    if map_type is not None:
        if schema.get("type") != "object":
            errors.append(
                invalid(f"{path}.type", schema.get("type") or "", f"must be object if {MAP_TYPE} is specified")
            )
        if map_type not in ("atomic", "granular"):
            errors.append(unsupported(f"{path}.{MAP_TYPE}", map_type, ("atomic", "granular")))


def _check_lists(schema: Schema, path: str, errors: Errors) -> None:
    list_type, keys = schema.get(LIST_TYPE), schema.get(LIST_MAP_KEYS) or ()
    if list_type is None:
        if keys:
            errors.append(required(f"{path}.{LIST_TYPE}", f'must be "map" if {LIST_MAP_KEYS} is non-empty'))
        return
    if schema.get("type") != "array":
        why = f"must be array if {LIST_TYPE} is specified"
        errors.append(invalid(f"{path}.type", schema.get("type") or "", why))
    if list_type not in ("atomic", "set", "map"):
        errors.append(unsupported(f"{path}.{LIST_TYPE}", list_type, ("atomic", "set", "map")))
    items = schema.get("items")
    if list_type == "map":
        _check_map_keys(items if isinstance(items, dict) else {}, keys, path, errors)
    elif keys:
        errors.append(forbidden(f"{path}.{LIST_MAP_KEYS}", f"must be empty if {LIST_TYPE} is not map"))
    if list_type == "set" and isinstance(items, dict):
        _check_set_items(items, f"{path}.items", errors)


def _check_map_keys(items: Schema, keys: Any, path: str, errors: Errors) -> None:
    if not keys:
        errors.append(required(f"{path}.{LIST_MAP_KEYS}", f"must not be empty if {LIST_TYPE} is map"))
    if items.get("type") != "object":
        why = f"must be object if parent array's {LIST_TYPE} is map"
        errors.append(invalid(f"{path}.items.type", items.get("type") or "", why))
    properties = items.get("properties") or {}
    for index, key in enumerate(keys):
        found = properties.get(key)
        if key in keys[:index]:
            errors.append(invalid(f"{path}.{LIST_MAP_KEYS}[{index}]", key, "must not be repeated"))
        elif found is None:
            why = "entries must all be names of item properties"
            errors.append(invalid(f"{path}.{LIST_MAP_KEYS}[{index}]", key, why))
        elif found.get("type") in ("array", "object"):
            where = f"{path}.items.properties[{key}].type"
            errors.append(invalid(where, found["type"], f"must be a scalar type if parent array's {LIST_TYPE} is map"))
        elif key not in (items.get("required") or ()) and found.get("default") is None:
            why = f"this property is in {LIST_MAP_KEYS}, so it must have a default or be a required property"
            errors.append(required(f"{path}.items.properties[{key}].default", why))
        if found is not None and found.get("nullable") is True:
            why = f"this property is in {LIST_MAP_KEYS}, so it cannot be nullable"
            errors.append(forbidden(f"{path}.items.properties[{key}].nullable", why))


def _check_set_items(items: Schema, path: str, errors: Errors) -> None:
    if items.get("nullable") is True:
        why = f'cannot be nullable when {LIST_TYPE} is "set"'
        errors.append(forbidden(f"{path}.nullable", why))
    if items.get("type") == "object" and items.get(MAP_TYPE) != "atomic":
        why = f'must be "atomic" as item of a list with {LIST_TYPE}=set'
        errors.append(invalid(f"{path}.{MAP_TYPE}", items.get(MAP_TYPE), why))
    if items.get("type") == "array" and items.get(LIST_TYPE) not in (None, "atomic"):
        why = f'must be "atomic" as item of a list with {LIST_TYPE}=set'
        errors.append(invalid(f"{path}.{LIST_TYPE}", items.get(LIST_TYPE), why))


def _check_metadata(schema: Schema, path: str, level: str, errors: Errors) -> None:
    if level != ROOT and schema.get(EMBEDDED) is not True:
        return
    properties = schema.get("properties") or {}
    for name, type_ in (("kind", "string"), ("apiVersion", "string"), ("metadata", "object")):
        found = properties.get(name)
        if found is not None and found.get("type") != type_:
            errors.append(invalid(f"{path}.properties[{name}].type", found.get("type") or "", f"must be {type_}"))
    metadata = properties.get("metadata")
    if level == ROOT and metadata is not None:
        more = metadata.keys() - {"type", "properties", "description"}
        if more or (metadata.get("properties") or {}).keys() - {"name", "generateName"}:
            why = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            errors.append(forbidden(f"{path}.properties[metadata]", why))


def _check_compositions(schema: Schema, path: str, errors: Errors, *, outermost: bool) -> None:
    for word in _COMPOSITIONS:
        if word == "anyOf" and outermost and _says_int_or_string(schema):
            continue
        for index, part in enumerate(schema.get(word) or ()):
            allowed = word == "allOf" and index == 0 and outermost and _says_int_or_string(part, within=schema)
            _check_judging(part, f"{path}.{word}[{index}]", errors, either=allowed)
    if isinstance(schema.get("not"), dict):
        _check_judging(schema["not"], f"{path}.not", errors)


def _says_int_or_string(schema: Schema, within: Schema | None = None) -> bool:
    """Whether an ``anyOf`` only says what ``x-kubernetes-int-or-string`` says."""
    marked = schema if within is None else within
    return marked.get(INT_OR_STRING) is True and [dict(part) for part in schema.get("anyOf") or ()] == _EITHER


def _check_judging(part: Schema, path: str, errors: Errors, *, either: bool = False) -> None:
    """A schema in a composition: it may judge, not describe."""
    errors.extend(
        forbidden(f"{path}.{word}", why)
        for word, why in _NOT_IN_COMPOSITIONS.items()
        if part.get(word) not in (None, False, "", [])
    )
    properties = part.get("properties") or {}
    if "metadata" in properties:
        errors.append(forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context"))
    for rest, _, below in _parts(part):
        if rest != ".additionalProperties":
            _check_judging(below, path + rest, errors)
    if not either:
        _check_compositions(part, path, errors, outermost=False)


def _check_complete(schema: Schema, path: str, errors: Errors) -> None:
    """What compositions name must be described outside of them."""
    for word in _COMPOSITIONS:
        for index, part in enumerate(schema.get(word) or ()):
            _require_described(part, schema, f"{path}.{word}[{index}]", path, errors)
    if isinstance(schema.get("not"), dict):
        _require_described(schema["not"], schema, f"{path}.not", path, errors)


def _require_described(part: Schema, described: Schema, path: str, at: str, errors: Errors) -> None:
    for rest, _, below in _parts(part):
        if rest == ".additionalProperties":
            continue
        found = _described(described, rest)
        if found is None:
            errors.append(required(at + rest, f"because it is defined in {path}{rest}"))
        else:
            _require_described(below, found, path + rest, at + rest, errors)
    for word in _COMPOSITIONS:
        for index, inner in enumerate(part.get(word) or ()):
            _require_described(inner, described, f"{path}.{word}[{index}]", at, errors)
    if isinstance(part.get("not"), dict):
        _require_described(part["not"], described, f"{path}.not", at, errors)


def _described(schema: Schema, rest: str) -> Schema | None:
    if rest == ".items":
        items = schema.get("items")
        return items if isinstance(items, dict) else None
    name = rest.removeprefix(".properties[").removesuffix("]")
    found: Schema | None = (schema.get("properties") or {}).get(name)
    return found
