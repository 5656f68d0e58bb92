"""Whatever passes the schema check goes through every rule of its kind without an accident."""

from __future__ import annotations

import copy
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from flotilla.api.objects import KubeObject, encode
from flotilla.api.registry import REGISTRY, Resource
from flotilla.api.schema_check import check
from flotilla.api.schema_source import Schema, definition, reference_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_OBJECTS_A_KIND = 150
_DEEP = 9  # where optional fields end, for schemas that contain themselves
_STRINGS = ("", "a", "web", "Web!", "80", "..", "25%", "Always", "Exists", "In", "None", "10.0.0.1", "RollingUpdate")
_SPECIAL: dict[str, tuple[Any, ...]] = {
    "Quantity": ("0", "1", "-1", "100m", "64Mi", 2, 0.5),
    "IntOrString": (0, 1, -1, "25%", "http", "200%"),
    "Time": ("2026-01-01T00:00:00Z",),
    "MicroTime": ("2026-01-01T00:00:00.000000Z",),
    "FieldsV1": ({},),
}


class _Maker:
    """Draws objects that conform to a schema; the seed fixes what is drawn."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def make(self, schema: Schema, depth: int = 0) -> Any:
        name = reference_of(schema)
        if name:
            special = _SPECIAL.get(name.rpartition(".")[2])
            return self._random.choice(special) if special else self.make(definition(name), depth)
        listed = schema.get("type", "object")
        kind = listed if isinstance(listed, str) else listed[0]
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return [self.make(schema["items"], depth + 1) for _ in range(self._random.choice((0, 1, 1, 2)))]
            case "boolean":
                return self._random.choice((True, False))
            case "integer" | "number":
                return self._random.choice((-1, 0, 1, 2, 80, 70000))
        return "YQ==" if schema.get("format") == "byte" else self._random.choice(_STRINGS)

    def _object(self, schema: Schema, depth: int) -> KubeObject:
        if "properties" not in schema:
            values = schema.get("additionalProperties")
            if not isinstance(values, dict):
                return {}
            return {self._random.choice(_STRINGS): self.make(values, depth + 1) for _ in range(2)}
        required = schema.get("required", ())
        odds = 0.6 if depth < 3 else 0.25 if depth < _DEEP else 0.0
        return {
            field: self.make(part, depth + 1)
            for field, part in schema["properties"].items()
            if field in required or self._random.random() < odds
        }


def _objects(resource: Resource) -> list[KubeObject]:
    made = []
    for seed in range(_OBJECTS_A_KIND):
        obj = _Maker(seed).make(definition(resource.definition))
        obj["metadata"] = {**obj.get("metadata", {}), "name": "web", "namespace": "default"}
        made.append(obj)
    return made


@pytest.mark.parametrize("resource", REGISTRY.all(), ids=repr)
def test_every_rule_survives_every_object(resource: Resource) -> None:
    """Defaults, preparation, validation, warnings, columns and fields must not fail on any well-formed object."""
    strategy = resource.strategy
    objects = _objects(resource)
    for obj, other in zip(objects, [*objects[1:], objects[0]], strict=True):
        new, old = copy.deepcopy(obj), copy.deepcopy(other)
        assert check(resource.definition, new).errors == []
        for each in (old, new):
            strategy.default(each)
        strategy.prepare_for_create(old)
        strategy.prepare_for_update(new, old)
        assert strategy.validate(new, None) is not None
        assert strategy.validate(new, old) is not None
        if strategy.validate_subresource is not None:
            for subresource in resource.subresources:
                assert strategy.validate_subresource(subresource, new, old) is not None
        strategy.warnings(new)
        strategy.selectable_fields(new)
        encode([column.value(new, NOW) for column in resource.columns])


@pytest.mark.parametrize("resource", REGISTRY.all(), ids=repr)
def test_defaults_conform_and_are_idempotent(resource: Resource) -> None:
    """Whatever is defaulted must still conform to the schema, and defaulting again must change nothing."""
    for obj in _objects(resource):
        resource.strategy.default(obj)
        again = copy.deepcopy(obj)
        resource.strategy.default(again)
        assert again == obj
        report = check(resource.definition, obj)
        assert report.unknown == []
        assert [error for error in report.errors if error.reason != "FieldValueRequired"] == []
