"""Objects from manifests: files, directories, URLs and standard input.

Everything is read before anything is sent, so that a file that doesn't parse changes nothing.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from flotilla.api.documents import Document, ManifestError, parse_documents
from flotilla.cli.failures import CommandError

SUFFIXES = (".yaml", ".yml", ".json")
URL_TIMEOUT_S = 30.0
URL_LIMIT_BYTES = 10 * 1024**2


def read_documents(sources: Sequence[str], *, recursive: bool = False) -> list[Document]:
    """All objects of ``sources`` in order, Lists taken apart. Raises CommandError naming file, document and field."""
    texts = [text for source in sources for text in _texts(source, recursive=recursive)]
    try:
        documents = [document for name, text in texts for document in parse_documents(name, text)]
    except ManifestError as error:
        raise CommandError(str(error)) from error
    if not documents:
        raise CommandError(f"no objects in {', '.join(sources)}")
    return documents


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
