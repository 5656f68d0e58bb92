"""Regular expressions of schemas and rules, in RE2's dialect as in Kubernetes.

Authors of schemas write them and everybody's objects are matched, so their time must be linear in the text, which
Python's own ``re`` does not promise.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

_MAXIMUM_PATTERNS = 2048


class InvalidPatternError(ValueError):
    """RE2 does not take the expression."""


@lru_cache(maxsize=_MAXIMUM_PATTERNS)
def compiled(pattern: str) -> Any:
    """The expression, compiled once. InvalidPatternError."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        (why,) = error.args
        raise InvalidPatternError(why.decode() if isinstance(why, bytes) else str(why)) from error


def found_in(pattern: str, text: str) -> bool:
    """Whether the expression matches anywhere in the text. InvalidPatternError."""
    return compiled(pattern).search(text) is not None
