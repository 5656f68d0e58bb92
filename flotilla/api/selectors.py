"""Label and field selectors: parsing, matching, and their canonical text.

Source: ``k8s.io/apimachinery/pkg/labels`` and ``.../fields``. A requirement on an absent key is met by ``!=``,
``notin`` and ``!key`` only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flotilla.api.names import label_value_faults, qualified_name_faults

_TOKEN = re.compile(r"\s*(==|!=|[=,()!<>]|[^\s=,()!<>]+)\s*")
_MARKS = frozenset({"=", "==", "!=", ",", "(", ")", "!", "<", ">"})
_SET_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One demand on one label. Operators: ``in``, ``notin``, ``exists``, ``!``, ``gt``, ``lt``."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
            case _:
                return value is not None and self._compares(value)

    def _compares(self, value: str) -> bool:
        (bound,) = self.values
        try:
            return int(value) > int(bound) if self.operator == "gt" else int(value) < int(bound)
        except ValueError:
            return False

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "gt" | "lt":
                return f"{self.key}{'>' if self.operator == 'gt' else '<'}{next(iter(self.values))}"
        if len(self.values) == 1:
            return f"{self.key}{'=' if self.operator == 'in' else '!='}{next(iter(self.values))}"
        return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All requirements must hold; none at all holds for everything. ``nothing`` is the selector that never matches."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str]) -> bool:
        return not self.nothing and all(requirement.matches(labels) for requirement in self.requirements)

    @property
    def empty(self) -> bool:
        """Whether it matches everything."""
        return not self.requirements and not self.nothing

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)


EVERYTHING = LabelSelector()
NOTHING = LabelSelector(nothing=True)


class _Tokens:
    """A cursor over the tokens of a selector; ``""`` stands for the end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[str] = []
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                break
            self._tokens.append(match[1])
            position = match.end()
        self._next = 0

    def peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self._next += 1
        return token

    def fault(self, expected: str) -> ValueError:
        found = self.peek() or "end of text"
        return ValueError(f"unable to parse requirement: found '{found}', expected: {expected} in {self._text!r}")


def _checked(requirement: Requirement) -> Requirement:
    faults = [f"{requirement.key!r}: {fault}" for fault in qualified_name_faults(requirement.key)]
    faults += [f"{value!r}: {fault}" for value in sorted(requirement.values) for fault in label_value_faults(value)]
    if faults:
        raise ValueError(f"unable to parse requirement: {faults[0]}")
    return requirement


def _key(tokens: _Tokens) -> str:
    if tokens.peek() in _MARKS or not tokens.peek():
        raise tokens.fault("identifier")
    return tokens.take()


def _value(tokens: _Tokens) -> str:
    if tokens.peek() in ("", ","):
        return ""
    return _key(tokens)


def _value_set(tokens: _Tokens) -> frozenset[str]:
    if tokens.peek() != "(":
        raise tokens.fault("'('")
    tokens.take()
    values = set()
    while True:
        values.add("" if tokens.peek() in (",", ")") else _key(tokens))
        if tokens.peek() not in (",", ")"):
            raise tokens.fault("',' or ')'")
        if tokens.take() == ")":
            return frozenset(values)


def _requirement(tokens: _Tokens) -> Requirement:
    if tokens.peek() == "!":
        tokens.take()
        return Requirement(_key(tokens), "!")
    key = _key(tokens)
    match tokens.peek():
        case "" | ",":
            return Requirement(key, "exists")
        case "=" | "==":
            tokens.take()
            return Requirement(key, "in", frozenset({_value(tokens)}))
        case "!=":
            tokens.take()
            return Requirement(key, "notin", frozenset({_value(tokens)}))
        case "in" | "notin" as operator:
            tokens.take()
            return Requirement(key, operator, _value_set(tokens))
        case "<" | ">" as mark:
            tokens.take()
            bound = _key(tokens)
            int(bound)
            return Requirement(key, "gt" if mark == ">" else "lt", frozenset({bound}))
    raise tokens.fault("'=', '!=', '==', 'in', 'notin', '<' or '>'")


