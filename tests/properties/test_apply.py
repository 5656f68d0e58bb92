"""Laws of sets of fields and of server-side apply."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controlplane.api.apply.field_set import FieldSet, checked, difference, intersection, paths, union
from controlplane.api.apply.merge import Application, apply_config
from controlplane.api.apply.ownable import ownable
from controlplane.api.apply.ownership import track_write
from controlplane.api.apply.typed import compare, fields_of, merge
from controlplane.api.schema import root_schema
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject
from flotilla.api.resources import DEPLOYMENTS

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = root_schema(DEPLOYMENTS.definition)

names = st.sampled_from(["a", "b", "c"])
values = st.sampled_from(["x", "y"])
managers = st.sampled_from(["ann", "bob", "cid"])


@st.composite
def configs(draw: st.DrawFn) -> KubeObject:
    """Configurations of one Deployment, some fields set, some not; the spec is never empty, that would be a field."""
    spec: KubeObject = {"minReadySeconds": draw(st.integers(0, 2))}
    if draw(st.booleans()):
        spec["replicas"] = draw(st.integers(0, 2))
    if draw(st.booleans()):
        spec["paused"] = draw(st.booleans())
    items = [
        {"name": name} | ({"image": draw(values)} if draw(st.booleans()) else {})
        for name in draw(st.lists(names, unique=True, max_size=3))
    ]
    if items:
        spec["template"] = {"spec": {"containers": items}}
    metadata: KubeObject = {"name": "d", "namespace": "default"}
    labels = draw(st.dictionaries(names, values, max_size=3))
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


field_sets = configs().map(lambda config: fields_of(ownable(config), SCHEMA))


def apply(live: KubeObject | None, config: KubeObject, manager: str) -> KubeObject:
    application = Application(config=config, manager=manager, force=True)
    return apply_config(DEPLOYMENTS, live, application, now=NOW)


def members(fields: FieldSet) -> set[str]:
    return set(paths(fields))


def owned_by(obj: KubeObject, manager: str) -> set[str]:
    entries = obj["metadata"].get("managedFields", ())
    return set().union(*(members(entry["fieldsV1"]) for entry in entries if entry["manager"] == manager))


@given(field_sets, field_sets)
def test_the_algebra_is_that_of_sets(left: FieldSet, right: FieldSet) -> None:
    """Union, difference and intersection of trees are those of their members."""
    assert members(union(left, right)) == members(left) | members(right)
    assert members(difference(left, right)) == members(left) - members(right)
    assert members(intersection(left, right)) == members(left) & members(right)


@given(field_sets, field_sets)
def test_the_algebra_leaves_its_arguments_alone(left: FieldSet, right: FieldSet) -> None:
    """Sets are values: no operation edits what it was given, and what it need not change it gives back."""
    before = copy.deepcopy((left, right))
    union(left, right), difference(left, right), intersection(left, right)
    assert (left, right) == before
    assert difference(left, {}) is left
    assert checked(union(left, right)) is not None


@given(configs(), configs())
def test_a_comparison_names_every_change(old: Any, new: Any) -> None:
    """Equal objects differ in nothing; what is added or removed is in one and not in the other."""
    before, after = ownable(old), ownable(new)
    same = compare(before, before, SCHEMA)
    assert not same.added and not same.modified and not same.removed
    change = compare(before, after, SCHEMA)
    had, has = members(fields_of(before, SCHEMA)), members(fields_of(after, SCHEMA))
    assert has - had <= members(change.added)
    assert not members(change.added) & members(change.modified)
    assert (before != after) == bool(change.added or change.modified or change.removed)


@given(configs(), configs())
def test_a_merge_holds_the_configuration(live: Any, config: Any) -> None:
    """Every field of the configuration is in the result with its value, and nothing of the live object is lost."""
    merged = merge(ownable(live), ownable(config), SCHEMA)
    assert merge(merged, ownable(config), SCHEMA) == merged
    change = compare(merged, merge(merged, ownable(config), SCHEMA), SCHEMA)
    assert not change.modified
    assert members(fields_of(ownable(live), SCHEMA)) <= members(fields_of(merged, SCHEMA))


@given(st.lists(st.tuples(managers, configs()), min_size=1, max_size=6))
def test_applies_add_up_to_what_is_owned(applies: list[tuple[str, KubeObject]]) -> None:
    """After any applies each manager's last configuration is owned by it but for what was taken over; each field has
    an owner, and each owned field is there."""
    live: KubeObject | None = None
    for manager, config in applies:
        before = copy.deepcopy(live)
        result = apply(live, config, manager)
        assert live == before
        assert owned_by(result, manager) == members(fields_of(ownable(config), SCHEMA))
        live = result
    assert live is not None
    there = members(fields_of(ownable(live), SCHEMA))
    owned = set().union(*(owned_by(live, manager) for manager in ("ann", "bob", "cid")))
    assert owned <= there
    assert there <= owned | {"", ".spec", ".metadata"}


@given(configs(), configs(), managers)
def test_an_apply_repeated_changes_nothing(first: KubeObject, second: KubeObject, manager: str) -> None:
    """Applying the same configuration again gives the same object."""
    live = apply(apply(None, first, "other"), second, manager)
    assert apply(live, second, manager) == live


@given(configs(), configs())
def test_a_sole_manager_gets_exactly_its_configuration(first: KubeObject, second: KubeObject) -> None:
    """With one manager the object is what was applied last."""
    live = apply(apply(None, first, "ann"), second, "ann")
    assert fields_of(ownable(live), SCHEMA) == fields_of(ownable(second), SCHEMA)


@given(configs(), configs())
def test_an_update_gets_what_it_changes(first: KubeObject, second: KubeObject) -> None:
    """A plain update owns what it adds and changes, everybody loses what it removes."""
    live = apply(None, first, "ann")
    new: KubeObject = second | {"metadata": dict(second["metadata"])}
    track_write(DEPLOYMENTS, new, live, manager="edit", now=NOW)
    if "managedFields" not in live["metadata"]:
        return
    change = compare(ownable(live), ownable(second), SCHEMA)
    assert owned_by(new, "edit") == members(change.added) | members(change.modified)
    gone = members(change.removed) | members(change.modified) | members(change.added)
    assert owned_by(new, "ann") == owned_by(live, "ann") - gone


def content(obj: KubeObject) -> Any:
    """The object without the order of containers, which is that of who came first, and without the record."""
    bare = copy.deepcopy(ownable(obj))
    containers = bare.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])
    containers.sort(key=lambda item: item["name"])
    return bare


def renamed(config: KubeObject) -> KubeObject:
    """The configuration of somebody whose labels, containers and fields are others."""
    other = copy.deepcopy(config)
    metadata, spec = other["metadata"], other["spec"]
    if "labels" in metadata:
        metadata["labels"] = {f"other-{name}": value for name, value in metadata["labels"].items()}
    for item in spec.get("template", {}).get("spec", {}).get("containers", []):
        item["name"] = f"other-{item['name']}"
    for field in ("minReadySeconds", "replicas", "paused"):
        spec.pop(field, None)
    spec["revisionHistoryLimit"] = 3
    return other


@given(configs(), configs())
def test_applies_of_different_fields_commute(first: KubeObject, second: KubeObject) -> None:
    """Two managers who own nothing in common get the same object in either order, without any conflict."""
    second = renamed(second)
    outcomes = []
    for steps in ([(first, "ann"), (second, "bob")], [(second, "bob"), (first, "ann")]):
        live: KubeObject | None = None
        for config, manager in steps:
            application = Application(config=config, manager=manager, force=False)
            live = apply_config(DEPLOYMENTS, live, application, now=NOW)
        assert live is not None
        outcomes.append((content(live), owned_by(live, "ann"), owned_by(live, "bob")))
    assert outcomes[0] == outcomes[1]


@given(configs(), configs())
def test_who_applies_nothing_any_more_leaves_only_what_others_own(first: KubeObject, second: KubeObject) -> None:
    """Giving everything up takes one's own fields away and none of the others'."""
    second = renamed(second)
    live = apply(apply(None, first, "ann"), second, "bob")
    bare = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "default"}}
    rest = apply(live, bare, "ann")
    assert content(rest) == content(apply(None, second, "bob"))
    assert owned_by(rest, "ann") == set()


@given(configs(), configs())
def test_a_conflict_names_what_would_change(first: KubeObject, second: KubeObject) -> None:
    """Without force the fields named are the other's that differ, and none that agree."""
    live = apply(None, first, "ann")
    change = compare(ownable(live), merge(ownable(live), ownable(second), SCHEMA), SCHEMA)
    taken = owned_by(live, "ann") & (members(change.added) | members(change.modified))
    try:
        apply_config(DEPLOYMENTS, live, Application(config=second, manager="bob", force=False), now=NOW)
    except ApiError as error:
        assert error.details is not None
        assert {cause["field"] for cause in error.details["causes"]} == taken != set()
    else:
        assert not taken
