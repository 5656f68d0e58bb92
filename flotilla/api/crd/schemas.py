"""A version's schema in the forms that requests need, made once for each content.

A definition is judged by compiling its schemas, and served from what was compiled then: schemas are kept by a digest of
their JSON, some hundreds of them, so that a definition that is written again and again costs no more than its digest.
"""

from __future__ import annotations

import copy
import hashlib
from collections import OrderedDict
from functools import cached_property
from typing import Any

from flotilla.api.crd.rules import RuleNode, compile_rules
from flotilla.api.crd.shaping import Pruning
from flotilla.api.crd.structural import Node, Schema, read_schema
from flotilla.api.crd.structural_rules import structural_faults
from flotilla.api.crd.validation import MISSING, Checker, compile_schema
from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import invalid
from flotilla.api.objects import encode

_KEPT = 256
_compiled: OrderedDict[bytes, CompiledSchema] = OrderedDict()


class CompiledSchema:
    """A structural schema's tree, and what is compiled from it when it is first needed."""

    def __init__(self, schema: Schema) -> None:
        self.node = read_schema(schema)

    @cached_property
    def check(self) -> Checker:
        """Judges whole objects."""
        return compile_schema(self.node.checks)

    @cached_property
    def _rules(self) -> tuple[RuleNode | None, list[FieldError]]:
        errors: list[FieldError] = []
        return compile_rules(self.node, "", errors), errors

    @property
    def rules(self) -> RuleNode | None:
        return self._rules[0]

    def faults(self) -> list[FieldError]:
        """What is wrong with the defaults and the rules, by paths that begin at the schema."""
        errors: list[FieldError] = []
        _check_defaults(self.node, "", errors)
        return errors + self._rules[1]


def schema_faults(schema: Schema, path: str) -> list[FieldError]:
    """Everything that is wrong with a schema that is found at ``path``; little work for one that was found good."""
    digest = _digest(schema)
    if digest in _compiled:
        return []
    found = structural_faults(schema, path)
    if found:
        return found
    compiled = CompiledSchema(schema)
    faults = compiled.faults()
    if not faults:
        _keep(digest, compiled)
    return [FieldError(path + error.field, error.message, error.reason) for error in faults]


def compiled_schema(schema: Schema) -> CompiledSchema:
    """The compiled form of a schema that has no faults."""
    digest = _digest(schema)
    found = _compiled.get(digest)
    return found if found is not None else _keep(digest, CompiledSchema(schema))


def _digest(schema: Schema) -> bytes:
    return hashlib.sha256(encode(schema)).digest()


def _keep(digest: bytes, compiled: CompiledSchema) -> CompiledSchema:
    """Schemas are kept in the order of their making; one that is let go is made again when its definition changes."""
    _compiled[digest] = compiled
    if len(_compiled) > _KEPT:
        _compiled.popitem(last=False)
    return compiled


def _check_defaults(node: Node, path: str, errors: list[FieldError]) -> None:
    if node.has_default:
        errors.extend(_default_faults(node, f"{path}.default"))
    for name, part in node.properties.items():
        if part.has_default or part.completes:
            _check_defaults(part, f"{path}.properties[{name}]", errors)
    if node.items is not None:
        _check_defaults(node.items, f"{path}.items", errors)
    if isinstance(node.additional, Node):
        _check_defaults(node.additional, f"{path}.additionalProperties", errors)


def _default_faults(node: Node, path: str) -> list[FieldError]:
    """A default must be what an object could hold: nothing of it may be pruned or refused."""
    value: Any = copy.deepcopy(node.default)
    if isinstance(value, dict):
        pruning = Pruning()
        pruning.prune_object(value, node)
        if pruning.unknown:
            return [invalid(path, node.default, "must not have unknown fields")]
    found: list[FieldError] = []
    compile_schema(node.checks)(value, MISSING, (), found)
    return [FieldError(_below(path, error.field), error.message, error.reason) for error in found]


def _below(path: str, field: str) -> str:
    return path if field == "<nil>" else f"{path}.{field}"
