"""The OpenAPI 2 document in protobuf, the only form of it that kubectl and Go's client library read.

kubectl before 1.24 takes merge keys and explanations from it; later ones turn to it for a kind that no version 3
document has, before they say that there is no such kind.

Source: ``openapiv2/OpenAPIv2.proto`` of google/gnostic. Its messages repeat the names of OpenAPI, so each is given here
as a table from the JSON name to the encoder of that field. A map is a list of named values, a vendor extension is a
named value in YAML, for which its JSON serves. Only what :func:`controlplane.api.openapi.build_v2` writes is covered,
and an unknown name is a KeyError: no document is served with something missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from controlplane.api.openapi_paths import Document
from controlplane.api.protobuf.wire import delimited, varint_field
from flotilla.api.objects import encode

MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
DEPRECATED_MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"

Encoder = Callable[[Any], bytes]
_YAML_OF_ANY = 2


def encode_v2(document: Document) -> bytes:
    """The ``openapi.v2.Document`` message of an OpenAPI 2 document. KeyError for a name that isn't covered."""
    return _message(document, _DOCUMENT, extensions=16)


def _message(value: Document, fields: dict[str, Encoder], *, extensions: int) -> bytes:
    return b"".join(
        _named(extensions, name, _any(item)) if name.startswith("x-") else fields[name](item)
        for name, item in value.items()
    )


def _named(number: int, name: str, value: bytes) -> bytes:
    return delimited(number, delimited(1, name.encode()) + delimited(2, value))


def _any(value: Any) -> bytes:
    return delimited(_YAML_OF_ANY, encode(value))


def _text(number: int) -> Encoder:
    return lambda value: delimited(number, value.encode())


def _flag(number: int) -> Encoder:
    return lambda value: varint_field(number, int(value))


def _inside(number: int, encoder: Encoder) -> Encoder:
    return lambda value: delimited(number, encoder(value))


def _each(encoder: Encoder) -> Encoder:
    return lambda values: b"".join(map(encoder, values))


def _map(number: int, encoder: Encoder) -> Encoder:
    return lambda values: b"".join(_named(number, name, encoder(value)) for name, value in values.items())


def _schema(value: Document) -> bytes:
    return _message(value, _SCHEMA, extensions=31)


def _additional_properties(value: Document | bool) -> bytes:
    return varint_field(2, int(value)) if isinstance(value, bool) else delimited(1, _schema(value))


def _info(value: Document) -> bytes:
    return _message(value, {"title": _text(1), "version": _text(2)}, extensions=7)


def _parameter(value: Document) -> bytes:
    """A ``ParametersItem``: the place of a parameter decides in which alternative of the alternatives it is."""
    if value["in"] == "body":
        return delimited(1, delimited(1, _message(value, _BODY_PARAMETER, extensions=6)))
    if value["in"] == "query":
        return delimited(1, delimited(2, delimited(3, _message(value, _QUERY_PARAMETER, extensions=23))))
    return delimited(1, delimited(2, delimited(4, _message(value, _PATH_PARAMETER, extensions=22))))


def _response(value: Document) -> bytes:
    return delimited(1, _message(value, _RESPONSE, extensions=5))


def _operation(value: Document) -> bytes:
    return _message(value, _OPERATION, extensions=13)


def _path_item(value: Document) -> bytes:
    return _message(value, _PATH_ITEM, extensions=10)


_SCHEMA: dict[str, Encoder] = {
    "$ref": _text(1),
    "format": _text(2),
    "description": _text(4),
    "required": _each(_text(19)),
    "additionalProperties": _inside(21, _additional_properties),
    "type": _inside(22, _text(1)),
    "items": _inside(23, _inside(1, _schema)),
    "properties": _inside(25, _map(1, _schema)),
}
_BODY_PARAMETER: dict[str, Encoder] = {
    "name": _text(2),
    "in": _text(3),
    "required": _flag(4),
    "schema": _inside(5, _schema),
}
_PATH_PARAMETER: dict[str, Encoder] = {
    "required": _flag(1),
    "in": _text(2),
    "name": _text(4),
    "type": _text(5),
    "uniqueItems": _flag(18),
}
_QUERY_PARAMETER: dict[str, Encoder] = {
    "in": _text(2),
    "description": _text(3),
    "name": _text(4),
    "type": _text(6),
    "uniqueItems": _flag(20),
}
_RESPONSE: dict[str, Encoder] = {
    "description": _text(1),
    "schema": _inside(2, _inside(1, _schema)),
}
_OPERATION: dict[str, Encoder] = {
    "description": _text(3),
    "operationId": _text(5),
    "produces": _each(_text(6)),
    "consumes": _each(_text(7)),
    "parameters": _each(_inside(8, _parameter)),
    "responses": _inside(9, _map(1, _response)),
    "schemes": _each(_text(10)),
}
_PATH_ITEM: dict[str, Encoder] = {
    "get": _inside(2, _operation),
    "put": _inside(3, _operation),
    "post": _inside(4, _operation),
    "delete": _inside(5, _operation),
    "patch": _inside(8, _operation),
    "parameters": _each(_inside(9, _parameter)),
}
_DOCUMENT: dict[str, Encoder] = {
    "swagger": _text(1),
    "info": _inside(2, _info),
    "paths": _inside(8, _map(2, _path_item)),
    "definitions": _inside(9, _map(1, _schema)),
}
