"""What a node takes in: pods that it could not run as they ask are refused, with the kubelet's words and reasons.

A refused pod fails at once, so that its owner can make another elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from nodeagent.runtime.sysctls import dotted

# Those that a pod can change without any effect on others (Kubernetes' list).
SAFE_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)
_NAMESPACED = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.", "net.")
_APPARMOR = Path("/sys/module/apparmor/parameters/enabled")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a pod is not taken in, as its status says it."""

    reason: str
    message: str


def check_sysctl_patterns(patterns: Collection[str]) -> None:
    """Raise ValueError for a pattern of settings that are not a pod's own to set: they would change the node."""
    for pattern in patterns:
        name = dotted(pattern)
        if not name.startswith(_NAMESPACED) or "*" in name.removesuffix("*"):
            raise ValueError(f"the sysctls {pattern!r} are not known to be namespaced")


def apparmor_enabled() -> bool:
    """Whether the kernel enforces AppArmor profiles."""
    try:
        return _APPARMOR.read_text(encoding="ascii").startswith("Y")
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Admission:
    """What this node can do. ``unsafe_sysctls`` are further settings that pods may make, maybe ending in ``*``."""

    unsafe_sysctls: tuple[str, ...] = ()
    apparmor: bool = False

    def refusal(self, pod: Mapping[str, Any]) -> Refusal | None:
        """Why the pod is refused, None if it is taken."""
        for sysctl in _context(pod["spec"]).get("sysctls") or ():
            if not self._allows(dotted(sysctl["name"])):
                return Refusal("SysctlForbidden", f'forbidden sysctl: "{sysctl["name"]}" not allowlisted')
        if not self.apparmor and any(_confines(profile) for profile in _apparmor_profiles(pod["spec"])):
            return Refusal("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host")
        return None

    def _allows(self, name: str) -> bool:
        return name in SAFE_SYSCTLS or any(fnmatchcase(name, dotted(pattern)) for pattern in self.unsafe_sysctls)


def _context(part: Mapping[str, Any]) -> Mapping[str, Any]:
    return part.get("securityContext") or {}


def _apparmor_profiles(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield _context(spec).get("appArmorProfile") or {}
    for kind in ("initContainers", "containers"):
        for container in spec.get(kind) or ():
            yield _context(container).get("appArmorProfile") or {}


def _confines(profile: Mapping[str, Any]) -> bool:
    return profile.get("type") not in (None, "Unconfined")
