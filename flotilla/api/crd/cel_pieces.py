"""Rules that take more steps than the library takes in one evaluation: their outermost loops are run piece by piece.

The library ends an evaluation after ten thousand steps, which is a hundred items compared with one another; Kubernetes
allows many more. A loop goes over a part of its items at a time here, each part going on from the total of those before
it. What can't be divided still ends: one item that takes too many steps, values that exist inside of the library only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from flotilla.api.crd.cel_ast import Checked, Expression, Kind, Loop, calling, folding, named, read_checked
from flotilla.api.crd.cel_errors import BudgetError, EvaluationError

_ITEMS, _START = "@items", "@start"
_TOLERANT = "@not_strictly_false"
Variables = Mapping[str, Any]
Run = Callable[[Any, Variables], Any]


class Pieces:
    """One rule. ``run`` evaluates a program; it raises EvaluationError and BudgetError."""

    def __init__(self, environment: Any, message: bytes, run: Run) -> None:
        self._environment = environment
        self._checked: Checked = read_checked(message)
        self._run = run
        self._programs: dict[tuple[int, bool], Any] = {}

    def value(self, variables: Variables, *, until: float) -> Any:
        """What the rule gives; ``until`` is processor time of the thread. EvaluationError, BudgetError."""
        return self._value(self._checked.root, variables, until)

    def _value(self, at: Expression, variables: Variables, until: float) -> Any:
        if time.thread_time() > until:
            raise BudgetError
        if at.loop is not None:
            if _is_binding(at.loop):
                bound = dict(variables) | {at.loop.total: self._value(at.loop.start, variables, until)}
                return self._value(at.loop.result, bound, until)
            return self._looped(at, at.loop, variables, until)
        match at.name if at.kind is Kind.CALL else "":
            case "_&&_":
                return self._joined(at, variables, until, decisive=False)
            case "_||_":
                return self._joined(at, variables, until, decisive=True)
            case "!_":
                return self._value(at.parts[0], variables, until) is False
            case "_?_:_":
                chosen = at.parts[1] if self._value(at.parts[0], variables, until) else at.parts[2]
                return self._value(chosen, variables, until)
        if at.kind is Kind.CALL and at.loops:
            return self._called(at, variables, until)
        return self._alone(at, at.raw, variables)

    def _called(self, at: Expression, variables: Variables, until: float) -> Any:
        """What a function gives for arguments that are made in loops."""
        known = dict(variables)
        parts = [part.raw for part in at.parts]
        for index, part in enumerate(at.parts):
            if part.loops:
                name = f"@{part.id}"
                known[name], parts[index] = self._value(part, variables, until), named(part, name)
        return self._alone(at, calling(at, parts), known)

    def _joined(self, at: Expression, variables: Variables, until: float, *, decisive: bool) -> bool:
        """Both sides, of which either may decide, even where the other has no value."""
        error: EvaluationError | None = None
        for part in at.parts:
            try:
                found: object = self._value(part, variables, until)
                if found is decisive:
                    return decisive
            except BudgetError:
                raise
            except EvaluationError as raised:
                error = error or raised
        if error is not None:
            raise error
        return not decisive

    def _looped(self, at: Expression, loop: Loop, variables: Variables, until: float) -> Any:
        items = list(self._value(loop.range, variables, until))
        total = self._value(loop.start, variables, until)
        error: EvaluationError | None = None
        tolerant = loop.condition.name == _TOLERANT
        folded = folding(at, loop, items=_ITEMS, start=_START)
        done, count = 0, max(1, len(items) // 2)
        while done < len(items) and self._goes_on(loop, total, variables):
            if time.thread_time() > until:
                raise BudgetError
            known = dict(variables) | {_ITEMS: items[done : done + count], _START: total}
            try:
                total = self._alone(at, folded, known, folded=True)
            except BudgetError:
                if count == 1:
                    raise
                count //= 2
                continue
            except EvaluationError as raised:
                if not tolerant:
                    raise
                error = error or raised
            done += count
        if error is not None and self._goes_on(loop, total, variables):
            raise error
        return self._value(loop.result, dict(variables) | {loop.total: total}, until)

    def _goes_on(self, loop: Loop, total: Any, variables: Variables) -> bool:
        found: bool = self._alone(loop.condition, loop.condition.raw, dict(variables) | {loop.total: total})
        return found

    def _alone(self, at: Expression, raw: bytes, variables: Variables, *, folded: bool = False) -> Any:
        if at.kind is Kind.NAME and at.name in variables:
            return variables[at.name]
        program = self._programs.get((at.id, folded))
        if program is None:
            program = self._environment.deserialize(self._checked.with_root(raw))
            self._programs[at.id, folded] = program
        return self._run(program, variables)


def _is_binding(loop: Loop) -> bool:
    """Whether it is no loop but ``cel.bind``."""
    return loop.range.kind is Kind.LIST and not loop.range.parts and loop.condition.value is False
