"""What a container may do: capabilities, seccomp, hidden paths.

The defaults are Docker's: its 14 capabilities, its documented system call list, its masked and read-only paths, and no
new privileges on top unless the pod allows privilege escalation by asking for it. A privileged container gets all of
it lifted, as Kubernetes defines it.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from flotilla.api.objects import KubeObject, decode
from nodeagent.runtime.errors import ContainerConfigError

DEFAULT_CAPABILITIES = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
# In the order of their numbers (linux/capability.h).
CAPABILITY_NUMBERS = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_EPERM, _ENOSYS = 1, 38
_NAMESPACE_FLAGS = 0x7E020000
_AF_VSOCK = 40
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
_NATIVE_ARCHITECTURE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
_SMALL_ARCHITECTURE = {"x86_64": "SCMP_ARCH_X86", "aarch64": "SCMP_ARCH_ARM"}


def _qualified(name: str) -> str:
    upper = name.upper()
    return upper if upper == "ALL" or upper.startswith("CAP_") else f"CAP_{upper}"


@functools.cache
def held_capabilities() -> frozenset[str]:
    """Those of all capabilities that the agent itself may pass on: in a container it may not have them all."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    bounding = next(line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:"))
    held = int(bounding, 16)
    return frozenset(name for number, name in enumerate(CAPABILITY_NUMBERS) if held >> number & 1)


def capabilities_of(context: Mapping[str, Any]) -> list[str]:
    """The container's capabilities, sorted, after ``add`` and ``drop`` (``ALL`` in either). Unknown names are an error.

    Raises ContainerConfigError.
    """
    if context.get("privileged"):
        return sorted(held_capabilities())
    asked = context.get("capabilities") or {}
    added = [_qualified(name) for name in asked.get("add") or ()]
    dropped = [_qualified(name) for name in asked.get("drop") or ()]
    unknown = sorted({*added, *dropped} - {*CAPABILITY_NUMBERS, "ALL"})
    if unknown:
        raise ContainerConfigError(f"unknown capability {', '.join(unknown)}")
    kept = set(held_capabilities() if "ALL" in added else DEFAULT_CAPABILITIES)
    kept = set() if "ALL" in dropped else kept - set(dropped)
    return sorted(kept | {name for name in added if name != "ALL"})


def allows_escalation(context: Mapping[str, Any]) -> bool:
    """Whether set-user-id programs may raise privileges: only when asked for, or for privileged containers.

    Kubernetes allows it by default; here the default is ``no_new_privs``.
    """
    return bool(context.get("allowPrivilegeEscalation") or context.get("privileged"))


def masked_paths(context: Mapping[str, Any]) -> tuple[str, ...]:
    """Paths hidden from the container (``procMount: Unmasked`` and privileged containers see all)."""
    return () if _unmasked(context) else MASKED_PATHS


def readonly_paths(context: Mapping[str, Any]) -> tuple[str, ...]:
    """Paths that the container can read only."""
    return () if _unmasked(context) else READONLY_PATHS


def _unmasked(context: Mapping[str, Any]) -> bool:
    return bool(context.get("privileged")) or context.get("procMount") == "Unmasked"


def seccomp_of(
    pod_context: Mapping[str, Any],
    context: Mapping[str, Any],
    capabilities: Sequence[str],
    *,
    profiles: Path,
    small_programs: bool = False,
) -> KubeObject | None:
    """``linux.seccomp`` of the container; None for an unconfined one.

    A container without a profile of its own or its pod's gets the default one, not none as in Kubernetes. ``Localhost``
    profiles are files below ``profiles``. ``small_programs``: the image has 32-bit programs. Raises
    ContainerConfigError.
    """
    if context.get("privileged"):
        return None
    profile = context.get("seccompProfile") or pod_context.get("seccompProfile") or {"type": "RuntimeDefault"}
    if profile["type"] == "Unconfined":
        return None
    if profile["type"] == "Localhost":
        return _localhost(profiles, profile.get("localhostProfile") or "")
    return default_seccomp(tuple(capabilities), platform.machine(), small_programs=small_programs)


def _localhost(profiles: Path, name: str) -> KubeObject:
    path = (profiles / name).resolve()
    if not name or not path.is_relative_to(profiles.resolve()):
        raise ContainerConfigError(f"seccomp profile {name!r} is not below the node's profile directory")
    try:
        loaded: KubeObject = decode(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ContainerConfigError(f"cannot load seccomp profile {name!r}: {error}") from error
    return loaded


@functools.cache
def _rules() -> KubeObject:
    loaded: KubeObject = decode(resources.files("nodeagent.runtime").joinpath("seccomp.json").read_bytes())
    return loaded


def _allow(names: Sequence[str], *arguments: KubeObject) -> KubeObject:
    rule: KubeObject = {"names": list(names), "action": "SCMP_ACT_ALLOW"}
    return rule | {"args": list(arguments)} if arguments else rule


def _refuse(names: Sequence[str], number: int) -> KubeObject:
    return {"names": list(names), "action": "SCMP_ACT_ERRNO", "errnoRet": number}


@functools.lru_cache(maxsize=64)
def default_seccomp(capabilities: tuple[str, ...], machine: str, *, small_programs: bool = False) -> KubeObject:
    """The default profile: what is not listed fails with EPERM; the list grows with the capabilities held.

    System calls of a foreign architecture kill their process. The 32-bit one is only let in for images that have
    programs for it: each architecture takes the runtime 4 ms to compile, a tenth of a container's start.
    ``clone`` may make no namespaces without CAP_SYS_ADMIN; ``clone3``, whose flags a filter cannot see, then looks
    unimplemented so that libraries fall back to ``clone``. The result is shared and must not be changed.
    """
    rules = _rules()
    allowed = set(rules["allow"])
    for name in capabilities:
        allowed.update(rules["allow_with_capability"].get(name, ()))
    listed = [_allow(sorted(allowed))]
    listed.append(_allow(["socket"], {"index": 0, "value": _AF_VSOCK, "op": "SCMP_CMP_NE"}))
    listed.extend(_allow(["personality"], {"index": 0, "value": each, "op": "SCMP_CMP_EQ"}) for each in _PERSONALITIES)
    if "CAP_SYS_ADMIN" not in capabilities:
        masked = {"index": 0, "value": _NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
        listed.append(_allow(["clone"], masked))
        listed.append(_refuse(["clone3"], _ENOSYS))
    architectures = [_NATIVE_ARCHITECTURE.get(machine), _SMALL_ARCHITECTURE.get(machine) if small_programs else None]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _EPERM,
        "architectures": [name for name in architectures if name],
        "syscalls": listed,
    }
