"""The shape of the code base: sizes, no empty directories, import contracts."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAXIMUM_FILE_LINES = 500
MAXIMUM_FUNCTION_LINES = 70
PACKAGES = ("flotilla", "controlplane", "nodeagent", "tests")
FORBIDDEN_NAMES = frozenset({"util", "utils", "common", "helpers", "helper", "misc", "manager"})


def _sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def _functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_files_are_short() -> None:
    """No source file has more than 500 lines."""
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in _sources()}
    assert {path: lines for path, lines in lengths.items() if lines > MAXIMUM_FILE_LINES} == {}


def test_functions_are_short() -> None:
    """No function has more than 70 lines."""
    long = [
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}"
        for path in _sources()
        for function in _functions(ast.parse(path.read_text("utf-8")))
        if (function.end_lineno or 0) - function.lineno + 1 > MAXIMUM_FUNCTION_LINES
    ]
    assert long == []


def test_modules_say_what_they_are() -> None:
    """Every module outside of the tests that holds anything begins with a docstring."""
    texts = {path: path.read_text("utf-8") for path in _sources() if path.relative_to(ROOT).parts[0] != "tests"}
    silent = [
        str(path.relative_to(ROOT))
        for path, text in texts.items()
        if text.strip() and not ast.get_docstring(ast.parse(text))
    ]
    assert silent == []


def test_tests_say_what_must_hold() -> None:
    """Every test has a docstring."""
    silent = [
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}"
        for path in _sources()
        if path.name.startswith("test_")
        for function in _functions(ast.parse(path.read_text("utf-8")))
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]
    assert silent == []


def test_directories_have_a_noun() -> None:
    """No module or package is named after what it is not: util, common, helpers."""
    named = [str(path.relative_to(ROOT)) for path in _sources() if {path.stem, path.parent.name} & FORBIDDEN_NAMES]
    assert named == []


def test_no_empty_directories() -> None:
    """Every directory of the sources holds something."""
    empty = [
        str(directory.relative_to(ROOT))
        for top in (*PACKAGES, "deploy", "manifests", "protos", "docs")
        for directory in (ROOT / top).rglob("*")
        if directory.is_dir() and directory.name != "__pycache__" and not any(directory.iterdir())
    ]
    assert empty == []


@pytest.mark.timeout(180)
def test_import_contracts_hold() -> None:
    """The contracts in pyproject.toml about who may import whom are kept."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
