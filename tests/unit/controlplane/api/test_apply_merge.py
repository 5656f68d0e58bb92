"""Server-side apply: ownership, conflicts, removal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from controlplane.api.apply.managers import ANCIENT_CHANGES
from controlplane.api.apply.merge import LAST_APPLIED, Application, apply_config
from controlplane.api.apply.ownership import track_write
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, encode
from flotilla.api.resources import CONFIG_MAPS, DEPLOYMENTS, SERVICES

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def apply(live: KubeObject | None, config: KubeObject, manager: str = "ann", *, force: bool = False) -> KubeObject:
    """Apply to a Deployment and give the result an identity."""
    application = Application(config=config, manager=manager, force=force)
    result = apply_config(DEPLOYMENTS, live, application, now=NOW)
    result["metadata"].setdefault("uid", "u")
    return result


def deployment(*, replicas: int | None = None, labels: dict[str, str] | None = None, **images: str) -> KubeObject:
    spec: KubeObject = {}
    if replicas is not None:
        spec["replicas"] = replicas
    if images:
        containers = [{"name": name, "image": image} for name, image in images.items()]
        spec["template"] = {"spec": {"containers": containers}}
    metadata: KubeObject = {"name": "d", "namespace": "default"}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def owned(obj: KubeObject, manager: str) -> Any:
    for entry in obj["metadata"]["managedFields"]:
        if entry["manager"] == manager:
            return entry["fieldsV1"]
    return None


def updated(live: KubeObject, manager: str, **spec: Any) -> KubeObject:
    """``live`` after a plain update of its spec by ``manager``."""
    new: KubeObject = live | {"spec": live["spec"] | spec, "metadata": dict(live["metadata"])}
    track_write(DEPLOYMENTS, new, live, manager=manager, now=NOW)
    return new


def test_an_apply_owns_exactly_what_it_sets() -> None:
    """The entry has the fields of the configuration, list items by their key, in Kubernetes' notation."""
    result = apply(None, deployment(replicas=1, labels={"a": "b"}, main="busybox"))
    entry = result["metadata"]["managedFields"][0]
    assert {
        "manager": "ann",
        "operation": "Apply",
        "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1",
    }.items() <= entry.items()
    assert entry["fieldsV1"] == {
        "f:metadata": {"f:labels": {"f:a": {}}},
        "f:spec": {
            "f:replicas": {},
            "f:template": {"f:spec": {"f:containers": {'k:{"name":"main"}': {".": {}, "f:image": {}, "f:name": {}}}}},
        },
    }


def test_what_is_no_longer_applied_goes() -> None:
    """A field, a label or an item that only this manager has set is removed when it leaves it out."""
    live = apply(None, deployment(replicas=1, labels={"a": "1", "b": "2"}, main="busybox", side="busybox"))
    result = apply(live, deployment(labels={"a": "1"}, main="busybox"))
    assert "replicas" not in result["spec"]
    assert result["metadata"]["labels"] == {"a": "1"}
    assert [item["name"] for item in result["spec"]["template"]["spec"]["containers"]] == ["main"]


def test_defaults_of_a_removed_item_go_with_it() -> None:
    """A container's defaulted fields belong to nobody and do not keep it."""
    live = apply(None, deployment(main="busybox", side="busybox"))
    for container in live["spec"]["template"]["spec"]["containers"]:
        container["imagePullPolicy"] = "Always"
    result = apply(live, deployment(main="busybox"))
    containers = result["spec"]["template"]["spec"]["containers"]
    assert containers == [{"name": "main", "image": "busybox", "imagePullPolicy": "Always"}]


def test_what_others_own_too_stays() -> None:
    """A field that a second manager applied is kept when the first leaves it out."""
    live = apply(None, deployment(replicas=1, main="busybox"))
    live = apply(live, deployment(replicas=1), "bob")
    result = apply(live, deployment(main="busybox"))
    assert result["spec"]["replicas"] == 1
    assert owned(result, "bob") == {"f:spec": {"f:replicas": {}}}


