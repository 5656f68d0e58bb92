"""References to variables in commands, arguments, environment values and sub-paths (Kubernetes' ``expansion``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` by the variable, if it exists; ``$$`` stands for ``$`` (Kubernetes' ``expansion``)."""
    return _replaced(text, lambda name: environment.get(name, f"$({name})"))


def unset_variables(text: str, environment: Mapping[str, str]) -> list[str]:
    """The names, sorted, of variables that ``text`` refers to and that don't exist or are empty."""
    unset: set[str] = set()

    def look_up(name: str) -> str:
        if not environment.get(name):
            unset.add(name)
        return ""

    _replaced(text, look_up)
    return sorted(unset)


def _replaced(text: str, value_of: Callable[[str], str]) -> str:
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
            parts.append(value_of(text[found + 2 : end]))
            position = end + 1
    return "".join(parts) + text[position:]
