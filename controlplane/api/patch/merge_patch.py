"""JSON merge patch, RFC 7386: objects are merged key by key, null removes, everything else replaces."""

from __future__ import annotations

import copy
from typing import Any


def apply_merge_patch(document: Any, patch: Any) -> Any:
    """The merged document. Shares with ``document`` what it did not have to rebuild."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = apply_merge_patch(merged.get(name), value)
    return merged
