"""Kernel settings that pods need, with what they were before kept for the way back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_SYSCTLS = Path("/proc/sys")


def apply_sysctls(wanted: Mapping[str, str]) -> dict[str, str]:
    """Set values by name (``net/ipv4/ip_forward``); returns the former values of those that were changed.

    /proc/sys/net shows the network namespace of the calling thread.
    """
    changed = {}
    for name, value in wanted.items():
        path = _SYSCTLS / name
        before = path.read_text().strip()
        if before != value:
            path.write_text(value)
            changed[name] = before
    return changed


def restore_sysctls(former: Mapping[str, str]) -> None:
    """Write former values back."""
    for name, value in former.items():
        (_SYSCTLS / name).write_text(value)
