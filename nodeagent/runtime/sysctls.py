"""Names of kernel settings."""

from __future__ import annotations


def dotted(name: str) -> str:
    """The name with dots, however it was written: its first separator tells (sysctl(8))."""
    first = next((character for character in name if character in "./"), ".")
    return name if first == "." else name.translate(str.maketrans("./", "/."))
