"""Manifests: where they are read from, and how a mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from flotilla.cli.failures import CommandError
from flotilla.cli.sources import read_documents

POD = b"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"


def test_a_directory_is_read_in_order(tmp_path: Path) -> None:
    """YAML and JSON files of a directory come by name, others not at all."""
    for name in ("b.yaml", "a.json", "c.txt"):
        (tmp_path / name).write_bytes(POD)
    assert [Path(each.source).name for each in read_documents([str(tmp_path)])] == ["a.json", "b.yaml"]


def test_a_missing_file_is_named() -> None:
    """A file that can't be read is an error with its name."""
    with pytest.raises(CommandError, match=r"/nonexistent\.yaml: No such file"):
        read_documents(["/nonexistent.yaml"])


def test_a_mistake_in_any_file_changes_nothing(tmp_path: Path) -> None:
    """One document that can't be used keeps all from being returned, and is named."""
    (tmp_path / "a.yaml").write_bytes(POD)
    (tmp_path / "b.yaml").write_bytes(POD + b"---\nkind: Pod\n")
    with pytest.raises(CommandError, match=r"b.yaml: document 2: Pod: apiVersion: required"):
        read_documents([str(tmp_path)])
