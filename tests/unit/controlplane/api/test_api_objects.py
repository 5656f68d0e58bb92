"""The verbs on single objects, over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def pod(name: str, **spec: Any) -> dict[str, Any]:
    body = {"containers": [{"name": "main", "image": "busybox"}]} | spec
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": body}


def deployment(name: str, replicas: int = 1) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": "busybox"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


async def test_a_created_object_is_what_is_read_back(api: Any) -> None:
    """A create answers 201 with identity and version, and a get right after gives the same object."""
    created = await api.post(CONFIG_MAPS, config_map("a", k="v"))
    assert created.status == 201
    metadata = created.body["metadata"]
    assert metadata["uid"] and metadata["resourceVersion"] and metadata["creationTimestamp"].endswith("Z")
    assert metadata["namespace"] == "default"
    assert metadata["managedFields"][0]["manager"] == "test"
    read = await api.get(f"{CONFIG_MAPS}/a")
    assert read.status == 200
    assert read.body == created.body


async def test_a_second_create_is_refused(api: Any) -> None:
    """Creating what exists is 409 AlreadyExists with the name in the details."""
    await api.post(CONFIG_MAPS, config_map("a"))
    again = await api.post(CONFIG_MAPS, config_map("a"))
    assert (again.status, again.body["reason"]) == (409, "AlreadyExists")
    assert again.message == 'configmaps "a" already exists'
    assert again.body["details"] == {"name": "a", "kind": "configmaps"}


async def test_generate_name_makes_distinct_names(api: Any) -> None:
    """An object with generateName gets a name of its own each time."""
    body = config_map("") | {"metadata": {"generateName": "made-"}}
    names = {(await api.post(CONFIG_MAPS, body)).body["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("made-") and len(name) == 10 for name in names)


async def test_an_update_replaces_and_conflicts_on_an_old_version(api: Any) -> None:
    """A put at the present version replaces the object, one at an older version is 409 Conflict."""
    created = (await api.post(CONFIG_MAPS, config_map("a", k="1"))).body
    created["data"] = {"k": "2"}
    updated = await api.ask("PUT", f"{CONFIG_MAPS}/a", created)
    assert updated.status == 200
    assert updated.body["data"] == {"k": "2"}
    assert updated.body["metadata"]["uid"] == created["metadata"]["uid"]
    stale = await api.ask("PUT", f"{CONFIG_MAPS}/a", created)
    assert (stale.status, stale.body["reason"]) == (409, "Conflict")
    assert "the object has been modified" in stale.message


async def test_an_update_that_changes_nothing_keeps_the_version(api: Any) -> None:
    """A put of the same content writes nothing."""
    created = (await api.post(CONFIG_MAPS, config_map("a", k="1"))).body
    again = await api.ask("PUT", f"{CONFIG_MAPS}/a", config_map("a", k="1"))
    assert again.body["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]


async def test_an_update_of_another_uid_is_a_conflict(api: Any) -> None:
    """An object that was deleted and made again is not updated by who knew the old one."""
    await api.post(CONFIG_MAPS, config_map("a"))
    body = config_map("a", k="v")
    body["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    reply = await api.ask("PUT", f"{CONFIG_MAPS}/a", body)
    assert (reply.status, reply.body["reason"]) == (409, "Conflict")
    assert "Precondition failed: UID in precondition" in reply.message


async def test_generation_counts_changes_of_the_spec_alone(api: Any) -> None:
    """A change of labels or status leaves the generation, a change of the spec raises it."""
    created = (await api.post(DEPLOYMENTS, deployment("d"))).body
    assert created["metadata"]["generation"] == 1
    merge = "application/merge-patch+json"
    labelled = await api.ask("PATCH", f"{DEPLOYMENTS}/d", {"metadata": {"labels": {"x": "y"}}}, content_type=merge)
    assert labelled.body["metadata"]["generation"] == 1
    scaled = await api.ask("PATCH", f"{DEPLOYMENTS}/d", {"spec": {"replicas": 5}}, content_type=merge)
    assert scaled.body["metadata"]["generation"] == 2
    status = {"status": {"replicas": 5}, "spec": {"replicas": 9}}
    reported = await api.ask("PATCH", f"{DEPLOYMENTS}/d/status", status, content_type=merge)
    assert reported.body["metadata"]["generation"] == 2
    assert reported.body["status"]["replicas"] == 5
    assert reported.body["spec"]["replicas"] == 5


async def test_a_main_write_leaves_the_status(api: Any) -> None:
    """Status in the body of a create or an update is dropped."""
    body = deployment("d") | {"status": {"replicas": 7}}
    assert "replicas" not in (await api.post(DEPLOYMENTS, body)).body.get("status", {})
    updated = await api.ask("PUT", f"{DEPLOYMENTS}/d", body)
    assert "replicas" not in updated.body.get("status", {})


async def test_the_patch_types(api: Any) -> None:
    """JSON patch, merge patch and strategic merge patch each do what their content type says."""
    await api.post(DEPLOYMENTS, deployment("d"))
    where = f"{DEPLOYMENTS}/d"
    operations = [{"op": "replace", "path": "/spec/replicas", "value": 2}]
    by_json = await api.ask("PATCH", where, operations, content_type="application/json-patch+json")
    assert by_json.body["spec"]["replicas"] == 2
    by_merge = await api.ask("PATCH", where, {"spec": {"replicas": 3}}, content_type="application/merge-patch+json")
    assert by_merge.body["spec"]["replicas"] == 3
    added = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "sidecar"}]}}}}
    strategic = await api.ask("PATCH", where, added, content_type="application/strategic-merge-patch+json")
    names = [container["name"] for container in strategic.body["spec"]["template"]["spec"]["containers"]]
    assert sorted(names) == ["main", "side"]
    unknown = await api.ask("PATCH", where, {}, content_type="application/foo")
    assert unknown.status == 415


async def test_a_patch_with_an_old_version_is_a_conflict(api: Any) -> None:
    """A resourceVersion inside a patch is a precondition."""
    created = (await api.post(CONFIG_MAPS, config_map("a"))).body
    patch = {"metadata": {"resourceVersion": created["metadata"]["resourceVersion"]}, "data": {"k": "1"}}
    merge = "application/merge-patch+json"
    assert (await api.ask("PATCH", f"{CONFIG_MAPS}/a", patch, content_type=merge)).status == 200
    patch["data"] = {"k": "2"}
    assert (await api.ask("PATCH", f"{CONFIG_MAPS}/a", patch, content_type=merge)).status == 409


async def test_concurrent_patches_all_take_effect(api: Any) -> None:
    """Patches without a version never conflict: each is repeated on the newest state."""
    await api.post(CONFIG_MAPS, config_map("a"))
    patches = [
        api.ask("PATCH", f"{CONFIG_MAPS}/a", {"data": {f"k{n}": "v"}}, content_type="application/merge-patch+json")
        for n in range(20)
    ]
    assert {reply.status for reply in await asyncio.gather(*patches)} == {200}
    assert len((await api.get(f"{CONFIG_MAPS}/a")).body["data"]) == 20


async def test_delete_answers_and_removes(api: Any) -> None:
    """A delete answers a Success status with the uid, and then the object is gone."""
    uid = (await api.post(CONFIG_MAPS, config_map("a"))).body["metadata"]["uid"]
    reply = await api.ask("DELETE", f"{CONFIG_MAPS}/a")
    assert (reply.status, reply.body["status"], reply.body["details"]["uid"]) == (200, "Success", uid)
    gone = await api.get(f"{CONFIG_MAPS}/a")
    assert (gone.status, gone.message) == (404, 'configmaps "a" not found')
    assert (await api.ask("DELETE", f"{CONFIG_MAPS}/a")).status == 404


async def test_delete_checks_preconditions(api: Any) -> None:
    """A delete that names another uid is refused and removes nothing."""
    await api.post(CONFIG_MAPS, config_map("a"))
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "other"}}
    assert (await api.ask("DELETE", f"{CONFIG_MAPS}/a", options)).status == 409
    assert (await api.get(f"{CONFIG_MAPS}/a")).status == 200


async def test_an_object_with_finalizers_stays_until_they_are_gone(api: Any) -> None:
    """A delete marks it, removing the last finalizer removes it, and none can be added meanwhile."""
    body = config_map("a")
    body["metadata"]["finalizers"] = ["example.com/wait"]
    await api.post(CONFIG_MAPS, body)
    marked = await api.ask("DELETE", f"{CONFIG_MAPS}/a")
    assert marked.body["metadata"]["deletionTimestamp"]
    merge = "application/merge-patch+json"
    more = {"metadata": {"finalizers": ["example.com/wait", "example.com/more"]}}
    refused = await api.ask("PATCH", f"{CONFIG_MAPS}/a", more, content_type=merge)
    assert refused.status == 422
    assert "no new finalizers can be added" in refused.message
    none: dict[str, Any] = {"metadata": {"finalizers": None}}
    assert (await api.ask("PATCH", f"{CONFIG_MAPS}/a", none, content_type=merge)).status == 200
    assert (await api.get(f"{CONFIG_MAPS}/a")).status == 404


async def test_foreground_and_orphan_are_written_down_as_finalizers(api: Any) -> None:
    """The propagation policy becomes the finalizer that the garbage collector works by."""
    for policy, finalizer in (("Foreground", "foregroundDeletion"), ("Orphan", "orphan")):
        name = policy.lower()
        await api.post(DEPLOYMENTS, deployment(name))
        reply = await api.ask("DELETE", f"{DEPLOYMENTS}/{name}?propagationPolicy={policy}")
        assert reply.body["metadata"]["finalizers"] == [finalizer]


async def test_delete_collection_removes_what_is_selected(api: Any) -> None:
    """A delete of the collection with a label selector removes those objects and no others."""
    for name, colour in (("a", "red"), ("b", "red"), ("c", "blue")):
        body = config_map(name)
        body["metadata"]["labels"] = {"colour": colour}
        await api.post(CONFIG_MAPS, body)
    reply = await api.ask("DELETE", f"{CONFIG_MAPS}?labelSelector=colour=red")
    assert reply.status == 200
    assert len(reply.body["items"]) == 2
    assert [item["metadata"]["name"] for item in (await api.get(CONFIG_MAPS)).body["items"]] == ["c"]


async def test_dry_runs_change_nothing(api: Any) -> None:
    """Each writing verb with dryRun=All answers as if done and stores nothing."""
    assert (await api.post(f"{CONFIG_MAPS}?dryRun=All", config_map("a"))).status == 201
    assert (await api.get(f"{CONFIG_MAPS}/a")).status == 404
    created = (await api.post(CONFIG_MAPS, config_map("a", k="1"))).body
    put = await api.ask("PUT", f"{CONFIG_MAPS}/a?dryRun=All", config_map("a", k="2"))
    assert put.body["data"] == {"k": "2"}
    assert (await api.ask("DELETE", f"{CONFIG_MAPS}/a?dryRun=All")).status == 200
    assert (await api.get(f"{CONFIG_MAPS}/a")).body == created
    assert (await api.post(f"{CONFIG_MAPS}?dryRun=Some", config_map("b"))).status == 422


async def test_scale_reads_and_writes_replicas(api: Any) -> None:
    """The scale subresource shows the selector and sets replicas, by put and by patch."""
    await api.post(DEPLOYMENTS, deployment("d", replicas=2))
    scale = (await api.get(f"{DEPLOYMENTS}/d/scale")).body
    assert scale["spec"] == {"replicas": 2}
    assert scale["status"]["selector"] == "app=d"
    scale["spec"]["replicas"] = 4
    assert (await api.ask("PUT", f"{DEPLOYMENTS}/d/scale", scale)).body["spec"]["replicas"] == 4
    merge = "application/merge-patch+json"
    patched = await api.ask("PATCH", f"{DEPLOYMENTS}/d/scale", {"spec": {"replicas": 1}}, content_type=merge)
    assert patched.body["spec"]["replicas"] == 1
    stored = (await api.get(f"{DEPLOYMENTS}/d")).body
    assert (stored["spec"]["replicas"], stored["metadata"]["generation"]) == (1, 3)
    negative = await api.ask("PATCH", f"{DEPLOYMENTS}/d/scale", {"spec": {"replicas": -1}}, content_type=merge)
    assert negative.status == 422
    assert (await api.ask("PUT", f"{DEPLOYMENTS}/d/scale", scale)).status == 409


async def test_binding_assigns_a_pod_once(api: Any) -> None:
    """A Binding sets the node and the condition; a second one to another node is a conflict."""
    await api.post(PODS, pod("p"))
    binding = {
        "kind": "Binding",
        "apiVersion": "v1",
        "metadata": {"name": "p"},
        "target": {"kind": "Node", "name": "n"},
    }
    assert (await api.post(f"{PODS}/p/binding", binding)).status == 201
    stored = (await api.get(f"{PODS}/p")).body
    assert stored["spec"]["nodeName"] == "n"
    assert {"type": "PodScheduled", "status": "True"}.items() <= stored["status"]["conditions"][0].items()
    binding["target"] = {"kind": "Node", "name": "other"}
    assert (await api.post(f"{PODS}/p/binding", binding)).status == 409


async def test_a_pod_without_a_node_is_removed_at_once(api: Any) -> None:
    """Nobody has to stop it, so there is no grace."""
    await api.post(PODS, pod("p"))
    assert (await api.ask("DELETE", f"{PODS}/p")).status == 200
    assert (await api.get(f"{PODS}/p")).status == 404


async def test_a_pod_on_a_node_is_marked_until_the_node_confirms(api: Any) -> None:
    """Its delete sets a deadline after the grace period; a delete with grace 0 removes it."""
    await api.post(PODS, pod("p", nodeName="n", terminationGracePeriodSeconds=7))
    marked = (await api.ask("DELETE", f"{PODS}/p")).body
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 7
    again = (await api.ask("DELETE", f"{PODS}/p?gracePeriodSeconds=60")).body
    assert again["metadata"]["deletionTimestamp"] == marked["metadata"]["deletionTimestamp"]
    sooner = (await api.ask("DELETE", f"{PODS}/p?gracePeriodSeconds=2")).body
    assert sooner["metadata"]["deletionGracePeriodSeconds"] == 2
    assert (await api.ask("DELETE", f"{PODS}/p?gracePeriodSeconds=0")).status == 200
    assert (await api.get(f"{PODS}/p")).status == 404


async def test_namespaces_are_finalized_before_they_go(api: Any) -> None:
    """A deleted namespace is Terminating and takes nothing new until its finalizer is removed through /finalize."""
    await api.post("/api/v1/namespaces", {"metadata": {"name": "n"}})
    gone = (await api.ask("DELETE", "/api/v1/namespaces/n")).body
    assert gone["status"]["phase"] == "Terminating"
    refused = await api.post("/api/v1/namespaces/n/configmaps", config_map("a"))
    assert refused.status == 403
    assert refused.message == (
        'configmaps "a" is forbidden: unable to create new content in namespace n because it is being terminated'
    )
    gone["spec"]["finalizers"] = []
    assert (await api.ask("PUT", "/api/v1/namespaces/n/finalize", gone)).status == 200
    assert (await api.get("/api/v1/namespaces/n")).status == 404
    missing = await api.post("/api/v1/namespaces/n/configmaps", config_map("a"))
    assert (missing.status, missing.message) == (404, 'namespaces "n" not found')


async def test_the_default_namespace_can_not_be_deleted(api: Any) -> None:
    """What the cluster can't do without is protected."""
    assert (await api.ask("DELETE", "/api/v1/namespaces/default")).status == 403


