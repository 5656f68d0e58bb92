"""Objects from the text of manifests, YAML or JSON.

Each object keeps where it came from, for messages. Scalars are read as Kubernetes reads them: dates stay text,
``12:30`` is no number, and a key that stands twice in a mapping is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from flotilla.api.objects import KubeObject

_INTEGER = re.compile(r"^(?:[-+]?0b[01_]+|[-+]?0o?[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+)$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)


class ManifestError(ValueError):
    """A manifest that can't be used; the message names file, document and field."""


@dataclass(frozen=True, slots=True)
class Document:
    """An object and its place: ``source`` is the file or URL, ``index`` its number in it, from 1."""

    source: str
    index: int
    obj: KubeObject

    @property
    def place(self) -> str:
        return f"{self.source}: document {self.index}"

    @property
    def label(self) -> str:
        """``file: document 2: Deployment/web``, as far as the object says what it is."""
        kind = self.obj.get("kind") or "object"
        metadata = self.obj.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        return f"{self.place}: {kind}/{name}" if name else f"{self.place}: {kind}"


def parse_documents(source: str, text: bytes) -> Iterator[Document]:
    """The objects in the text of one file. Raises ManifestError."""
    import yaml

    index = 0
    try:
        for value in yaml.load_all(text, Loader=_loader()):
            index += 1
            if value is None:
                continue
            for obj in _expanded(value):
                document = Document(source, index, obj)
                _check(document)
                yield document
    except yaml.YAMLError as error:
        raise ManifestError(f"{source}: document {index + 1}: not valid YAML: {_explain(error)}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{source}: not UTF-8 text: {error}") from error


def _expanded(value: Any) -> list[Any]:
    if isinstance(value, dict) and str(value.get("kind", "")).endswith("List") and isinstance(value.get("items"), list):
        return list(value["items"])
    return [value]


def _check(document: Document) -> None:
    obj: Any = document.obj
    if not isinstance(obj, dict):
        raise ManifestError(f"{document.place}: an object must be a mapping, this is {_type_name(obj)}")
    for field in ("apiVersion", "kind"):
        if not isinstance(obj.get(field), str) or not obj[field]:
            raise ManifestError(f"{document.label}: {field}: required, a string")
    if not isinstance(obj.get("metadata"), dict):
        raise ManifestError(f"{document.label}: metadata: required, a mapping")
    name = obj["metadata"].get("name")
    if not isinstance(name, str) or not name:
        raise ManifestError(f"{document.label}: metadata.name: required, a string")


def _type_name(value: Any) -> str:
    return {list: "a list", str: "text", bool: "a boolean"}.get(type(value), "a number")


def _explain(error: Any) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark and problem else str(error)


@cache
def _loader() -> Any:
    """A safe loader with Kubernetes' scalars that refuses a key that stands twice."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader: Any = type("ManifestLoader", (base,), {})
    plain = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
    loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in plain]
        for first, resolvers in base.yaml_implicit_resolvers.items()
    }
    loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
    loader.add_implicit_resolver("tag:yaml.org,2002:int", _INTEGER, list("-+0123456789"))

    def construct(self: Any, node: Any) -> Any:
        self.flatten_mapping(node)
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} must be text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return {
            self.construct_object(key, deep=True): self.construct_object(value, deep=True) for key, value in node.value
        }

    loader.add_constructor("tag:yaml.org,2002:map", construct)
    return loader
