"""AppArmor profiles of containers, on kernels that enforce them.

A container has one when it or its pod asks for one. ``Localhost`` names a profile that the node's administrator has
loaded; ``RuntimeDefault`` is the agent's own, loaded when it is first asked for.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nodeagent.runtime.errors import ContainerConfigError

DEFAULT_PROFILE = "flotilla-default"
_LOADED = Path("/sys/kernel/security/apparmor/profiles")
_TIMEOUT_S = 10.0
_DEFAULT = f"""\
#include <tunables/global>

profile {DEFAULT_PROFILE} flags=(attach_disconnected,mediate_deleted) {{
  #include <abstractions/base>
  network,
  capability,
  file,
  umount,
  signal (receive) peer=unconfined,
  signal (send, receive) peer={DEFAULT_PROFILE},
  ptrace (trace, read, tracedby, readby) peer={DEFAULT_PROFILE},
  deny mount,
  deny @{{PROC}}/sysrq-trigger rwklx,
  deny @{{PROC}}/kcore rwklx,
  deny /sys/firmware/** rwklx,
  deny /sys/kernel/security/** rwklx,
}}
"""


def apparmor_profile(pod_context: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    """The name of the profile to start a container with, empty for none. Raises ContainerConfigError. May block."""
    if context.get("privileged"):
        return ""
    profile = context.get("appArmorProfile") or pod_context.get("appArmorProfile") or {}
    match profile.get("type"):
        case "Localhost":
            return _require_loaded(profile.get("localhostProfile") or "")
        case "RuntimeDefault":
            _load_default()
            return DEFAULT_PROFILE
    return ""


def _require_loaded(name: str) -> str:
    if name not in loaded_profiles(_LOADED):
        raise ContainerConfigError(f'AppArmor profile "{name}" is not loaded on the node: load it by apparmor_parser')
    return name


def loaded_profiles(listing: Path) -> set[str]:
    """Names in the kernel's list of profiles (``name (mode)`` a line); none if it can't be read."""
    try:
        lines = listing.read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return {line.rpartition(" (")[0] for line in lines}


@functools.cache
def _load_default() -> None:
    parser = shutil.which("apparmor_parser")
    if parser is None:
        raise ContainerConfigError("AppArmor profile RuntimeDefault needs apparmor_parser: apt-get install apparmor")
    command = [parser, "--replace", "--skip-cache"]
    loaded = subprocess.run(command, input=_DEFAULT, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if loaded.returncode != 0:
        raise ContainerConfigError(f"cannot load the AppArmor profile {DEFAULT_PROFILE}: {loaded.stderr.strip()}")