async def test_string_data_of_a_secret_is_folded_into_data(api: Any) -> None:
    """stringData is write-only: it comes back encoded in data."""
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "v"}}
    created = (await api.post("/api/v1/namespaces/default/secrets", body)).body
    assert created["data"] == {"k": "dg=="}
    assert "stringData" not in created


async def test_services_get_addresses_and_node_ports(api: Any) -> None:
    """A NodePort Service gets both, keeps them over an update, and gives the port up with its type."""
    where = "/api/v1/namespaces/default/services"
    body = {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
    created = (await api.post(where, body)).body["spec"]
    assert created["clusterIP"].startswith("10.43.") and created["clusterIPs"] == [created["clusterIP"]]
    assert 30000 <= created["ports"][0]["nodePort"] < 32768
    updated = (await api.ask("PUT", f"{where}/s", body)).body["spec"]
    assert (updated["clusterIP"], updated["ports"]) == (created["clusterIP"], created["ports"])
    body["spec"] = {"type": "ClusterIP", "ports": [{"port": 80}]}
    plain = (await api.ask("PUT", f"{where}/s", body)).body["spec"]
    assert "nodePort" not in plain["ports"][0]
    twin = {"metadata": {"name": "t"}, "spec": {"clusterIP": created["clusterIP"], "ports": [{"port": 80}]}}
    refused = await api.post(where, twin)
    assert refused.status == 422
    assert "provided IP is already allocated" in refused.message


LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
MERGE = "application/merge-patch+json"


async def test_an_update_makes_only_what_kubernetes_lets_it_make(api: Any) -> None:
    """A put of a Lease or a Service that is not there creates it, one of a ConfigMap is 404."""
    lease = {"metadata": {"name": "l", "resourceVersion": "7"}, "spec": {"holderIdentity": "me"}}
    made = await api.ask("PUT", f"{LEASES}/l", lease)
    assert (made.status, made.body["spec"]) == (201, {"holderIdentity": "me"})
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    assert (await api.ask("PUT", "/api/v1/namespaces/default/services/s", service)).status == 201
    refused = await api.ask("PUT", f"{CONFIG_MAPS}/a", config_map("a"))
    assert (refused.status, refused.message) == (404, 'configmaps "a" not found')


async def test_some_kinds_are_updated_at_a_version_only(api: Any) -> None:
    """A put of a Lease without a resourceVersion is 422, a merge patch of it is fine."""
    await api.post(LEASES, {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}})
    refused = await api.ask("PUT", f"{LEASES}/l", {"metadata": {"name": "l"}, "spec": {"holderIdentity": "b"}})
    assert refused.status == 422
    assert refused.message == (
        'leases.coordination.k8s.io "l" is invalid: '
        "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update"
    )
    patched = await api.ask("PATCH", f"{LEASES}/l", {"spec": {"holderIdentity": "b"}}, content_type=MERGE)
    assert patched.body["spec"]["holderIdentity"] == "b"


