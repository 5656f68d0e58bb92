"""References to variables in commands, arguments, environment values and sub-paths (Kubernetes' ``expansion``)."""

from __future__ import annotations

from collections.abc import Mapping


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` by the variable, if it exists; ``$$`` stands for ``$`` (Kubernetes' ``expansion``)."""
    parts: list[str] = []
    position = 0
    while (found := text.find("$", position)) >= 0 and found + 1 < len(text):
        parts.append(text[position:found])
        following = text[found + 1]
        end = text.find(")", found + 2) if following == "(" else -1
        if following == "$":
            parts.append("$")
            position = found + 2
        elif end < 0:
            parts.append("$")
            position = found + 1
        else:
            parts.append(environment.get(text[found + 2 : end], text[found : end + 1]))
            position = end + 1
    return "".join(parts) + text[position:]
