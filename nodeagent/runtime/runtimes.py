"""The OCI runtimes of a node: the one that new containers get, and those whose containers are still there.

Which runtime made a container is told by where its state is: ``<run-dir>/<runtime>/<container id>``. So a node whose
runtime has been changed goes on with the containers that it has.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from nodeagent.cgroups.layout import CgroupLayout
from nodeagent.runtime.launching import Apart, Direct, must_be_apart
from nodeagent.runtime.oci import ContainerRuntimeError, OciRuntime

RuntimeName = Literal["auto", "crun", "runc"]
NAMES: tuple[RuntimeName, ...] = ("crun", "runc")


class Runtimes:
    """The runtimes of one node; new containers are ``default``'s."""

    def __init__(self, default: OciRuntime, others: Sequence[OciRuntime] = ()) -> None:
        self.default = default
        self._all = (default, *others)

    @property
    def apart(self) -> bool:
        """Whether new containers are made from other mounts than the agent's."""
        return isinstance(self.default.launcher, Apart)

    def of(self, container_id: str) -> OciRuntime:
        """The runtime that has state of a container, else the default."""
        found = (each for each in self._all if (each.root / container_id).exists())
        return next(found, self.default)

    def known(self) -> set[str]:
        """Ids of all containers that a runtime has state of."""
        return {container_id for each in self._all for container_id in each.known()}

    def open(self) -> None:
        """Make the default's directory and get ready to start programs of all that are needed. Raises OSError."""
        self.default.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for each in self._all:
            if each is self.default or each.known():
                each.launcher.open()

    def close(self) -> None:
        """Start no more programs; repeatable."""
        for each in self._all:
            each.launcher.close()


def find_runtimes(
    layout: CgroupLayout, run_dir: Path, *, wanted: RuntimeName = "auto", directories: Sequence[Path] = ()
) -> Runtimes:
    """The runtimes that are installed, ``wanted`` as the default.

    ``directories`` are those that hold the node's mounts. ``auto`` takes the faster one for this machine (decision 18).
    Raises ContainerRuntimeError when it is not installed, or for ``auto`` none is.
    """
    order = NAMES if layout.version == 2 else NAMES[::-1]
    found: dict[str, OciRuntime] = {}
    for name in order:
        program = shutil.which(name)
        if program is not None:
            apart = must_be_apart(program, layout)
            found[name] = OciRuntime(program, run_dir / name, Apart(directories) if apart else Direct())
    chosen = wanted if wanted != "auto" else next(iter(found), "")
    if chosen not in found:
        raise ContainerRuntimeError(f"no OCI runtime found: install {chosen or ' or '.join(NAMES)}")
    return Runtimes(found.pop(chosen), list(found.values()))
