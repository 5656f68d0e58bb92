"""``x-kubernetes-validations``: the rules in CEL that a schema carries, compiled once and evaluated at each write.

A rule that speaks of ``oldSelf`` is about a transition: it is asked only where there is an old value that belongs to
the new one. All others are about the value alone, and an unchanged value is not judged again. One object may take a
tenth of a second of processor time; what is left undone then makes the object invalid.
Source: ``pkg/apiserver/schema/cel``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flotilla.api.crd.cel_environment import OLD_SELF, OLD_SELVES, SELF, Program
from flotilla.api.crd.cel_errors import BudgetError, CompilationError, EvaluationError
from flotilla.api.crd.cel_references import undefined_field
from flotilla.api.crd.cel_values import cel_value
from flotilla.api.crd.faults import place
from flotilla.api.crd.json_path import InvalidPathError, simple_fields
from flotilla.api.crd.structural import Node, Schema
from flotilla.api.crd.validation import MISSING, correlate, same
from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import forbidden, invalid, required, unsupported
from flotilla.api.schema_check import Path

BUDGET_S = 0.1
REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"
_LONGEST_MESSAGE = 5 * 1024

Errors = list[FieldError]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its program, and how its failure is reported."""

    text: str
    program: Program
    message: str
    message_program: Program | None
    reason: str
    field: tuple[str, ...]
    optional_old: bool


@dataclass(frozen=True, slots=True)
class RuleNode:
    """The rules at one place and below. Places without any are left out."""

    node: Node
    rules: tuple[Rule, ...]
    fields: Mapping[str, RuleNode]
    items: RuleNode | None
    values: RuleNode | None


