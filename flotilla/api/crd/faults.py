"""Faults of custom objects, worded as kube-openapi's validator words them."""

from __future__ import annotations

from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import shown
from flotilla.api.schema_check import Path, path_text

ROOT = "<nil>"
_TYPE_NAMES = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}


def place(path: Path) -> str:
    """A path as faults name it; the object as a whole has Go's word for no path."""
    return path_text(path) or ROOT


def type_name(value: Any) -> str:
    return "null" if value is None else _TYPE_NAMES[type(value)]


def wrong(path: Path, value: Any, why: str) -> FieldError:
    """``why`` goes on after the name of the place."""
    return FieldError(place(path), f"Invalid value: {shown(value)}: {path_text(path)} in body {why}")


def wrong_type(path: Path, value: Any, wanted: str) -> FieldError:
    found = type_name(value)
    message = f'Invalid value: "{found}": {path_text(path)} in body must be of type {wanted}: "{found}"'
    return FieldError(place(path), message, "FieldValueTypeInvalid")


def wrong_format(path: Path, value: str, wanted: str) -> FieldError:
    quoted = shown(value)
    message = f"Invalid value: {quoted}: {path_text(path)} in body must be of type {wanted}: {quoted}"
    return FieldError(place(path), message, "FieldValueTypeInvalid")


def wrong_whole(path: Path, why: str) -> FieldError:
    """A composition (anyOf and its like) that does not hold."""
    return FieldError(place(path), f'Invalid value: "": "{path_text(path)}" {why}')
