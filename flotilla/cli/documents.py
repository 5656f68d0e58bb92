"""Objects from manifests: files, directories, URLs and standard input, YAML or JSON.

Everything is read before anything is sent, so that a file that doesn't parse changes nothing. Each object keeps where
it came from, for messages. Scalars are read as Kubernetes reads them: dates stay text, ``12:30`` is no number, and a
key that stands twice in a mapping is an error.
"""

from __future__ import annotations

import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from flotilla.api.objects import KubeObject
from flotilla.cli.failures import CommandError

SUFFIXES = (".yaml", ".yml", ".json")
URL_TIMEOUT_S = 30.0
URL_LIMIT_BYTES = 10 * 1024**2

_INTEGER = re.compile(r"^(?:[-+]?0b[01_]+|[-+]?0o?[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+)$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)


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


def read_documents(sources: Sequence[str], *, recursive: bool = False) -> list[Document]:
    """All objects of ``sources`` in order, Lists taken apart. Raises CommandError naming file, document and field."""
    documents = [
        document
        for source in sources
        for name, text in _texts(source, recursive=recursive)
        for document in parse_documents(name, text)
    ]
    if not documents:
        raise CommandError(f"no objects in {', '.join(sources)}")
    return documents


def parse_documents(source: str, text: bytes) -> Iterator[Document]:
    """The objects in the text of one file. Raises CommandError."""
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
        raise CommandError(f"{source}: document {index + 1}: not valid YAML: {_explain(error)}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{source}: not UTF-8 text: {error}") from error


def _expanded(value: Any) -> list[Any]:
    if isinstance(value, dict) and str(value.get("kind", "")).endswith("List") and isinstance(value.get("items"), list):
        return list(value["items"])
    return [value]


def _check(document: Document) -> None:
    obj: Any = document.obj
    if not isinstance(obj, dict):
        raise CommandError(f"{document.place}: an object must be a mapping, this is {_type_name(obj)}")
    for field in ("apiVersion", "kind"):
        if not isinstance(obj.get(field), str) or not obj[field]:
            raise CommandError(f"{document.label}: {field}: required, a string")
    if not isinstance(obj.get("metadata"), dict):
        raise CommandError(f"{document.label}: metadata: required, a mapping")
    name = obj["metadata"].get("name")
    if not isinstance(name, str) or not name:
        raise CommandError(f"{document.label}: metadata.name: required, a string")


def _type_name(value: Any) -> str:
    return {list: "a list", str: "text", bool: "a boolean"}.get(type(value), "a number")


def _texts(source: str, *, recursive: bool) -> Iterator[tuple[str, bytes]]:
    if source == "-":
        yield "standard input", sys.stdin.buffer.read()
    elif source.startswith(("http://", "https://")):
        yield source, _download(source)
    else:
        for path in _files(Path(source), recursive=recursive):
            yield str(path), _read(path)


def _files(path: Path, *, recursive: bool) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(each for each in path.glob("**/*" if recursive else "*") if each.suffix in SUFFIXES)
    if not found:
        raise CommandError(f"{path}: no {', '.join(SUFFIXES)} files in this directory")
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=URL_TIMEOUT_S) as reply:
            data: bytes = reply.read(URL_LIMIT_BYTES + 1)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise CommandError(f"{url}: {getattr(error, 'reason', error)}") from error
    if len(data) > URL_LIMIT_BYTES:
        raise CommandError(f"{url}: more than {URL_LIMIT_BYTES} bytes")
    return data


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
