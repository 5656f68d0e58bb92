"""What can go wrong with an expression in CEL."""

from __future__ import annotations


class CompilationError(ValueError):
    """An expression is no valid CEL, or gives a value of the wrong type."""


class EvaluationError(ValueError):
    """An expression has no value for this object."""


class BudgetError(EvaluationError):
    """An expression takes too many steps."""
