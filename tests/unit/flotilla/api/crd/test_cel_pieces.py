"""Rules that take more steps than one evaluation may: in pieces they give what they would give at once."""

from __future__ import annotations

import time
from typing import Any

import pytest

from flotilla.api.crd.cel_environment import Program
from flotilla.api.crd.cel_errors import EvaluationError
from flotilla.api.crd.cel_pieces import Pieces
from flotilla.api.crd.rules import RuleRun, compile_rules
from flotilla.api.crd.structural import read_schema
from flotilla.api.crd.validation import MISSING
from flotilla.api.objects import KubeObject

_ITEMS = {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}}
UNIQUE = "self.l.all(x, self.l.exists_one(y, y.a == x.a))"
MANY = [
    UNIQUE,
    f"has(self.l) && size(self.l) > 1 && {UNIQUE}",
    f"!has(self.l) || {UNIQUE}",
    f"has(self.l) ? {UNIQUE} : false",
    "!self.l.exists(x, self.l.filter(y, y.a == x.a).size() > 1)",
    "self.l.map(x, self.l.exists_one(y, y.a == x.a)).all(z, z)",
    "size(self.l.filter(x, self.l.exists_one(y, y.a == x.a))) == size(self.l)",
    f"cel.bind(l, self.l, {UNIQUE.replace('self.l', 'l')})",
]


@pytest.mark.parametrize("rule", MANY)
def test_a_hundred_and_fifty_items_are_compared_with_one_another(rule: str) -> None:
    """22,500 steps, as Kubernetes' budget allows them; two items that are alike must be found among them."""
    rules = [{"rule": rule}]
    schema = {"type": "object", "properties": {"l": _ITEMS}, "x-kubernetes-validations": rules}
    compiled = compile_rules(read_schema(schema), "", [])
    assert compiled is not None
    items = [{"a": f"n{number}"} for number in range(150)]
    assert RuleRun().judge({"l": items}, MISSING, compiled) == []
    (fault,) = RuleRun().judge({"l": [*items, items[70]]}, MISSING, compiled)
    assert f"failed rule: {rule}" in str(fault)


EQUAL = [
    "self.all(x, x > 1)",
    "self.all(x, 10 / x > 1)",
    "self.all(x, 10 / x > 1) || true",
    "self.exists(x, 10 / x > 4)",
    "self.exists(x, 10 / x > 4) && true",
    "self.exists_one(x, x == 1)",
    "self.exists_one(x, 10 / x == 5)",
    "!self.map(x, x * 2).exists(x, x == 4)",
    "self.filter(x, x > 1).size() == 1 ? self.all(x, x < 3) : self.exists(x, x == 0)",
    "cel.bind(big, self.filter(x, x > 2), big.all(x, x < 9) && self.exists(x, x in big))",
    "{'a': self.map(x, x)}.a.size() == self.size()",
]


@pytest.mark.parametrize("rule", EQUAL)
@pytest.mark.parametrize("value", [[], [0], [1], [2, 0], [0, 2], [1, 2, 3], [3, 1, 0, 1], [9, 1, 2, 2, 5]], ids=str)
def test_pieces_agree_with_the_whole(rule: str, value: list[int]) -> None:
    """Values, short cuts, and errors that another item makes up for or does not."""
    node = read_schema({"type": "array", "items": {"type": "integer"}})
    program = Program(rule, node, wanted="BOOL", optional_old=False)
    assert _outcome(program.in_pieces(), value) == _outcome(program, value)


def _outcome(rule: Program | Pieces, value: list[int]) -> Any:
    variables: KubeObject = {"self": value}
    try:
        return rule.value(variables, until=time.thread_time() + 10)
    except EvaluationError as error:
        return str(error)