async def test_metadata_may_come_with_a_status(api: Any) -> None:
    """Annotations sent through the status subresource are kept and checked, a new finalizer on the way out refused."""
    await api.post("/api/v1/namespaces/default/services", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}]}})
    where = "/api/v1/namespaces/default/services/s/status"
    patch = {"metadata": {"annotations": {"seen": "yes"}}, "spec": {"ports": [{"port": 2}]}}
    patched = (await api.ask("PATCH", where, patch, content_type=MERGE)).body
    assert patched["metadata"]["annotations"] == {"seen": "yes"}
    assert patched["spec"]["ports"][0]["port"] == 1
    wrong = {"metadata": {"annotations": {"not a key": "x"}}}
    assert (await api.ask("PATCH", where, wrong, content_type=MERGE)).status == 422


async def test_what_a_delete_answers_depends_on_the_kind(api: Any) -> None:
    """A removed Pod or Service is shown, a removed ConfigMap is a Status, as each client expects it."""
    await api.post(PODS, pod("p"))
    assert (await api.ask("DELETE", f"{PODS}/p")).body["kind"] == "Pod"
    await api.post("/api/v1/namespaces/default/services", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}]}})
    assert (await api.ask("DELETE", "/api/v1/namespaces/default/services/s")).body["kind"] == "Service"
    await api.post(CONFIG_MAPS, config_map("a"))
    assert (await api.ask("DELETE", f"{CONFIG_MAPS}/a")).body["kind"] == "Status"