def compile_rules(
    node: Node, path: str, errors: Errors, *, correlated: bool = True, whole: bool = True
) -> RuleNode | None:
    """The rules of a schema, None where it has none; adds what is wrong with them to ``errors``.

    ``correlated`` says whether an old value can be found for each new one here, ``whole`` whether these are complete
    objects, which have a kind and a name.
    """
    if not node.has_rules:
        return None
    here = _Place(node=node, correlated=correlated, whole=whole or node.embedded)
    rules = [
        _compile(schema, here, f"{path}.x-kubernetes-validations[{index}]", errors)
        for index, schema in enumerate(node.rules)
    ]

    def below(part: Node | bool | None, rest: str, *, correlates: bool = True) -> RuleNode | None:
        if not isinstance(part, Node):
            return None
        return compile_rules(part, path + rest, errors, correlated=correlated and correlates, whole=False)

    fields = {name: below(part, f".properties[{name}]") for name, part in node.properties.items()}
    kept = {name: part for name, part in fields.items() if part is not None}
    items = below(node.items, ".items", correlates=node.list_type == "map")
    values = below(node.additional, ".additionalProperties")
    return RuleNode(node, tuple(rule for rule in rules if rule is not None), kept, items, values)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a rule stands in its schema."""

    node: Node
    correlated: bool
    whole: bool


def _compile(schema: Schema, here: _Place, path: str, errors: Errors) -> Rule | None:
    before = len(errors)
    text = (schema.get("rule") or "").strip()
    optional_old = schema.get("optionalOldSelf") is True
    program = message_program = None
    if not text:
        errors.append(required(f"{path}.rule", "rule is not specified"))
    else:
        program = _program(text, here, f"{path}.rule", errors, wanted="BOOL", optional_old=optional_old)
    if program is not None and not here.correlated and (program.needs_old or optional_old):
        why = "oldSelf cannot be used on the uncorrelatable portion of the schema"
        errors.append(invalid(f"{path}.rule", text, why))
    if "messageExpression" in schema:
        where, words = f"{path}.messageExpression", (schema["messageExpression"] or "").strip()
        if not words:
            errors.append(required(where, "must be non-empty if specified"))
        else:
            message_program = _program(words, here, where, errors, wanted="STRING", optional_old=optional_old)
    _check_message(schema, path, errors)
    reason = schema.get("reason") or "FieldValueInvalid"
    if reason not in REASONS:
        errors.append(unsupported(f"{path}.reason", reason, REASONS))
    field = _field(schema.get("fieldPath") or "", here.node, f"{path}.fieldPath", errors)
    if program is None or len(errors) > before:
        return None
    message = (schema.get("message") or "").strip()
    return Rule(text, program, message, message_program, reason, field, optional_old)


def _program(text: str, here: _Place, path: str, errors: Errors, *, wanted: str, optional_old: bool) -> Program | None:
    unknown = undefined_field(text, here.node, whole=here.whole)
    if unknown:
        errors.append(invalid(path, text, f"compilation failed: ERROR: undefined field '{unknown}'"))
        return None
    try:
        return Program(text, here.node, wanted=wanted, optional_old=optional_old)
    except CompilationError as error:
        errors.append(invalid(path, text, str(error)))
        return None


def _check_message(schema: Schema, path: str, errors: Errors) -> None:
    message = schema.get("message")
    if message is not None and not message.strip():
        errors.append(invalid(f"{path}.message", message, "message must be non-empty if specified"))
    elif message and "\n" in message.strip():
        errors.append(invalid(f"{path}.message", message, "message must not contain line breaks"))
    elif not message and "\n" in (schema.get("rule") or "").strip():
        why = "message must be specified if rule contains line breaks"
        errors.append(required(f"{path}.message", why))


def _field(text: str, node: Node, path: str, errors: Errors) -> tuple[str, ...]:
    if not text:
        return ()
    try:
        names = simple_fields(text)
    except InvalidPathError as error:
        errors.append(invalid(path, text, f"fieldPath must be a valid path: {error}"))
        return ()
    at: Node | None = node
    for name in names:
        at = at.child(name) if at is not None else None
    if at is None:
        errors.append(invalid(path, text, "fieldPath must be a valid path: does not refer to a valid field"))
    return names


class RuleRun:
    """One evaluation of all rules over one object."""

    def __init__(self) -> None:
        self.errors: Errors = []
        self._until = time.thread_time() + BUDGET_S

    def judge(self, obj: dict[str, Any], old: Any, rules: RuleNode) -> Errors:
        """What the rules refuse about a whole object; ``old`` is MISSING for a new one."""
        try:
            self._judge(obj, old, rules, (), whole=True)
        except BudgetError:
            self.errors.append(invalid(place(()), rules.node.type, OUT_OF_BUDGET))
        return self.errors

    def _judge(self, value: Any, old: Any, rules: RuleNode, path: Path, *, whole: bool = False) -> None:
        if value is None:
            return
        if rules.rules:
            self._judge_here(value, old, rules, path, whole=whole)
        if isinstance(value, dict):
            was = old if isinstance(old, dict) else {}
            for name, child in value.items():
                below = rules.fields.get(name, rules.values)
                if below is not None:
                    self._judge(child, was.get(name, MISSING), below, (path, name))
        elif isinstance(value, list) and rules.items is not None:
            for index, (item, was) in enumerate(zip(value, correlate(value, old, rules.node.map_keys), strict=True)):
                self._judge(item, was, rules.items, (path, index))

    def _judge_here(self, value: Any, old: Any, rules: RuleNode, path: Path, *, whole: bool) -> None:
        unchanged = old is not MISSING and same(value, old)
        due = [rule for rule in rules.rules if _is_due(rule, has_old=old is not MISSING, unchanged=unchanged)]
        if not due:
            return
        variables: dict[str, Any] = {SELF: cel_value(value, rules.node, whole=whole)}
        if old is not MISSING:
            was = cel_value(old, rules.node, whole=whole)
            variables |= {OLD_SELF: was, OLD_SELVES: [was]}
        else:
            variables[OLD_SELVES] = []
        for rule in due:
            if time.thread_time() > self._until:
                raise BudgetError
            self._ask(rule, variables, rules.node, path)

    def _ask(self, rule: Rule, variables: dict[str, Any], node: Node, path: Path) -> None:
        known = _known(rule, variables)
        try:
            if rule.program.value(known, until=self._until) is True:
                return
        except BudgetError:
            raise
        except EvaluationError as error:
            named = rule.message or rule.text
            self.errors.append(invalid(place(path), node.type, f"{error} evaluating rule: {named}"))
            return
        for name in rule.field:
            path = (path, name)
        self.errors.append(_fault(rule, place(path), node.type, self._message(rule, known)))

    def _message(self, rule: Rule, known: dict[str, Any]) -> str:
        """What the failure is explained with: the expression's text, the message, or the rule itself."""
        if rule.message_program is not None:
            try:
                text = rule.message_program.value(known, until=self._until)
            except EvaluationError:
                text = ""
            if isinstance(text, str) and text.strip() and "\n" not in text and len(text) <= _LONGEST_MESSAGE:
                return text.strip()
        return rule.message or f"failed rule: {rule.text}"


def _known(rule: Rule, variables: dict[str, Any]) -> dict[str, Any]:
    """The variables that the rule's environment declares."""
    if rule.optional_old:
        return {SELF: variables[SELF], OLD_SELVES: variables[OLD_SELVES]}
    if OLD_SELF not in variables or not _speaks_of_old(rule):
        return {SELF: variables[SELF]}
    return {SELF: variables[SELF], OLD_SELF: variables[OLD_SELF]}


def _speaks_of_old(rule: Rule) -> bool:
    return rule.program.needs_old or (rule.message_program is not None and rule.message_program.needs_old)


def _is_due(rule: Rule, *, has_old: bool, unchanged: bool) -> bool:
    if rule.program.needs_old:
        return has_old
    return rule.optional_old or not unchanged


def _fault(rule: Rule, path: str, type_: str, message: str) -> FieldError:
    match rule.reason:
        case "FieldValueRequired":
            return required(path, message)
        case "FieldValueForbidden":
            return forbidden(path, message)
        case "FieldValueDuplicate":
            return FieldError(path, f'Duplicate value: "{type_}"', rule.reason)
    return invalid(path, type_, message)
