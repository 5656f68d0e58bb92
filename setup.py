"""Build hook: compile the gRPC contract and extract the Kubernetes schema before packaging.

Both outputs are derived, so neither is committed: ``protos/dispatcher_pb2*.py`` from ``protos/dispatcher.proto``
and ``flotilla/api/schema/kubernetes.json`` from the published schema that kubernetes-validate carries.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

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


def extract_schema() -> None:
    """Write the definitions of one Kubernetes release as one compact JSON document."""
    spec = importlib.util.find_spec("kubernetes_validate")
    if spec is None or spec.origin is None:
        raise SystemExit("kubernetes-validate is missing: build with `pip install .`, which installs it")
    source = Path(spec.origin).parent / "kubernetes-json-schema" / f"v{KUBERNETES_VERSION}-local" / "_definitions.json"
    definitions = json.loads(source.read_text(encoding="utf-8"))["$defs"]
    target = ROOT / "flotilla" / "api" / "schema" / "kubernetes.json"
    target.parent.mkdir(exist_ok=True)
    text = json.dumps({"version": KUBERNETES_VERSION, "definitions": definitions}, separators=(",", ":"))
    target.write_text(text, encoding="utf-8")


class BuildWithDerivedFiles(build_py):
    """``build_py`` that first makes the derived files, in editable installs too."""

    def run(self) -> None:
        compile_protocol()
        extract_schema()
        super().run()


setup(cmdclass={"build_py": BuildWithDerivedFiles})