async def test_an_ephemeral_container_is_added_once(api: Any) -> None:
    """It gets its defaults; it can be neither changed nor removed, nor be like any container."""
    await api.post(PODS, pod("p"))
    where = f"{PODS}/p/ephemeralcontainers"
    strategic = "application/strategic-merge-patch+json"
    debugger = {"name": "debug", "image": "busybox", "targetContainerName": "main"}
    patch = {"spec": {"ephemeralContainers": [debugger]}}
    added = await api.ask("PATCH", where, patch, content_type=strategic)
    assert added.status == 200
    assert added.body["spec"]["ephemeralContainers"][0]["imagePullPolicy"] == "Always"
    assert added.body["metadata"]["generation"] == 2
    assert "Warning" not in added.headers
    assert (await api.get(where)).body == (await api.get(f"{PODS}/p")).body
    for change, text in (
        ([debugger | {"image": "other"}], "may not be changed"),
        ([debugger, {"name": "main", "image": "x"}], "Duplicate value"),
        ([debugger, {"name": "b", "image": "x", "ports": [{"containerPort": 1}]}], "cannot be set for an Ephemeral"),
        ([debugger, {"name": "b", "image": "x", "targetContainerName": "no"}], "Not found"),
    ):
        body = await api.ask("PATCH", where, {"spec": {"ephemeralContainers": change}}, content_type=strategic)
        assert body.status == 422 and text in body.message, body.body
    emptied = added.body | {"spec": {k: v for k, v in added.body["spec"].items() if k != "ephemeralContainers"}}
    assert "may not be removed" in (await api.ask("PUT", where, emptied)).message


