"""The version that the server reports: the API level it implements, and its own.

The document has Kubernetes' fields. Those that are about Go say what runs this program instead; the commit is the
checkout's that the program runs from, and empty where it was installed without one; it was built when the files that
are derived from others were made.
"""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path

import flotilla
from flotilla import __version__
from flotilla.api import schema_source
from flotilla.api.objects import KubeObject, format_time

KUBERNETES_VERSION = "1.35.0"
GIT_VERSION = f"v{KUBERNETES_VERSION}+flotilla-{__version__}"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@lru_cache(maxsize=1)
def version_info() -> KubeObject:
    """The document at ``/version``."""
    major, minor, _ = KUBERNETES_VERSION.split(".")
    machine = platform.machine()
    return {
        "major": major,
        "minor": minor,
        "gitVersion": GIT_VERSION,
        "gitCommit": commit_of(Path(flotilla.__file__).parents[1]),
        "gitTreeState": "",
        "buildDate": format_time(schema_source.built_at()),
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation().lower(),
        "platform": f"{platform.system().lower()}/{_MACHINES.get(machine, machine)}",
    }


def commit_of(checkout: Path) -> str:
    """The commit that a git checkout or worktree is at; empty where there is none to be read."""
    try:
        own, shared = _git_directories(checkout / ".git")
        head = (own / "HEAD").read_text(encoding="ascii").strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        for directory in (own, shared):
            if (directory / name).is_file():
                return (directory / name).read_text(encoding="ascii").strip()
        packed = (shared / "packed-refs").read_text(encoding="utf-8").splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {name}")), "")
    except (OSError, ValueError):
        return ""


def _git_directories(place: Path) -> tuple[Path, Path]:
    """The directory of a checkout's own head and that of all branches, which worktrees share (gitrepository-layout)."""
    if place.is_dir():
        return place, place
    own = place.parent / place.read_text(encoding="utf-8").strip().removeprefix("gitdir: ")
    common = own / "commondir"
    return own, own / common.read_text(encoding="utf-8").strip() if common.is_file() else own
