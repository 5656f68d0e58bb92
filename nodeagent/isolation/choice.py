"""Which pods have users of their own.

All do that share nothing with the node: none of its namespaces, no hostPath and no privileged container, as long as
the node can do it. ``hostUsers: true`` turns it off for a pod and ``hostUsers: false`` demands it, as in Kubernetes,
where it is off by default. A pod that could have had them and can't runs with the node's users, and is told why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from flotilla.api.objects import KubeObject
from nodeagent.isolation.ranges import RANGE_SIZE

UserNamespaceMode = Literal["auto", "off"]
_HOST_NAMESPACES = ("hostNetwork", "hostPID", "hostIPC")
_TURNED_OFF = "user namespaces are turned off on this node"


class UserNamespaceError(Exception):
    """A pod demands users of its own (``hostUsers: false``) and can't have them; the message says why."""


class Support(Protocol):
    """What the node can do. Empty strings for "it can", else why it can't. Methods block."""

    def problem(self) -> str: ...

    def volume_problem(self, path: Path) -> str: ...


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether a pod gets users of its own, and what to warn of if it does not."""

    own: bool
    warning: str = ""


class UserChoice:
    """Chooses for the pods of one node."""

    def __init__(self, mode: UserNamespaceMode, support: Support) -> None:
        self._mode, self._support = mode, support

    def choose(self, pod: KubeObject, volumes: Mapping[str, Path]) -> Choice:
        """The choice for a pod whose volumes are at these paths. Raises UserNamespaceError. Blocks."""
        demanded = pod["spec"].get("hostUsers")
        if demanded is True or (demanded is None and (self._mode == "off" or shares_host(pod))):
            return Choice(own=False)
        problem = self._problem(pod, volumes)
        if not problem:
            return Choice(own=True)
        if demanded is False:
            raise UserNamespaceError(f"the pod can't have users of its own (hostUsers: false): {problem}")
        return Choice(own=False, warning=f"The pod's users are the node's: {problem}")

    def _problem(self, pod: KubeObject, volumes: Mapping[str, Path]) -> str:
        """The first of all that stands against it, the cheapest looked at first."""
        if self._mode == "off":
            return _TURNED_OFF
        joined = [name for name in _HOST_NAMESPACES if pod["spec"].get(name)]
        problem = f"{joined[0]} is set" if joined else large_id(pod) or self._support.problem()
        for name, path in () if problem else volumes.items():
            if found := self._support.volume_problem(path):
                return f'volume "{name}": {found}'
        return problem


def shares_host(pod: KubeObject) -> bool:
    """Whether the pod asks for something of the node itself: a namespace, a path, or privilege."""
    spec = pod["spec"]
    return (
        any(spec.get(name) for name in _HOST_NAMESPACES)
        or any("hostPath" in volume for volume in spec.get("volumes") or ())
        or any(context.get("privileged") for context in _container_contexts(spec))
    )


def large_id(pod: KubeObject) -> str:
    """The first id that the pod asks for and that a range can't hold, as text; else empty."""
    spec = pod["spec"]
    for context in (spec.get("securityContext") or {}, *_container_contexts(spec)):
        asked = [(field, context.get(field)) for field in ("runAsUser", "runAsGroup", "fsGroup")]
        asked += [("supplementalGroups", group) for group in context.get("supplementalGroups") or ()]
        for field, number in asked:
            if number is not None and number >= RANGE_SIZE:
                return f"{field} {number} is not below {RANGE_SIZE}"
    return ""


def _container_contexts(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for name in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(name) or ():
            yield container.get("securityContext") or {}
