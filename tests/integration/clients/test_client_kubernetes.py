"""The official Python client: generated methods, which check each answer against the published schema, and more.

Its dynamic client works from discovery alone; informers, watches and leader election are what programs build on.
"""

from __future__ import annotations

import gc
import json
import queue
import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.informer import ADDED, DELETED, MODIFIED, SharedInformer
from kubernetes.leaderelection.electionconfig import Config
from kubernetes.leaderelection.leaderelection import LeaderElection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

from tests.integration.kubectl.lab import DEADLINE_S, Server, until

pytestmark = [pytest.mark.etcd, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]
APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
CONTAINER = {"name": "main", "image": "busybox", "ports": [{"containerPort": 80}]}


@pytest.fixture(scope="module", autouse=True)
def collected() -> Iterator[None]:
    """Each watch and informer leaves its connections to the garbage collector: let that happen here."""
    yield
    gc.collect()


@pytest.fixture
def api(server: Server) -> Iterator[Any]:
    """A client with the administrator's certificate, also for what makes clients of its own."""
    config.load_kube_config(str(server.kubeconfig))
    with client.ApiClient() as made:
        yield made


@pytest.fixture
def core(api: Any) -> Any:
    """The core group."""
    return client.CoreV1Api(api)


def config_map(name: str, **data: str) -> Any:
    """A ConfigMap as a typed object."""
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data=data)