async def test_a_resize_changes_cpu_and_memory_alone(api: Any) -> None:
    """Requests and limits of a running pod, as long as its class of service stays; nothing else."""
    sized = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}
    body = pod("p")
    body["spec"]["containers"][0]["resources"] = sized
    await api.post(PODS, body)
    where = f"{PODS}/p/resize"
    strategic = "application/strategic-merge-patch+json"

    async def resize(container: dict[str, Any]) -> Any:
        return await api.ask("PATCH", where, {"spec": {"containers": [container]}}, content_type=strategic)

    resized = await resize({"name": "main", "image": "ignored", "resources": {"requests": {"cpu": "200m"}}})
    assert resized.status == 200, resized.body
    container = resized.body["spec"]["containers"][0]
    assert (container["image"], container["resources"]["requests"]["cpu"]) == ("busybox", "200m")
    assert resized.body["metadata"]["generation"] == 2
    for change, text in (
        ({"name": "main", "resources": {"requests": {"cpu": None}}}, "requests cannot be removed"),
        ({"name": "main", "resources": {"requests": {"memory": "1Gi"}}}, "must be less than or equal to memory limit"),
        ({"name": "main", "resources": {"limits": {"example.com/gpu": "1"}}}, "only cpu and memory"),
        ({"name": "side", "image": "x"}, "may not be added"),
        (
            {"name": "main", "resources": {"requests": {"cpu": "1", "memory": "128Mi"}, "limits": {"cpu": "1"}}},
            "QOS Class",
        ),
    ):
        refused = await resize(change)
        assert refused.status == 422 and text in refused.message, refused.body


async def test_pods_are_bound_through_the_collection_too(api: Any) -> None:
    """POST of a Binding to bindings names the pod in its metadata; one of another uid is refused."""
    uid = (await api.post(PODS, pod("p"))).body["metadata"]["uid"]
    where = "/api/v1/namespaces/default/bindings"
    binding = {"metadata": {"name": "p", "uid": "other"}, "target": {"name": "n"}}
    assert (await api.post(where, binding)).status == 409
    binding["metadata"]["uid"] = uid
    assert (await api.post(where, binding)).status == 201
    bound = (await api.get(f"{PODS}/p")).body
    assert bound["spec"]["nodeName"] == "n"
    assert len(bound["metadata"]["managedFields"]) == 1
    assert (await api.get(where)).status == 405
