"""Tables, the form in which kubectl shows objects, and metadata alone, the form in which informers save memory.

Both are rendered from cached bytes. Rendering many rows lets other work run every few milliseconds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from controlplane.api.negotiation import Form
from controlplane.api.turns import Breather
from controlplane.store.cache import Entry
from flotilla.api.errors import bad_request
from flotilla.api.objects import KubeObject, decode, encode
from flotilla.api.registry import Column, Resource

logger = logging.getLogger(__name__)

PIECE_BYTES = 128 * 1024
INCLUDE = ("Metadata", "Object", "None")


class _Head(msgspec.Struct):
    metadata: msgspec.Raw


_heads = msgspec.json.Decoder(_Head)


def check_include(include: str) -> str:
    """The ``includeObject`` parameter, by default Metadata. BadRequest for an unknown one."""
    if include and include not in INCLUDE:
        raise bad_request(f"includeObject: unrecognized includeObject value: {include!r}")
    return include or "Metadata"


def partial_metadata(data: bytes, version: str) -> bytes:
    """The PartialObjectMetadata of an encoded object; its metadata is not decoded."""
    metadata = bytes(_heads.decode(data).metadata)
    head = f'{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/{version}","metadata":'
    return head.encode() + metadata + b"}"


def column_definitions(columns: Sequence[Column]) -> list[KubeObject]:
    """The header of a Table."""
    return [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        }
        for column in columns
    ]


def _cell(column: Column, obj: KubeObject, now: datetime) -> Any:
    try:
        return column.value(obj, now)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        logger.exception("table_cell_failed", extra={"column": column.name, "kind": obj.get("kind")})
        return "<unknown>"


def table_row(
    columns: Sequence[Column],
    obj: KubeObject,
    data: bytes,
    *,
    include: str,
    version: str,
    now: datetime | None = None,
) -> bytes:
    """One row: the cells and, as ``include`` says, the object, its metadata or nothing."""
    now = now or datetime.now(UTC)
    cells = encode([_cell(column, obj, now) for column in columns])
    if include == "None":
        return b'{"cells":' + cells + b"}"
    shown = data if include == "Object" else partial_metadata(data, version)
    return b'{"cells":' + cells + b',"object":' + shown + b"}"


def assemble_table(form: Form, metadata: KubeObject, columns: Sequence[Column] | None, rows: Iterable[bytes]) -> bytes:
    """A Table of ready rows; without ``columns`` it has no header, as in all events of a watch but the first."""
    head: KubeObject = {"kind": "Table", "apiVersion": form.api_version, "metadata": metadata}
    head["columnDefinitions"] = column_definitions(columns) if columns is not None else []
    return encode(head)[:-1] + b',"rows":[' + b",".join(rows) + b"]}"


def render_one(resource: Resource, obj: KubeObject, data: bytes, form: Form, *, include: str) -> bytes:
    """A single object in the form asked for."""
    if not form.kind:
        return data
    if form.kind == "PartialObjectMetadata":
        return partial_metadata(data, form.version)
    row = table_row(resource.columns, obj, data, include=include, version=form.version)
    metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
    return assemble_table(form, metadata, resource.columns, [row])


async def render_list(
    resource: Resource, entries: Sequence[Entry], form: Form, *, metadata: KubeObject, include: str
) -> list[bytes]:
    """A list in the form asked for, in pieces of some :data:`PIECE_BYTES`."""
    head: KubeObject
    if form.kind == "Table":
        head = {"kind": "Table", "apiVersion": form.api_version, "metadata": metadata}
        head["columnDefinitions"] = column_definitions(resource.columns)
        now = datetime.now(UTC)
        return await _pieces(head, "rows", (_row_of(resource, entry, form, include, now) for entry in entries))
    if form.kind:
        head = {"kind": "PartialObjectMetadataList", "apiVersion": form.api_version, "metadata": metadata}
        return await _pieces(head, "items", (partial_metadata(entry.data, form.version) for entry in entries))
    head = {"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": metadata}
    return await _pieces(head, "items", (entry.data for entry in entries))


def _row_of(resource: Resource, entry: Entry, form: Form, include: str, now: datetime) -> bytes:
    """A row of many: decoded for it alone if need be, so that what others need stays decoded."""
    data = entry.data
    obj = entry.decoded or decode(data)
    return table_row(resource.columns, obj, data, include=include, version=form.version, now=now)


async def _pieces(head: KubeObject, field: str, items: Iterable[bytes]) -> list[bytes]:
    """The object ``head`` with ``items`` as its last field."""
    breather = Breather()
    before = encode(head)[:-1] + f',"{field}":['.encode()
    pieces: list[bytes] = []
    waiting: list[bytes] = []
    size_bytes = 0
    for item in items:
        waiting.append(item)
        size_bytes += len(item)
        if size_bytes >= PIECE_BYTES:
            pieces.append(before + b",".join(waiting))
            before, waiting, size_bytes = b",", [], 0
        await breather.breathe()
    last = before if waiting or not pieces else b""
    pieces.append(last + b",".join(waiting) + b"]}")
    return pieces