def deployment(name: str, *, replicas: int = 2) -> dict[str, Any]:
    """A Deployment as plain data."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [CONTAINER]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def test_an_object_from_create_to_delete(core: Any, namespace: str) -> None:
    """A typed object comes back with what the server adds; a stale one is refused."""
    made = core.create_namespaced_config_map(namespace, config_map("one", a="1"), field_manager="tester")
    assert made.metadata.uid
    assert made.metadata.creation_timestamp.tzinfo is not None
    assert made.metadata.managed_fields[0].manager == "tester"
    made.data["b"] = "2"
    replaced = core.replace_namespaced_config_map("one", namespace, made)
    assert replaced.data == {"a": "1", "b": "2"}
    with pytest.raises(ApiException) as stale:
        core.replace_namespaced_config_map("one", namespace, made)
    assert (stale.value.status, stale.value.reason) == (409, "Conflict")
    generated = client.V1ConfigMap(metadata=client.V1ObjectMeta(generate_name="some-"))
    names = {core.create_namespaced_config_map(namespace, generated).metadata.name for _ in range(2)}
    assert len(names) == 2
    assert core.delete_namespaced_config_map("one", namespace)["status"] == "Success"
    assert core.delete_collection_namespaced_config_map(namespace, field_selector="metadata.name!=kube-root-ca.crt")
    left = core.list_namespaced_config_map(namespace, field_selector="metadata.name!=kube-root-ca.crt")
    assert left.items == []


def test_patches(api: Any, namespace: str) -> None:
    """Each kind of patch does what its media type says."""
    apps = client.AppsV1Api(api)
    apps.create_namespaced_deployment(namespace, deployment("web"))

    def patched(body: Any, content_type: str) -> Any:
        return apps.patch_namespaced_deployment("web", namespace, body, _content_type=content_type).spec

    sidecar = {"name": "sidecar", "image": "busybox"}
    pod_with = {"spec": {"template": {"spec": {"containers": [sidecar]}}}}
    strategic = patched(pod_with, STRATEGIC_PATCH)
    assert {each.name for each in strategic.template.spec.containers} == {"main", "sidecar"}
    merged = patched(pod_with, MERGE_PATCH)
    assert [each.name for each in merged.template.spec.containers] == ["sidecar"]
    assert patched([{"op": "replace", "path": "/spec/replicas", "value": 5}], JSON_PATCH).replicas == 5
    with pytest.raises(ApiException) as refused:
        patched([{"op": "test", "path": "/spec/replicas", "value": 4}], JSON_PATCH)
    assert refused.value.status == 422
    assert apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 3}}).spec.replicas == 3
    condition = {"type": "Available", "status": "True", "reason": "Test", "message": ""}
    status = {"status": {"conditions": [condition]}}
    shown = apps.patch_namespaced_deployment_status("web", namespace, status, _content_type=STRATEGIC_PATCH)
    assert "True" in {each.status for each in shown.status.conditions if each.type == "Available"}


def test_server_side_apply(api: Any, core: Any, namespace: str) -> None:
    """Two appliers own what each has set; a conflict names the other, and force takes over."""

    def apply(manager: str, data: dict[str, str], **options: Any) -> Any:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"}, "data": data}
        return core.patch_namespaced_config_map(
            "shared", namespace, body, field_manager=manager, _content_type=APPLY, **options
        )

    apply("one", {"a": "1", "b": "1"})
    apply("two", {"c": "2"})
    with pytest.raises(ApiException) as conflict:
        apply("two", {"a": "2", "c": "2"})
    assert conflict.value.status == 409
    details = json.loads(conflict.value.body)["details"]
    assert details["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.a"}
    ]
    assert apply("two", {"a": "2", "c": "2"}, force=True).data == {"a": "2", "b": "1", "c": "2"}
    assert apply("one", {"b": "1"}).data == {"a": "2", "b": "1", "c": "2"}
    rehearsed = apply("one", {}, dry_run="All")
    assert rehearsed.data == {"a": "2", "c": "2"}
    assert core.read_namespaced_config_map("shared", namespace).data["b"] == "1"


def test_errors(core: Any, namespace: str) -> None:
    """Failures come as the status, reason and causes that programs tell them apart by."""
    core.create_namespaced_config_map(namespace, config_map("here"))
    bad = {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "A", "image": "i"}]}}
    cases: list[tuple[Callable[[], Any], int, str]] = [
        (lambda: core.read_namespaced_pod("none", namespace), 404, '"reason":"NotFound"'),
        (lambda: core.create_namespaced_config_map(namespace, config_map("here")), 409, '"reason":"AlreadyExists"'),
        (lambda: core.create_namespaced_pod(namespace, bad), 422, '"field":"spec.containers[0].name"'),
        (lambda: core.create_namespaced_config_map("none", config_map("x")), 404, 'namespaces \\"none\\" not found'),
        (lambda: core.list_namespaced_pod(namespace, label_selector="a in"), 400, '"reason":"BadRequest"'),
        (lambda: core.list_namespaced_pod(namespace, field_selector="spec.none=1"), 400, '"reason":"BadRequest"'),
    ]
    for call, status, text in cases:
        with pytest.raises(ApiException) as raised:
            call()
        assert raised.value.status == status, raised.value.body
        assert text in raised.value.body


def test_pages(core: Any, namespace: str) -> None:
    """Pages together are the list at one moment, whatever is written meanwhile."""
    for number in range(7):
        core.create_namespaced_config_map(namespace, config_map(f"m{number}"))
    names: list[str] = []
    token, revisions = "", set()
    while True:
        page = core.list_namespaced_config_map(namespace, limit=3, _continue=token or None)
        names += [item.metadata.name for item in page.items]
        revisions.add(page.metadata.resource_version)
        core.create_namespaced_config_map(namespace, config_map(f"a{len(names)}"))
        token = page.metadata.var_continue
        if not token:
            break
        assert page.metadata.remaining_item_count == 8 - len(names)
    assert names == ["kube-root-ca.crt", *(f"m{number}" for number in range(7))]
    assert len(revisions) == 1


def test_a_watch_goes_on_where_another_ended(core: Any, namespace: str) -> None:
    """From a resourceVersion every later change arrives once, in order; a time-out ends the stream cleanly."""
    selector = "metadata.name=one"
    start = core.list_namespaced_config_map(namespace).metadata.resource_version
    core.create_namespaced_config_map(namespace, config_map("one"))
    core.create_namespaced_config_map(namespace, config_map("other"))
    core.patch_namespaced_config_map("one", namespace, {"data": {"a": "1"}})
    core.delete_namespaced_config_map("one", namespace)

    def events(version: str, count: int) -> list[tuple[str, Any]]:
        watching = watch.Watch()
        stream = watching.stream(
            core.list_namespaced_config_map, namespace, resource_version=version, field_selector=selector
        )
        return [(event["type"], event["object"]) for event in islice(stream, count)]

    first = events(start, 2)
    assert [kind for kind, _ in first] == ["ADDED", "MODIFIED"]
    (kind, last), *_ = events(first[-1][1].metadata.resource_version, 1)
    assert (kind, last.data) == ("DELETED", {"a": "1"})
    quiet = watch.Watch().stream(core.list_namespaced_config_map, namespace, timeout_seconds=1)
    assert "ADDED" in {event["type"] for event in quiet}


def test_a_revision_that_is_gone(core: Any, namespace: str) -> None:
    """A watch from a revision that never was retained says 410, which informers list again for."""
    with pytest.raises(ApiException) as raised:
        next(watch.Watch().stream(core.list_namespaced_config_map, namespace, resource_version="1", timeout_seconds=5))
    assert raised.value.status == 410


def test_an_informer(core: Any, namespace: str) -> None:
    """It knows what is there, hears of every change, and its cache equals the list."""
    core.create_namespaced_config_map(namespace, config_map("one"))
    heard: queue.Queue[tuple[str, str]] = queue.Queue()
    informer = SharedInformer(
        core.list_namespaced_config_map, namespace, field_selector="metadata.name!=kube-root-ca.crt"
    )
    for kind in (ADDED, MODIFIED, DELETED):
        informer.add_event_handler(kind, lambda item, kind=kind: heard.put((kind, item.metadata.name)))
    informer.start()
    try:
        assert heard.get(timeout=10) == (ADDED, "one")
        core.create_namespaced_config_map(namespace, config_map("two"))
        assert heard.get(timeout=10) == (ADDED, "two")
        core.patch_namespaced_config_map("one", namespace, {"data": {"a": "1"}})
        assert heard.get(timeout=10) == (MODIFIED, "one")
        core.delete_namespaced_config_map("two", namespace)
        assert heard.get(timeout=10) == (DELETED, "two")
        assert informer.cache.list_keys() == [f"{namespace}/one"]
    finally:
        informer.stop()


def test_the_dynamic_client(api: Any, namespace: str, tmp_path: Path) -> None:
    """Kinds are found by discovery alone, by name, short name or category."""
    found = dynamic.DynamicClient(api, cache_file=str(tmp_path / "discovery.json"))
    deployments = found.resources.get(api_version="apps/v1", kind="Deployment")
    assert (deployments.name, deployments.namespaced, deployments.short_names) == ("deployments", True, ["deploy"])
    assert "scale" in deployments.subresources
    made = deployments.create(namespace=namespace, body=deployment("web"))
    assert made.spec.template.spec.containers[0].image == "busybox"
    applied = deployments.server_side_apply(
        namespace=namespace,
        body=deployment("web", replicas=4),
        field_manager="tester",
        force_conflicts=True,
    )
    assert applied.spec.replicas == 4
    assert [each.metadata.name for each in deployments.get(namespace=namespace).items] == ["web"]
    version = deployments.get(namespace=namespace).metadata.resourceVersion
    deployments.patch(
        namespace=namespace, name="web", body={"metadata": {"labels": {"a": "b"}}}, content_type=MERGE_PATCH
    )
    seen = next(deployments.watch(namespace=namespace, resource_version=version, timeout=10))
    assert seen["object"].kind == "Deployment"
    assert deployments.subresources["scale"].get(name="web", namespace=namespace).spec.replicas == 4
    assert deployments.delete(name="web", namespace=namespace).status == "Success"
    with pytest.raises(dynamic.exceptions.NotFoundError):
        deployments.get(name="web", namespace=namespace)


def test_every_list_is_of_its_type(api: Any) -> None:
    """What discovery offers can be listed, and each list passes the client's check of the published schema.

    Not so events.k8s.io: the client insists on a time that Events of the older API don't have, on Kubernetes too.
    """
    found = dynamic.DynamicClient(api)
    groups = {"": "CoreV1Api", "events.k8s.io": "none"}
    checked = 0
    for resource in found.resources.search(preferred=True):
        if "list" not in (resource.verbs or []) or "/" in resource.name or resource.kind.endswith("List"):
            continue
        name = groups.get(resource.group) or _api_class(resource.group, resource.api_version)
        methods = getattr(client, name, None)
        if methods is not None:
            listed = _lists_all(methods(api), resource.kind, namespaced=resource.namespaced)
            checked += listed.kind == f"{resource.kind}List"
    assert checked >= 14


def _api_class(group: str, version: str) -> str:
    words = group.removesuffix(".k8s.io").split(".")
    return "".join(word.capitalize() for word in words) + version.capitalize() + "Api"


def _lists_all(methods: Any, kind: str, *, namespaced: bool) -> Any:
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind)
    snake = snake.replace("_c_s_i_", "_csi_").replace("_i_p_", "_ip_").replace("_c_i_d_r", "_cidr")
    return getattr(methods, f"list{snake}{'_for_all_namespaces' if namespaced else ''}")()


def test_manifests_are_created(api: Any, core: Any, namespace: str, tmp_path: Path) -> None:
    """The client's own reader of manifests makes all of a file's objects."""
    manifest = tmp_path / "all.yaml"
    manifest.write_text(
        "apiVersion: v1\nkind: List\nitems:\n"
        "- {apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {a: b}}\n"
        "- {apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 80}]}}\n",
        encoding="utf-8",
    )
    utils.create_from_yaml(api, str(manifest), namespace=namespace)
    assert core.read_namespaced_secret("s", namespace).data == {"a": "Yg=="}
    assert core.read_namespaced_service("s", namespace).spec.cluster_ip.startswith("10.43.")
    with pytest.raises(utils.FailToCreateError):
        utils.create_from_yaml(api, str(manifest), namespace=namespace)


def test_leader_election(api: Any, namespace: str) -> None:
    """A Lease elects one of two candidates, and the other once the first no longer renews."""
    led: queue.Queue[str] = queue.Queue()

    class Lock(LeaseLock):  # type: ignore[misc]
        """Renews until it is told to die."""

        def __init__(self, identity: str) -> None:
            super().__init__("lock", namespace, identity)
            self.dead = threading.Event()

        def update(self, *arguments: Any) -> bool:
            return not self.dead.is_set() and bool(super().update(*arguments))

    def candidate(lock: Lock) -> threading.Thread:
        starts, stops = lambda: led.put(f"{lock.identity} leads"), lambda: led.put(f"{lock.identity} stops")
        settings = Config(lock, 3, 2, 1, starts, stops)
        settings.lease_duration, settings.renew_deadline, settings.retry_period = 1, 0.5, 0.1
        thread = threading.Thread(target=LeaderElection(settings).run)
        thread.start()
        return thread

    first, second = Lock("first"), Lock("second")
    candidates = [candidate(first)]
    assert led.get(timeout=10) == "first leads"
    candidates.append(candidate(second))
    first.dead.set()
    assert {led.get(timeout=10), led.get(timeout=10)} == {"first stops", "second leads"}
    lease = client.CoordinationV1Api(api).read_namespaced_lease("lock", namespace)
    assert lease.spec.holder_identity == "second"
    second.dead.set()
    for thread in candidates:
        thread.join(10)


def test_kinds_of_its_own(api: Any, namespace: str) -> None:
    """A definition becomes established; its objects are validated, defaulted, scaled, watched, and go with it."""
    group = f"{namespace}.example.com"
    custom, extensions = client.CustomObjectsApi(api), client.ApiextensionsV1Api(api)
    where = (group, "v1", namespace, "boats")
    extensions.create_custom_resource_definition(boats(group))
    try:
        established = watch.Watch().stream(
            extensions.list_custom_resource_definition,
            field_selector=f"metadata.name=boats.{group}",
            timeout_seconds=10,
        )
        assert any(_is_established(event["object"]) for event in established)
        boat = {"apiVersion": f"{group}/v1", "kind": "Boat", "metadata": {"name": "one"}, "spec": {"crew": 2}}
        made = custom.create_namespaced_custom_object(*where, boat)
        assert made["spec"] == {"crew": 2, "length": 7}
        with pytest.raises(ApiException) as refused:
            custom.create_namespaced_custom_object(*where, boat | {"metadata": {"name": "bad"}, "spec": {"crew": -1}})
        assert refused.value.status == 422
        assert "spec.crew" in refused.value.body
        status = {"status": {"crew": 2}, "spec": {"crew": 9}}
        custom.patch_namespaced_custom_object_status(*where, "one", status)
        assert custom.get_namespaced_custom_object(*where, "one")["spec"]["crew"] == 2
        scale = custom.get_namespaced_custom_object_scale(*where, "one")
        assert (scale["kind"], scale["spec"], scale["status"]["replicas"]) == ("Scale", {"replicas": 2}, 2)
        custom.patch_namespaced_custom_object_scale(*where, "one", {"spec": {"replicas": 5}})
        found = dynamic.DynamicClient(api).resources.get(api_version=f"{group}/v1", kind="Boat")
        assert (found.get(namespace=namespace).items[0].spec.crew, found.short_names) == (5, ["bt"])
        events = watch.Watch().stream(custom.list_namespaced_custom_object, *where, timeout_seconds=5)
        assert next(events)["object"]["metadata"]["generation"] == 2
    finally:
        extensions.delete_custom_resource_definition(f"boats.{group}")
    until("the definition is gone", lambda: _is_gone(lambda: custom.list_namespaced_custom_object(*where)))


def boats(group: str) -> dict[str, Any]:
    """The definition of a kind that scales, with a default and a minimum."""
    spec = {"length": {"type": "integer", "default": 7}, "crew": {"type": "integer", "minimum": 0}}
    status = {"crew": {"type": "integer"}}
    properties = {key: {"type": "object", "properties": each} for key, each in (("spec", spec), ("status", status))}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.crew", "statusReplicasPath": ".status.crew"},
        },
    }
    names = {"kind": "Boat", "plural": "boats", "singular": "boat", "shortNames": ["bt"]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"boats.{group}"},
        "spec": {"group": group, "names": names, "scope": "Namespaced", "versions": [version]},
    }


def _is_established(definition: Any) -> bool:
    conditions = definition.status.conditions if definition.status else None
    return any(each.type == "Established" and each.status == "True" for each in conditions or [])


def _is_gone(call: Callable[[], Any]) -> bool:
    try:
        call()
    except ApiException as error:
        return bool(error.status == 404)
    return False


def test_clients_outlive_a_restart_of_the_server(restarting: Server) -> None:
    """An informer and a client that were there before the restart go on after it and miss nothing."""
    config.load_kube_config(str(restarting.kubeconfig))
    core = client.CoreV1Api()
    heard: queue.Queue[str] = queue.Queue()
    informer = SharedInformer(core.list_namespaced_config_map, "default")
    informer.add_event_handler(ADDED, lambda item: heard.put(item.metadata.name))
    informer.start()
    try:
        assert heard.get(timeout=10) == "kube-root-ca.crt"
        restarting.restart()
        for name in ("after", "later"):
            core.create_namespaced_config_map("default", config_map(name))
            assert name in iter(partial(heard.get, timeout=DEADLINE_S), None)
    finally:
        informer.stop()
