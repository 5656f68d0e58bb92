"""The shape of a registry row: where a kind lives, how it is shown, and the rules that its objects keep.

The API server, the cache and the controllers are written against these rows only, so that adding a kind is adding a
row, a validator and columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from flotilla.api.errors import FieldError
from flotilla.api.objects import KubeObject
from flotilla.api.schema_report import SchemaReport

LARGEST_FAULT_COUNT = 50
ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")

Validator = Callable[[KubeObject, KubeObject | None], list[FieldError]]
SubresourceValidator = Callable[[str, KubeObject, KubeObject], list[FieldError]]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the server-side Table; ``value(obj, now)`` is the cell. Priority 0 is always shown, 1 with wide."""

    name: str
    type: str
    description: str
    priority: int
    format: str
    value: Callable[[KubeObject, datetime], Any]


@dataclass(frozen=True, slots=True)
class Strategy:
    """The rules of one kind, applied by every write: default, prepare, then validate.

    ``default`` and the two ``prepare`` functions edit the object in place. ``validate`` returns every fault that it
    finds (``old`` is None on create). ``warnings`` names fields that are accepted and not acted upon.
    ``prepare_for_create`` drops what users may not set (status) and starts ``metadata.generation``;
    ``prepare_for_update`` keeps the old status and raises the generation when the desired state changed.
    ``without_chosen`` is a new object without what the server chose for it, which nobody owns; they share parts.
    ``prepare_for_delete`` marks an object, when it is first asked to go, with what has to be done before it can.
    ``validate_subresource`` finds the faults of a write through the subresource that it names, if there are rules.
    """

    default: Callable[[KubeObject], None]
    validate: Validator
    prepare_for_create: Callable[[KubeObject], None]
    prepare_for_update: Callable[[KubeObject, KubeObject], None]
    warnings: Callable[[KubeObject], list[str]]
    selectable_fields: Callable[[Mapping[str, Any]], dict[str, str]]
    without_chosen: Callable[[KubeObject], KubeObject] | None = None
    graceful_deletion: bool = False
    status_subresource: bool = False
    validate_subresource: SubresourceValidator | None = None
    prepare_for_delete: Callable[[KubeObject, datetime], None] | None = None


def _at_most(limit: int, validate: Validator) -> Validator:
    def validate_some(obj: KubeObject, old: KubeObject | None) -> list[FieldError]:
        errors = validate(obj, old)
        if len(errors) <= limit:
            return errors
        more = FieldError("", f"and {len(errors) - limit} more faults", "FieldValueTooMany")
        return [*errors[:limit], more]

    return validate_some


def guarded(strategy: Strategy) -> Strategy:
    """The strategy with faults listed up to a number that a person can read and a reply can carry."""
    return replace(strategy, validate=_at_most(LARGEST_FAULT_COUNT, strategy.validate))


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """How objects of a row that is not stored itself follow from those of ``stored``, the row that is.

    Both functions are pure: they leave their argument alone, and the result may share parts with it. What the viewing
    kind can't express is carried in annotations, so that an object survives the way there and back.
    """

    stored: Resource
    to_stored: Callable[[KubeObject], KubeObject]
    from_stored: Callable[[KubeObject], KubeObject]


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where a kind that was defined at run time has what its scale subresource shows; ``selector`` may be empty."""

    spec_replicas: tuple[str, ...]
    status_replicas: tuple[str, ...]
    selector: tuple[str, ...]


class Shape(Protocol):
    """The schema of a kind that was defined at run time; the kinds of the release have theirs in the published file."""

    @property
    def openapi(self) -> Mapping[str, Any]:
        """The kind's schema in OpenAPI's form, ``metadata`` a reference to ObjectMeta; for merging and documents."""

    @property
    def scale(self) -> ScalePaths | None:
        """Where the scale subresource finds what it shows; None for a kind without."""

    def admit(self, obj: KubeObject) -> SchemaReport:
        """Drop from a client's object what the schema doesn't know, in place, and report that."""

    def restore(self, obj: KubeObject) -> bool:
        """Bring a stored object into the form of the present schema, in place; whether that changed anything."""


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One served resource. Rows are singletons: compared and hashed by identity.

    A row with a ``view`` is another version of the objects of the view's row, with its own definition, columns and
    strategy. A row with a ``shape`` was defined at run time; ``served`` is False for one that is only stored, and
    ``deprecation`` warns who uses it.
    """

    group: str
    version: str
    plural: str
    singular: str
    kind: str
    namespaced: bool
    definition: str
    columns: tuple[Column, ...]
    strategy: Strategy
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    view: View | None = None
    shape: Shape | None = None
    listed_as: str = ""
    served: bool = True
    deprecation: str = ""

    @property
    def api_version(self) -> str:
        """``v1`` for the core group, ``group/version`` for the others."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def list_kind(self) -> str:
        return self.listed_as or f"{self.kind}List"

    @property
    def hub(self) -> Resource:
        """The row whose objects are stored: itself, or the one that it is a view of."""
        return self.view.stored if self.view is not None else self

    @property
    def storage(self) -> str:
        """The path of its objects under ``/registry/``."""
        if self.view is not None:
            return self.view.stored.storage
        return f"{self.group}/{self.plural}" if self.group else self.plural

    def __repr__(self) -> str:
        return f"<Resource {self.storage} {self.version}>"
