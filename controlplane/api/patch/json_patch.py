"""JSON patch, RFC 6902: a list of operations on places named by JSON pointers (RFC 6901).

Bounded on purpose: a patch has at most 10,000 operations and 200,000 steps in all of its pointers, and what copies and
tests build can't outgrow the object limit by much, because a document past it is refused after each copy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from flotilla.api.errors import ApiError, FieldError, bad_request, too_large
from flotilla.api.objects import encode

MAXIMUM_OPERATIONS = 10_000
MAXIMUM_STEPS = 200_000
MAXIMUM_COPIED_BYTES = 3 * 1024 * 1024


class JsonPatchError(Exception):
    """An operation can't be done on this document; becomes 422 as in Kubernetes."""


def apply_json_patch(document: Any, operations: Any) -> Any:
    """The document after all operations. BadRequest for a malformed patch, Invalid for one that does not apply."""
    if not isinstance(operations, list):
        raise bad_request("a JSON patch must be an array of operations")
    if len(operations) > MAXIMUM_OPERATIONS:
        message = f"The allowed maximum operations in a JSON patch is {MAXIMUM_OPERATIONS}, got {len(operations)}"
        raise ApiError(413, "RequestEntityTooLarge", message)
    if sum(_steps(operation) for operation in operations) > MAXIMUM_STEPS:
        message = f"The allowed maximum of steps in the pointers of a JSON patch is {MAXIMUM_STEPS}"
        raise ApiError(413, "RequestEntityTooLarge", message)
    result = copy.deepcopy(document)
    copied_bytes = 0
    for index, operation in enumerate(operations):
        try:
            result = _apply(result, operation)
        except JsonPatchError as error:
            message = f"the server rejected our request due to an error in our request: {error}"
            raise _unprocessable(message, index) from error
        if operation["op"] == "copy":
            copied_bytes += len(encode(_get(result, _pointer(operation["path"]), for_copy=True)))
            if copied_bytes > MAXIMUM_COPIED_BYTES:
                raise too_large(MAXIMUM_COPIED_BYTES)
    return result


def _steps(operation: Any) -> int:
    path = operation.get("path") if isinstance(operation, dict) else None
    return path.count("/") if isinstance(path, str) else 0


def _unprocessable(message: str, index: int) -> ApiError:
    cause = FieldError(f"patch[{index}]", message)
    causes = [{"reason": cause.reason, "message": cause.message, "field": cause.field}]
    return ApiError(422, "Invalid", message, details={"causes": causes})


def _apply(document: Any, operation: Any) -> Any:
    if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
        raise bad_request("each operation of a JSON patch must be an object with op and path")
    name = operation.get("op", "")
    apply = _OPERATIONS.get(name) if isinstance(name, str) else None
    if apply is None:
        raise bad_request(f"unexpected kind of JSON patch operation: {str(name)[:100]!r}")
    return apply(document, operation)


def _pointer(text: str) -> list[str]:
    if not text:
        return []
    if not text.startswith("/"):
        raise JsonPatchError(f"path {text!r} must begin with '/'")
    return [part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/")]


def _value(operation: dict[str, Any]) -> Any:
    if "value" not in operation:
        raise bad_request(f"JSON patch operation {operation['op']!r} at {operation['path']!r} has no value")
    return copy.deepcopy(operation["value"])


def _source(operation: dict[str, Any]) -> list[str]:
    if not isinstance(operation.get("from"), str):
        raise bad_request(f"JSON patch operation {operation['op']!r} at {operation['path']!r} has no from")
    return _pointer(operation["from"])


def _index(items: list[Any], part: str, *, end: int) -> int:
    if not part.isascii() or not part.isdigit() or (part[0] == "0" and len(part) > 1):
        raise JsonPatchError(f"{part!r} is not an index of an array")
    index = int(part)
    if index > end:
        raise JsonPatchError(f"index {index} is out of bounds of an array of {len(items)}")
    return index


def _get(document: Any, pointer: list[str], *, for_copy: bool = False) -> Any:
    value = document
    for depth, part in enumerate(pointer):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list):
            if for_copy and part == "-":
                return value[-1]
            value = value[_index(value, part, end=len(value) - 1)]
        else:
            raise JsonPatchError(f"there is nothing at /{'/'.join(pointer[: depth + 1])}")
    return value


def _add(document: Any, pointer: list[str], value: Any) -> Any:
    if not pointer:
        return value
    parent = _get(document, pointer[:-1])
    part = pointer[-1]
    if isinstance(parent, dict):
        parent[part] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if part == "-" else _index(parent, part, end=len(parent)), value)
    else:
        raise JsonPatchError(f"the parent of /{'/'.join(pointer)} is neither an object nor an array")
    return document


def _remove(document: Any, pointer: list[str]) -> Any:
    if not pointer:
        return None
    _get(document, pointer)
    parent = _get(document, pointer[:-1])
    if isinstance(parent, dict):
        del parent[pointer[-1]]
    else:
        del parent[int(pointer[-1])]
    return document


def _do_add(document: Any, operation: dict[str, Any]) -> Any:
    return _add(document, _pointer(operation["path"]), _value(operation))


def _do_remove(document: Any, operation: dict[str, Any]) -> Any:
    return _remove(document, _pointer(operation["path"]))


def _do_replace(document: Any, operation: dict[str, Any]) -> Any:
    pointer, value = _pointer(operation["path"]), _value(operation)
    return _add(_remove(document, pointer), pointer, value)


def _do_move(document: Any, operation: dict[str, Any]) -> Any:
    source, target = _source(operation), _pointer(operation["path"])
    if target[: len(source)] == source and target != source:
        raise JsonPatchError(f"{operation['from']!r} can't be moved into itself")
    value = _get(document, source)
    return _add(_remove(document, source), target, value)


def _do_copy(document: Any, operation: dict[str, Any]) -> Any:
    value = copy.deepcopy(_get(document, _source(operation)))
    return _add(document, _pointer(operation["path"]), value)


def _do_test(document: Any, operation: dict[str, Any]) -> Any:
    try:
        found = _get(document, _pointer(operation["path"]))
    except JsonPatchError:
        found = None
        if operation.get("value") is not None:
            raise
    if not _equal(found, operation.get("value")):
        raise JsonPatchError(f"testing value {operation['path']} failed")
    return document


def _equal(left: Any, right: Any) -> bool:
    """Equality of JSON values, in which true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    return bool(left == right)


_OPERATIONS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "add": _do_add,
    "remove": _do_remove,
    "replace": _do_replace,
    "move": _do_move,
    "copy": _do_copy,
    "test": _do_test,
}