def test_a_different_value_of_another_s_field_is_a_conflict() -> None:
    """It names the manager and the field, in message and causes; the same value is shared ownership."""
    live = apply(None, deployment(replicas=1))
    with pytest.raises(ApiError) as caught:
        apply(live, deployment(replicas=2), "bob")
    assert (caught.value.code, caught.value.reason) == (409, "Conflict")
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "ann": .spec.replicas'
    assert caught.value.details is not None
    assert caught.value.details["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "ann"', "field": ".spec.replicas"}
    ]
    shared = apply(live, deployment(replicas=1), "bob")
    assert owned(shared, "ann") == owned(shared, "bob") == {"f:spec": {"f:replicas": {}}}


def test_conflicts_are_listed_by_manager() -> None:
    """Several conflicts are grouped, paths of list items readable."""
    live = apply(None, deployment(replicas=1, main="busybox"))
    with pytest.raises(ApiError) as caught:
        apply(live, deployment(replicas=2, main="other"), "bob")
    assert caught.value.message == (
        'Apply failed with 2 conflicts: conflicts with "ann":\n'
        "- .spec.replicas\n"
        '- .spec.template.spec.containers[name="main"].image'
    )


def test_force_takes_fields_over() -> None:
    """The forced value holds, and the other manager loses the field."""
    live = apply(None, deployment(replicas=1, labels={"a": "b"}))
    result = apply(live, deployment(replicas=2), "bob", force=True)
    assert result["spec"]["replicas"] == 2
    assert owned(result, "ann") == {"f:metadata": {"f:labels": {"f:a": {}}}}


def test_a_plain_update_takes_the_fields_that_it_changes() -> None:
    """An applier then conflicts with the updater, named with its API version."""
    live = updated(apply(None, deployment(replicas=1)), "hpa", replicas=5)
    assert owned(live, "ann") is None
    assert owned(live, "hpa") == {"f:spec": {"f:replicas": {}}}
    with pytest.raises(ApiError) as caught:
        apply(live, deployment(replicas=1))
    assert 'conflict with "hpa" using apps/v1: .spec.replicas' in caught.value.message


def test_an_apply_that_gives_a_field_up_leaves_it_to_its_new_owner() -> None:
    """Leaving out replicas after an autoscaler has taken them keeps the autoscaler's value."""
    live = updated(apply(None, deployment(replicas=1, labels={"a": "b"})), "hpa", replicas=5)
    result = apply(live, deployment(labels={"a": "b"}))
    assert result["spec"]["replicas"] == 5


def test_an_unrecorded_object_belongs_to_who_was_before() -> None:
    """The first apply finds what is there owned by before-first-apply, and conflicts with it."""
    live = deployment(replicas=3) | {"metadata": {"name": "d", "namespace": "default", "uid": "u"}}
    with pytest.raises(ApiError) as caught:
        apply(live, deployment(replicas=1))
    assert 'conflict with "before-first-apply" using apps/v1' in caught.value.message
    result = apply(live, deployment(replicas=3))
    assert owned(result, "before-first-apply") == {"f:spec": {"f:replicas": {}}}


def test_kubectl_takes_over_what_it_had_applied_from_the_client() -> None:
    """Fields in the last-applied annotation that are still as applied are no conflict for kubectl."""
    body = deployment(replicas=1)
    body["metadata"]["annotations"] = {LAST_APPLIED: encode(deployment(replicas=1)).decode()}
    track_write(DEPLOYMENTS, body, None, manager="kubectl-client-side-apply", now=NOW)
    result = apply(body, deployment(replicas=2), "kubectl")
    assert result["spec"]["replicas"] == 2
    assert '"replicas":2' in result["metadata"]["annotations"][LAST_APPLIED]
    with pytest.raises(ApiError):
        apply(body, deployment(replicas=2), "other")
    changed = updated(body, "edit", replicas=4)
    with pytest.raises(ApiError):
        apply(changed, deployment(replicas=2), "kubectl")


