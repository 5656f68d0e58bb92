"""The version that the server reports: the API level it implements, and its own."""

from __future__ import annotations

import platform

from flotilla import __version__
from flotilla.api.objects import KubeObject

KUBERNETES_VERSION = "1.35.0"
GIT_VERSION = f"v{KUBERNETES_VERSION}+flotilla-{__version__}"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def version_info() -> KubeObject:
    """The document at ``/version``."""
    major, minor, _ = KUBERNETES_VERSION.split(".")
    machine = platform.machine()
    return {
        "major": major,
        "minor": minor,
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": platform.python_implementation(),
        "platform": f"{platform.system().lower()}/{_MACHINES.get(machine, machine)}",
    }
