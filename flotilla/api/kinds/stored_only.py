"""Kinds that are served in full and that no controller of this version acts upon yet."""

from __future__ import annotations


def stored_only(kind: str, consequence: str) -> str:
    """The warning for an object of such a kind; ``consequence`` says what will not happen."""
    return f"{kind}: this version of Flotilla stores it, but no controller acts on it yet: {consequence}"
