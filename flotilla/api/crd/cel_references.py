"""Finds fields that rules speak of and the schema doesn't know, before any object is judged.

Chains of plain field accesses that start at ``self`` or ``oldSelf`` are followed through the schema. What goes through
lists, functions or bound variables is left to evaluation.
"""

from __future__ import annotations

import re

from flotilla.api.crd.cel_text import without_strings
from flotilla.api.crd.cel_values import spelled
from flotilla.api.crd.structural import Node

_CHAIN = re.compile(r"(?<![\w.\]\)?])(?:self|oldSelf)((?:\s*\.\s*[a-zA-Z_]\w*)+)(\s*\()?")
_BINDING = re.compile(r"\(\s*(?:self|oldSelf)\s*,")
_WHOLE = ("apiVersion", "kind", "metadata")


def undefined_field(text: str, node: Node, *, whole: bool) -> str:
    """The first field that can't be there, ``""`` if all can. ``whole``: the node is of complete objects."""
    bare = without_strings(text)
    if _BINDING.search(bare):
        return ""
    for chain in _CHAIN.finditer(bare):
        names = [name.strip() for name in chain[1].split(".")[1:]]
        if chain[2] is not None:
            names.pop()
        found = _first_unknown(names, node, whole=whole)
        if found:
            return found
    return ""


def _first_unknown(names: list[str], node: Node, *, whole: bool) -> str:
    at: Node | None = node
    for position, name in enumerate(names):
        complete = at is not None and (at.embedded or (whole and position == 0))
        if complete and name in _WHOLE:
            return ""
        if at is None or at.type != "object" or isinstance(at.additional, Node) or at.int_or_string:
            return ""
        known = {spelled(field): part for field, part in at.properties.items()}
        if name not in known:
            return name
        at = known[name]
    return ""
