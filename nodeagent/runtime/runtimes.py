"""The OCI runtimes of a node: the one that new containers get, and those whose containers are still there.

Which runtime made a container is told by where its state is: ``<run-dir>/<runtime>/<container id>``. So a node whose
runtime has been changed goes on with the containers that it has.

Pods choose another one by the handler of their RuntimeClass. What is installed of runc and crun are handlers by these
names; others (runsc, kata) are whatever program with runc's command line the node has been told of.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nodeagent.cgroups.layout import CgroupLayout
from nodeagent.runtime.launching import Apart, Direct, must_be_apart
from nodeagent.runtime.oci import ContainerRuntimeError, OciRuntime

RuntimeName = Literal["auto", "crun", "runc"]
HANDLERS = "handlers"
NAMES: tuple[RuntimeName, ...] = ("crun", "runc")


@dataclass(frozen=True, slots=True)
class Handler:
    """A handler of RuntimeClasses: a program with runc's command line, and options to give it before any command."""

    name: str
    program: str
    options: tuple[str, ...] = ()


class Runtimes:
    """The runtimes of one node; new containers are ``default``'s, unless their pod names another handler."""

    def __init__(
        self,
        default: OciRuntime,
        others: Sequence[OciRuntime] = (),
        *,
        handlers: Mapping[str, OciRuntime] | None = None,
    ) -> None:
        self.default = default
        self._handlers = {**{each.name: each for each in (default, *others)}, **(handlers or {})}
        self._all = tuple(dict.fromkeys([default, *others, *self._handlers.values()]))
        self._opened: set[Path] = set()

    @property
    def handlers(self) -> list[str]:
        """The handlers that RuntimeClasses may name."""
        return sorted(self._handlers)

    def handling(self, handler: str) -> OciRuntime:
        """The runtime for new containers of a handler, ready; the default for an empty name.

        Raises ContainerRuntimeError for one that the node does not have, or that can't be made ready.
        """
        if not handler:
            return self.default
        if handler not in self._handlers:
            raise ContainerRuntimeError(f'no runtime for handler "{handler}" is configured on this node')
        runtime = self._handlers[handler]
        try:
            self._open(runtime)
        except OSError as error:
            raise ContainerRuntimeError(f"cannot use {runtime.program}: {error}") from error
        return runtime

    def is_apart(self, handler: str) -> bool:
        """Whether containers of a handler are made from other mounts than the agent's."""
        runtime = self._handlers.get(handler, self.default) if handler else self.default
        return isinstance(runtime.launcher, Apart)

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

    def roots(self) -> list[Path]:
        """The state directories of all runtimes."""
        return [each.root for each in self._all]

    def open(self) -> None:
        """Make the default's directory and get ready to start programs of all that are needed. Raises OSError."""
        for each in self._all:
            if each is self.default or each.known():
                self._open(each)

    def _open(self, runtime: OciRuntime) -> None:
        if runtime.root not in self._opened:
            runtime.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            runtime.launcher.open()
            self._opened.add(runtime.root)

    def close(self) -> None:
        """Start no more programs; repeatable."""
        self._opened.clear()
        for each in self._all:
            each.launcher.close()


def find_runtimes(
    layout: CgroupLayout,
    run_dir: Path,
    *,
    wanted: RuntimeName = "auto",
    directories: Sequence[Path] = (),
    handlers: Sequence[Handler] = (),
) -> Runtimes:
    """The runtimes that are installed, ``wanted`` as the default.

    ``directories`` are those that hold the node's mounts. ``auto`` takes the faster one for this machine (decision 22).
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
    configured = {
        each.name: OciRuntime(each.program, run_dir / HANDLERS / each.name, Direct(), each.options) for each in handlers
    }
    return Runtimes(found.pop(chosen), list(found.values()), handlers=configured)