def parse_label_selector(text: str) -> LabelSelector:
    """A selector from its text, as ``kubectl -l`` takes it; empty text matches everything. Raises ValueError."""
    tokens = _Tokens(text)
    requirements = []
    while tokens.peek():
        requirements.append(_checked(_requirement(tokens)))
        if tokens.peek() not in ("", ","):
            raise tokens.fault("',' or end of text")
        if tokens.take() == "," and not tokens.peek():
            raise tokens.fault("identifier after ','")
    return LabelSelector(tuple(sorted(requirements, key=lambda requirement: requirement.key)))


def label_selector_of(selector: Mapping[str, Any] | None) -> LabelSelector:
    """A selector from a ``metav1.LabelSelector``: ``{}`` matches everything, None nothing. Raises ValueError."""
    if selector is None:
        return NOTHING
    equal = selector.get("matchLabels") or {}
    requirements = [Requirement(key, "in", frozenset({value})) for key, value in equal.items()]
    for expression in selector.get("matchExpressions") or ():
        operator = _SET_OPERATORS.get(expression.get("operator", ""))
        if operator is None:
            raise ValueError(f"{expression.get('operator')!r} is not a valid label selector operator")
        values = frozenset(expression.get("values") or ())
        if bool(values) != (operator in ("in", "notin")):
            raise ValueError(
                f"operator {expression['operator']} with {len(values)} values for {expression.get('key')!r}"
            )
        requirements.append(Requirement(expression.get("key", ""), operator, values))
    return LabelSelector(tuple(sorted(requirements, key=lambda requirement: requirement.key)))


def label_selector_of_map(labels: Mapping[str, str] | None) -> LabelSelector:
    """A selector from a plain map, as Services carry it; an empty or absent map matches nothing."""
    return label_selector_of({"matchLabels": labels}) if labels else NOTHING


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """Terms ``(field, equal, value)``, all of which must hold."""

    terms: tuple[tuple[str, bool, str], ...] = ()

    def matches(self, fields: Mapping[str, str]) -> bool:
        """Whether every term holds; a field that is not there is the empty string."""
        return all((fields.get(field, "") == value) is equal for field, equal, value in self.terms)

    @property
    def fields(self) -> frozenset[str]:
        """The fields that it asks about, for refusing those that a kind can't select by."""
        return frozenset(field for field, _, _ in self.terms)

    def required_value(self, field: str) -> str | None:
        """The value that ``field`` must have, None where it may have several; lets a list use an index."""
        return next((value for name, equal, value in self.terms if equal and name == field), None)

    def __str__(self) -> str:
        return ",".join(f"{field}{'=' if equal else '!='}{_escape(value)}" for field, equal, value in self.terms)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


def _split_terms(text: str) -> list[str]:
    terms, current, escaped = [], "", False
    for character in text:
        if character == "," and not escaped:
            terms.append(current)
            current = ""
        else:
            current += character
        escaped = character == "\\" and not escaped
    return [term for term in (*terms, current) if term]


def _unescape(value: str, term: str) -> str:
    plain, characters = [], iter(value)
    for character in characters:
        if character == "\\":
            following = next(characters, "")
            if following not in ("\\", ",", "="):
                raise ValueError(f"invalid field selector: invalid escape sequence in {term!r}")
            plain.append(following)
        elif character == "=":
            raise ValueError(f"invalid field selector: unescaped '=' in {term!r}")
        else:
            plain.append(character)
    return "".join(plain)


def parse_field_selector(text: str) -> FieldSelector:
    """A selector from its text, as ``kubectl --field-selector`` takes it. Raises ValueError."""
    terms = []
    for term in _split_terms(text):
        match = re.match(r"([^=!,\\]+)(!=|==|=)", term)
        if match is None:
            raise ValueError(f"invalid field selector: {term!r}; can't understand it, use field=value or field!=value")
        field, operator = match.groups()
        terms.append((field.strip(), operator != "!=", _unescape(term[match.end() :], term)))
    return FieldSelector(tuple(terms))
