"""The published Kubernetes schema, cut down to what is asked for.

Every definition of the release with its prose takes several megabytes once decoded. So there are two files. The one
without prose is kept as raw slices, and a definition is decoded at its first use: a server that has never seen a
CronJob has not decoded it. The one with prose is read for the OpenAPI documents alone, which are built once from
:func:`described_definitions` and then kept as bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

_DESCRIBED = Path(__file__).parent / "schema" / "kubernetes.json"
_FIELDS = Path(__file__).parent / "schema" / "fields.json"
_PREFIX = "#/$defs/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
OBJECT_META = f"{_META}ObjectMeta"
SHARED_DEFINITIONS = (
    f"{_META}DeleteOptions",
    f"{_META}Status",
    f"{_META}WatchEvent",
    f"{_META}ListMeta",
    f"{_META}Patch",
    f"{_META}APIResourceList",
    f"{_META}APIGroup",
    f"{_META}APIGroupList",
    f"{_META}APIVersions",
    "io.k8s.api.autoscaling.v1.Scale",
    "io.k8s.api.core.v1.Binding",
    "io.k8s.api.policy.v1.Eviction",
)

Schema = dict[str, Any]


def built_at() -> datetime:
    """When the files were made from the published ones, which is when this package was built."""
    return datetime.fromtimestamp(_FIELDS.stat().st_mtime, UTC)


class _Document(msgspec.Struct):
    version: str
    definitions: dict[str, msgspec.Raw]


def _subschemas(schema: Schema) -> Iterator[Schema]:
    yield from schema.get("properties", {}).values()
    yield from schema.get("oneOf", ())
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield schema[key]


def reference_of(schema: Schema) -> str:
    """The name of the definition that a schema refers to, ``""`` if it is none."""
    return str(schema.get("$ref", "")).removeprefix(_PREFIX)


def _references(schema: Schema) -> Iterator[str]:
    if "$ref" in schema:
        yield reference_of(schema)
    for part in _subschemas(schema):
        yield from _references(part)


def described_definitions(kinds: Iterable[str]) -> dict[str, Schema]:
    """The definitions of kinds, their lists, what all groups share and all that these reach, with descriptions.

    Decoded anew each time. References are written ``{"$ref": "#/$defs/<name>"}``. Names that the release doesn't have
    are left out.
    """
    document = msgspec.json.decode(_DESCRIBED.read_bytes(), type=_Document)
    found: dict[str, Schema] = {}
    pending = [name for kind in kinds for name in (kind, f"{kind}List")]
    pending += [OBJECT_META, *SHARED_DEFINITIONS]
    while pending:
        name = pending.pop()
        if name not in found and name in document.definitions:
            found[name] = msgspec.json.decode(document.definitions[name])
            pending.extend(_references(found[name]))
    return found


@cache
def _fields() -> dict[str, msgspec.Raw]:
    return msgspec.json.decode(_FIELDS.read_bytes(), type=_Document).definitions


@cache
def definition(name: str) -> Schema:
    """One definition without descriptions, shared and read-only. KeyError if the release has none of that name."""
    schema: Schema = msgspec.json.decode(_fields()[name])
    return schema
