"""Build hook: compile the gRPC contract and extract the Kubernetes schema before packaging.

The outputs are derived, so none is committed: ``protos/dispatcher_pb2*.py`` from ``protos/dispatcher.proto``, and
``flotilla/api/schema/*.json`` from the published schema that kubernetes-validate carries: ``kubernetes.json`` with its
prose, for OpenAPI, and ``fields.json`` without, a quarter of the size, for a running server to keep.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
KUBERNETES_VERSION = "1.35.0"


def compile_protocol() -> None:
    """Write the message classes, their type stubs and the service stubs beside the .proto file."""
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        "-I.",
        "--python_out=.",
        "--pyi_out=.",
        "--grpc_python_out=.",
        "protos/dispatcher.proto",
    ]
    subprocess.run(command, cwd=ROOT, check=True)


def without_prose(schema: Any) -> Any:
    """A schema without its descriptions; a property of that name, whose value is a schema, stays."""
    if isinstance(schema, list):
        return [without_prose(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: without_prose(part) for key, part in schema.items() if key != "description" or not isinstance(part, str)
    }


def extract_schema() -> None:
    """Write the definitions of one Kubernetes release as compact JSON documents, with prose and without."""
    spec = importlib.util.find_spec("kubernetes_validate")
    if spec is None or spec.origin is None:
        raise SystemExit("kubernetes-validate is missing: build with `pip install .`, which installs it")
    source = Path(spec.origin).parent / "kubernetes-json-schema" / f"v{KUBERNETES_VERSION}-local" / "_definitions.json"
    definitions = json.loads(source.read_text(encoding="utf-8"))["$defs"]
    directory = ROOT / "flotilla" / "api" / "schema"
    directory.mkdir(exist_ok=True)
    for name, content in (("kubernetes.json", definitions), ("fields.json", without_prose(definitions))):
        document = {"version": KUBERNETES_VERSION, "definitions": content}
        (directory / name).write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")


class BuildWithDerivedFiles(build_py):
    """``build_py`` that first makes the derived files, in editable installs too."""

    def run(self) -> None:
        compile_protocol()
        extract_schema()
        super().run()


setup(cmdclass={"build_py": BuildWithDerivedFiles})
