"""From a pod's RuntimeClass to the handler that runs it on this node."""

from __future__ import annotations

from collections.abc import Callable, Collection

from flotilla.api.objects import KubeObject
from nodeagent.runtime.runtimes import NAMES


class RuntimeClassError(Exception):
    """The node can't run a pod of this class; the message says what would help."""


class RuntimeHandlers:
    """``find`` gives a RuntimeClass by name, ``handlers`` are those that the node has."""

    def __init__(self, find: Callable[[str], KubeObject | None], handlers: Collection[str]) -> None:
        self._find, self._handlers = find, handlers

    def choose(self, pod: KubeObject) -> str:
        """The pod's handler, empty without a class. Raises RuntimeClassError."""
        name = pod["spec"].get("runtimeClassName")
        if not name:
            return ""
        found = self._find(name)
        if found is None:
            raise RuntimeClassError(f'RuntimeClass "{name}" not found')
        handler: str = found["handler"]
        if handler not in self._handlers:
            there = ", ".join(sorted(self._handlers))
            raise RuntimeClassError(
                f'no runtime for handler "{handler}" of RuntimeClass "{name}" is configured on this node, which has '
                f"{there}: start its agent with --runtime-handler {handler}=PROGRAM"
            )
        if pod["spec"].get("hostUsers") is False and handler not in NAMES:
            raise RuntimeClassError(f'handler "{handler}" can\'t give the pod users of its own (hostUsers: false)')
        return handler