def test_ports_are_told_apart_by_number_and_protocol() -> None:
    """A port without protocol is TCP, as the key of the list says."""
    metadata = {"name": "s", "namespace": "default"}
    config = {"metadata": metadata, "spec": {"ports": [{"port": 80}]}, "apiVersion": "v1", "kind": "Service"}
    live = apply_config(SERVICES, None, Application(config=config, manager="ann", force=False), now=NOW)
    ports = live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:ports"]
    assert ports == {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}}
    live["spec"]["ports"][0]["protocol"] = "TCP"
    config["spec"] = {"ports": [{"port": 80, "name": "web"}]}
    again = apply_config(SERVICES, live, Application(config=config, manager="ann", force=False), now=NOW)
    assert again["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "name": "web"}]


def test_an_item_without_its_key_is_refused() -> None:
    """400 with the reason."""
    config = deployment()
    config["spec"] = {"template": {"spec": {"containers": [{"image": "busybox"}]}}}
    with pytest.raises(ApiError) as caught:
        apply(None, config)
    assert caught.value.code == 400
    assert "omits key field" in caught.value.message


def test_managed_fields_can_not_be_applied() -> None:
    """A configuration that brings its own is refused."""
    config = deployment(replicas=1)
    config["metadata"]["managedFields"] = [{"manager": "x"}]
    with pytest.raises(ApiError) as caught:
        apply(None, config)
    assert caught.value.message == "metadata.managedFields must be nil"


def test_the_times_of_managers_move_only_with_their_fields() -> None:
    """A repeated apply leaves the entry as it was."""
    live = apply(None, deployment(replicas=1))
    later = datetime(2027, 1, 1, tzinfo=UTC)
    application = Application(config=deployment(replicas=1), manager="ann", force=False)
    again = apply_config(DEPLOYMENTS, live, application, now=later)
    assert again["metadata"]["managedFields"] == live["metadata"]["managedFields"]


def test_a_created_object_belongs_to_its_creator() -> None:
    """Maps show that they were made, identity and versions belong to nobody."""
    body: KubeObject = {"metadata": {"name": "a", "uid": "u", "labels": {"x": "y"}}, "data": {"k": "v"}}
    track_write(CONFIG_MAPS, body, None, manager="ann", now=NOW)
    assert owned(body, "ann") == {
        "f:metadata": {"f:labels": {".": {}, "f:x": {}}},
        "f:data": {".": {}, "f:k": {}},
    }


def test_too_many_updaters_are_folded() -> None:
    """Past ten, the oldest entries of a version become one."""
    body: KubeObject = {"metadata": {"name": "a"}, "data": {"k0": "v"}}
    track_write(CONFIG_MAPS, body, None, manager="m0", now=NOW)
    for number in range(1, 15):
        new = {"metadata": dict(body["metadata"]), "data": body["data"] | {f"k{number}": "v"}}
        track_write(CONFIG_MAPS, new, body, manager=f"m{number}", now=NOW.replace(minute=number))
        body = new
    managers = [entry["manager"] for entry in body["metadata"]["managedFields"]]
    assert managers == [ANCIENT_CHANGES, *(f"m{number}" for number in range(6, 15))]


def test_a_client_may_reset_the_record() -> None:
    """An update with an empty entry stops recording, as Kubernetes documents it."""
    body: KubeObject = {"metadata": {"name": "a"}, "data": {"k": "v"}}
    track_write(CONFIG_MAPS, body, None, manager="ann", now=NOW)
    new: KubeObject = {"metadata": {"name": "a", "managedFields": [{}]}, "data": {"k": "w"}}
    track_write(CONFIG_MAPS, new, body, manager="ann", now=NOW)
    assert "managedFields" not in new["metadata"]


def probed(path: str = "/") -> KubeObject:
    """A configuration with a probe, whose other fields are defaulted."""
    body = deployment(main="busybox")
    body["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = {"httpGet": {"path": path, "port": 80}}
    return body


def test_a_structure_goes_with_its_defaults() -> None:
    """A probe that is no longer applied leaves nothing behind, although nobody owns its defaulted fields."""
    live = apply(None, probed())
    probe = live["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]
    probe |= {"periodSeconds": 10, "httpGet": probe["httpGet"] | {"scheme": "HTTP"}}
    result = apply(live, deployment(main="busybox"))
    assert result["spec"]["template"]["spec"]["containers"] == [{"name": "main", "image": "busybox"}]


def test_creations_own_structures_as_kubernetes_records_them() -> None:
    """Pointers and maps are owned with their content, what Kubernetes' types always have is not."""
    body = probed()
    track_write(DEPLOYMENTS, body, None, manager="ann", now=NOW)
    template = owned(body, "ann")["f:spec"]["f:template"]
    assert template["f:spec"]["f:containers"] == {
        'k:{"name":"main"}': {
            ".": {},
            "f:name": {},
            "f:image": {},
            "f:livenessProbe": {".": {}, "f:httpGet": {".": {}, "f:path": {}, "f:port": {}}},
        }
    }


def test_the_status_belongs_to_those_who_write_it() -> None:
    """A main write never owns status, a write of the status never owns spec; entries name the subresource."""
    body = deployment(replicas=1) | {"status": {"replicas": 1}}
    track_write(DEPLOYMENTS, body, None, manager="ann", now=NOW)
    assert owned(body, "ann") == {"f:spec": {"f:replicas": {}}}
    new: KubeObject = body | {"status": {"replicas": 2}, "metadata": dict(body["metadata"])}
    track_write(DEPLOYMENTS, new, body, manager="controller", now=NOW, subresource="status")
    entry = new["metadata"]["managedFields"][1]
    assert (entry["manager"], entry["subresource"]) == ("controller", "status")
    assert entry["fieldsV1"] == {"f:status": {"f:replicas": {}}}


def test_several_conflicts_name_subresources() -> None:
    """An autoscaler that set the scale is named with it."""
    live = apply(None, deployment(replicas=1))
    new: KubeObject = live | {"spec": {"replicas": 5}, "metadata": dict(live["metadata"])}
    track_write(DEPLOYMENTS, new, live, manager="hpa", now=NOW, subresource="scale")
    with pytest.raises(ApiError) as caught:
        apply(new, deployment(replicas=1))
    assert 'conflict with "hpa" with subresource "scale" using apps/v1: .spec.replicas' in caught.value.message


def test_only_conflicts_that_remain_are_reported() -> None:
    """What kubectl had applied from the client is not listed beside what another has changed since."""
    config = deployment(replicas=1, main="busybox")
    body = deployment(replicas=1, main="busybox")
    body["metadata"]["annotations"] = {LAST_APPLIED: encode(config).decode()}
    track_write(DEPLOYMENTS, body, None, manager="kubectl-client-side-apply", now=NOW)
    changed = updated(body, "edit", replicas=4)
    with pytest.raises(ApiError) as caught:
        apply(changed, deployment(replicas=2, main="other"), "kubectl")
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "edit" using apps/v1: .spec.replicas'


def test_the_same_item_twice_is_refused() -> None:
    """A configuration can't say two things of one item; the message names the place."""
    config = deployment()
    config["spec"] = {"template": {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}}
    with pytest.raises(ApiError) as caught:
        apply(None, config)
    assert caught.value.message == (
        "failed to create typed patch object (default/d; apps/v1, Kind=Deployment): "
        '.spec.template.spec.containers: duplicate entries for key [name="a"]'
    )


def test_stored_duplicates_survive_an_apply_of_others() -> None:
    """Variables given twice stay as they are when somebody applies another one."""
    live = deployment(main="busybox") | {"metadata": {"name": "d", "namespace": "default", "uid": "u"}}
    container = live["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    config = deployment(main="busybox")
    config["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "B", "value": "3"}]
    result = apply(live, config)
    assert result["spec"]["template"]["spec"]["containers"][0]["env"] == [
        {"name": "A", "value": "1"},
        {"name": "A", "value": "2"},
        {"name": "B", "value": "3"},
    ]


def test_losing_a_field_does_not_move_the_loser_s_time() -> None:
    """An entry's time is that of its own last write, and each of those moves it."""
    live = apply(None, deployment(replicas=1, labels={"a": "b"}))
    later = NOW.replace(year=2027)
    new: KubeObject = live | {"spec": {"replicas": 5}, "metadata": dict(live["metadata"])}
    track_write(DEPLOYMENTS, new, live, manager="hpa", now=later)
    times = {entry["manager"]: entry["time"] for entry in new["metadata"]["managedFields"]}
    assert times == {"ann": "2026-01-01T00:00:00Z", "hpa": "2027-01-01T00:00:00Z"}
    newest: KubeObject = new | {"spec": {"replicas": 6}, "metadata": dict(new["metadata"])}
    track_write(DEPLOYMENTS, newest, new, manager="hpa", now=NOW.replace(year=2028))
    times = {entry["manager"]: entry["time"] for entry in newest["metadata"]["managedFields"]}
    assert times["hpa"] == "2028-01-01T00:00:00Z"


def test_a_client_may_replace_the_record() -> None:
    """An update that brings managedFields of the right form sets them; a malformed list is ignored."""
    body: KubeObject = {"metadata": {"name": "a"}, "data": {"k": "v"}}
    track_write(CONFIG_MAPS, body, None, manager="kubectl-client-side-apply", now=NOW)
    entry = body["metadata"]["managedFields"][0]
    moved = entry | {"manager": "kubectl", "operation": "Apply"}
    new: KubeObject = {"metadata": {"name": "a", "managedFields": [moved]}, "data": {"k": "v"}}
    track_write(CONFIG_MAPS, new, body, manager="other", now=NOW)
    assert new["metadata"]["managedFields"] == [moved]
    for wrong in ([], [{"manager": "x"}], [entry | {"fieldsV1": {"x": {}}}], [entry | {"fieldsType": ""}], "no"):
        new = {"metadata": {"name": "a", "managedFields": wrong}, "data": {"k": "v"}}
        track_write(CONFIG_MAPS, new, body, manager="other", now=NOW)
        assert new["metadata"]["managedFields"] == [entry]


def test_the_status_can_not_replace_the_record() -> None:
    """managedFields sent through a subresource are those of the object."""
    body: KubeObject = deployment(replicas=1)
    track_write(DEPLOYMENTS, body, None, manager="ann", now=NOW)
    new: KubeObject = body | {"metadata": body["metadata"] | {"managedFields": [{}]}}
    track_write(DEPLOYMENTS, new, body, manager="other", now=NOW, subresource="status")
    assert new["metadata"]["managedFields"] == body["metadata"]["managedFields"]


def with_containers(names: str) -> KubeObject:
    """A Deployment with one container for each letter."""
    containers = [{"name": name, "image": "x"} for name in names]
    return deployment() | {"spec": {"template": {"spec": {"containers": containers}}} if names else {}}


@pytest.mark.parametrize(
    ("live", "applied", "expected"),
    [
        ("ab", "ca", "cab"),
        ("abc", "cb", "acb"),
        ("abc", "cba", "cba"),
        ("", "ba", "ba"),
        ("abcd", "dx", "abcdx"),
        ("xay", "ba", "xbay"),
    ],
)
def test_items_are_merged_in_the_order_of_the_configuration(live: str, applied: str, expected: str) -> None:
    """Applied items keep their order, the others stay where they stood."""
    before = with_containers(live) | {"metadata": {"name": "d", "namespace": "default", "uid": "u"}}
    result = apply(before, with_containers(applied))
    containers = result["spec"]["template"]["spec"]["containers"]
    assert "".join(item["name"] for item in containers) == expected
