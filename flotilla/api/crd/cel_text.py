"""The text of CEL expressions, as far as it is read before it is compiled."""

from __future__ import annotations

import re

_STRING = re.compile(
    r"[rR]?(?:'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\"|'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")|//[^\n]*",
    re.DOTALL,
)


def without_strings(text: str) -> str:
    """``text`` with spaces in the place of its strings and comments, as long as it was."""
    return _STRING.sub(lambda match: " " * len(match[0]), text)


def closing(bare: str, start: int) -> int:
    """Where the parenthesis that opens at ``start`` closes, -1 if it does not. ``bare`` has no strings."""
    depth = 0
    for position in range(start, len(bare)):
        depth += (bare[position] == "(") - (bare[position] == ")")
        if depth == 0:
            return position
    return -1
