"""The real kubectl against the API server on TLS, with nothing behind it but the in-memory store.

``FLOTILLA_KUBECTL`` lists the binaries to test with, separated by colons; without it those that ``deploy/test`` has
fetched are taken, one for each version.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from controlplane.api.authn import CertificateAuthenticator
from controlplane.api.authz import GroupAuthorizer
from controlplane.api.bootstrap import bootstrap
from controlplane.api.operations import Operations
from controlplane.api.server import ApiServer, ServerTls
from controlplane.pki import ensure_cluster_pki, write_kubeconfig
from controlplane.store.cache import Cache
from controlplane.store.memory import MemoryStore
from flotilla.api.objects import KubeObject
from flotilla.api.registry import REGISTRY
from flotilla.api.resources import DEPLOYMENTS, NODES, PODS

DEADLINE_S = 60.0
KUBECTL_DIR = Path(os.environ.get("FLOTILLA_KUBECTL_DIR", Path(__file__).parents[2] / ".cache" / "kubectl"))
BINARIES = [path for path in os.environ.get("FLOTILLA_KUBECTL", "").split(":") if path] or [
    str(path) for path in sorted(KUBECTL_DIR.glob("kubectl-*"))
]
pytestmark = pytest.mark.skipif(not BINARIES, reason="no kubectl: name one in FLOTILLA_KUBECTL")

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: busybox
        ports: [{containerPort: 80}]
        resources: {requests: {cpu: 100m, memory: 32Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80}]
---
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {run: one}}
spec: {containers: [{name: main, image: busybox}]}
"""


class Samples:
    """Logs and usage of the one pod."""

    async def stream(self, pod: KubeObject, container: str, options: KubeObject) -> AsyncIterator[bytes]:
        yield f"hello from {container}\n".encode()

    def pod_metrics(self, namespace: str, name: str = "") -> list[KubeObject]:
        usage = {"cpu": "120m", "memory": "20Mi"}
        metadata = {"name": "one", "namespace": "default", "labels": {"run": "one"}}
        head = {"kind": "PodMetrics", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": metadata}
        times = {"timestamp": "2026-01-01T00:00:00Z", "window": "5s"}
        return [head | times | {"containers": [{"name": "main", "usage": usage}]}]

    def node_metrics(self, name: str = "") -> list[KubeObject]:
        return []


@dataclass(slots=True)
class Kubectl:
    """One kubectl, pointed at the server."""

    binary: str
    directory: Path
    operations: Operations

    def command(self, *arguments: str) -> list[str]:
        kubeconfig = str(self.directory / "kubeconfig")
        cache = str(self.directory / "discovery-cache")
        return [self.binary, "--kubeconfig", kubeconfig, "--cache-dir", cache, *arguments]

    async def run(self, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
        """Exit code, output and errors."""
        process = await asyncio.create_subprocess_exec(
            *self.command(*arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"KUBECTL_EXTERNAL_DIFF": "diff -u -N"},
        )
        try:
            async with asyncio.timeout(DEADLINE_S):
                out, err = await process.communicate(stdin.encode())
        except BaseException:
            process.kill()
            raise
        return process.returncode or 0, out.decode(), err.decode()

    async def __call__(self, *arguments: str, stdin: str = "") -> str:
        """The output of a command that has to succeed, and without any warning."""
        code, out, err = await self.run(*arguments, stdin=stdin)
        assert code == 0, f"kubectl {' '.join(arguments)}: {err}"
        assert "Warning" not in err, err
        return out

    async def refused(self, *arguments: str, stdin: str = "") -> str:
        """The errors of a command that has to fail."""
        code, out, err = await self.run(*arguments, stdin=stdin)
        assert code != 0, out
        return err


@pytest.fixture(params=BINARIES, ids=[f"kubectl{number}" for number in range(len(BINARIES))])
async def kubectl(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kubectl]:
    pki = ensure_cluster_pki(tmp_path / "pki", server_names=["127.0.0.1"])
    store = MemoryStore()
    cache = Cache(store, REGISTRY.all())
    operations = Operations(store, cache)
    samples = Samples()
    server = ApiServer(
        listen="127.0.0.1:0",
        tls=ServerTls(pki.server.certificate, pki.server.key, pki.ca_file),
        operations=operations,
        cache=cache,
        authenticator=CertificateAuthenticator(),
        authorizer=GroupAuthorizer(),
        logs=samples,
        metrics=samples,
        collectors=CollectorRegistry(),
    )
    following = asyncio.create_task(cache.run())
    await cache.wait_synced()
    serving = asyncio.create_task(server.run())
    await server.listening.wait()
    await bootstrap(
        operations,
        api_address="127.0.0.1",
        api_port=server.port,
        cluster_dns="10.43.0.10",
        service_cidr="10.43.0.0/16",
    )
    write_kubeconfig(tmp_path / "kubeconfig", server_url=f"https://127.0.0.1:{server.port}", pki=pki)
    yield Kubectl(request.param, tmp_path, operations)
    for task in (serving, following):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_apply_get_and_delete(kubectl: Kubectl) -> None:
    """A manifest is created, found unchanged the second time, shown, and deleted with everybody waiting for it."""
    first = await kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert first.splitlines() == ["deployment.apps/web created", "service/web created", "pod/one created"]
    again = await kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert again.splitlines() == ["deployment.apps/web unchanged", "service/web unchanged", "pod/one unchanged"]
    wide = await kubectl("get", "deployments,services,pods", "-o", "wide")
    assert "SELECTOR" in wide and "NODE" in wide and "deployment.apps/web" in wide
    everywhere = await kubectl("get", "all", "-A")
    assert "kube-system" in everywhere
    assert json.loads(await kubectl("get", "pod", "one", "-o", "json"))["spec"]["containers"][0]["image"] == "busybox"
    assert (await kubectl("get", "pods", "-o", "name")).strip() == "pod/one"
    deleted = await kubectl("delete", "-f", "-", stdin=MANIFEST)
    assert 'pod "one" deleted' in deleted
    assert (await kubectl("get", "deployments,pods", "-o", "name")).strip() == ""


async def test_a_changed_manifest_is_patched(kubectl: Kubectl) -> None:
    """apply computes a strategic merge patch from the schema: a changed image stays one container."""
    await kubectl("apply", "-f", "-", stdin=MANIFEST)
    changed = MANIFEST.replace("image: busybox\n        ports", "image: busybox:2\n        ports")
    difference = await kubectl.run("diff", "-f", "-", stdin=changed)
    assert difference[0] == 1
    assert "image: busybox:2" in difference[1]
    assert "deployment.apps/web configured" in await kubectl("apply", "-f", "-", stdin=changed)
    images = await kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[*].image}")
    assert images == "busybox:2"
    assert (await kubectl.run("diff", "-f", "-", stdin=changed))[0] == 0


async def test_server_side_apply(kubectl: Kubectl) -> None:
    """It takes over what was applied from the client, and names the other manager in a conflict."""
    await kubectl("apply", "-f", "-", stdin=MANIFEST)
    taken = await kubectl("apply", "--server-side", "-f", "-", stdin=MANIFEST)
    assert "deployment.apps/web serverside-applied" in taken
    other = MANIFEST.replace("replicas: 2", "replicas: 3")
    conflict = await kubectl.refused("apply", "--server-side", "--field-manager=other", "-f", "-", stdin=other)
    assert 'conflict with "kubectl": .spec.replicas' in conflict
    await kubectl("apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-", stdin=other)
    assert await kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "3"


async def test_label_patch_scale(kubectl: Kubectl) -> None:
    """The imperative commands, each by its own kind of patch."""
    await kubectl("apply", "-f", "-", stdin=MANIFEST)
    await kubectl("label", "pod", "one", "colour=red")
    await kubectl("annotate", "pod", "one", "note=x")
    assert (await kubectl("get", "pods", "-l", "colour=red", "-o", "name")).strip() == "pod/one"

    async def replicas() -> str:
        return await kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}")

    await kubectl("scale", "deployment", "web", "--replicas=3")
    assert await replicas() == "3"
    await kubectl("scale", "deployment", "web", "--current-replicas=3", "--replicas=4")
    assert await replicas() == "4"
    patches = {"strategic": '{"spec":{"replicas":5}}', "merge": '{"spec":{"replicas":6}}'}
    patches["json"] = '[{"op":"replace","path":"/spec/replicas","value":7}]'
    for number, (type_, patch) in enumerate(patches.items(), start=5):
        await kubectl("patch", "deployment", "web", f"--type={type_}", "-p", patch)
        assert await replicas() == str(number)
    await kubectl("set", "image", "deployment/web", "web=busybox:3")
    await kubectl("rollout", "restart", "deployment/web")
    restarted = "{.spec.template.metadata.annotations.kubectl\\.kubernetes\\.io/restartedAt}"
    assert await kubectl("get", "deployment", "web", "-o", f"jsonpath={restarted}")


async def test_describe(kubectl: Kubectl) -> None:
    """Objects, their events and what belongs to them."""
    await kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert "StrategyType:           RollingUpdate" in await kubectl("describe", "deployment", "web")
    assert "QoS Class:" in await kubectl("describe", "pod", "one")
    assert "NodePort:" in await kubectl("describe", "service", "web")
    assert "Status:       Active" in await kubectl("describe", "namespace", "default")


async def test_watch(kubectl: Kubectl) -> None:
    """get -w shows what is there and each change as a row."""
    await kubectl("apply", "-f", "-", stdin=MANIFEST)
    process = await asyncio.create_subprocess_exec(
        *kubectl.command("get", "deployment", "web", "-w", "--no-headers"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE_S):
            assert b"0/2" in await process.stdout.readline()
            await kubectl("scale", "deployment", "web", "--replicas=9")
            assert b"0/9" in await process.stdout.readline()
    finally:
        process.kill()
        await process.wait()


async def test_wait(kubectl: Kubectl) -> None:
    """wait returns when a condition comes true, and when an object is gone."""
    await kubectl("apply", "-f", "-", stdin=MANIFEST)

    def ready(pod: KubeObject) -> KubeObject:
        pod["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        return pod

    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=30s"))
        await kubectl.operations.mutate(PODS, "default", "one", ready, manager="test", subresource="status")
    assert waiting.result().strip() == "pod/one condition met"
    async with asyncio.TaskGroup() as tasks:
        gone = tasks.create_task(kubectl("wait", "--for=delete", "pod/one", "--timeout=30s"))
        await kubectl.operations.delete(PODS, "default", "one", manager="test")
    assert gone.result().strip() in ("pod/one condition met", "")


async def test_what_the_server_serves(kubectl: Kubectl) -> None:
    """Discovery, explanations of fields from OpenAPI, versions."""
    resources = await kubectl("api-resources")
    assert all(name in resources for name in ("deployments", "horizontalpodautoscalers", "endpointslices", "leases"))
    explained = await kubectl("explain", "deployment.spec.strategy.rollingUpdate.maxSurge")
    assert "FIELD: maxSurge" in explained
    assert "<[]Container>" in await kubectl("explain", "pod.spec")
    assert 'field "nothing" does not exist' in await kubectl.refused("explain", "pod.spec.nothing")
    assert "v1.35.0+flotilla" in (await kubectl.run("version"))[1]
    assert "is running at" in await kubectl("cluster-info")


async def test_objects_made_by_command(kubectl: Kubectl) -> None:
    """create, run, expose and auth: recent kubectl sends these as protobuf."""
    await kubectl("create", "deployment", "made", "--image=busybox", "--replicas=0", "--port=80")
    spec = json.loads(await kubectl("get", "deployment", "made", "-o", "json"))["spec"]
    assert (spec["replicas"], spec["template"]["spec"]["containers"][0]["ports"][0]["containerPort"]) == (0, 80)
    await kubectl("create", "configmap", "made", "--from-literal=a=b")
    assert await kubectl("get", "configmap", "made", "-o", "jsonpath={.data.a}") == "b"
    await kubectl("create", "secret", "generic", "made", "--from-literal=a=b")
    assert await kubectl("get", "secret", "made", "-o", "jsonpath={.data.a}") == "Yg=="
    await kubectl("create", "namespace", "made")
    await kubectl("create", "service", "nodeport", "made", "--tcp=80:8080")
    assert await kubectl("get", "service", "made", "-o", "jsonpath={.spec.ports[0].targetPort}") == "8080"
    await kubectl("expose", "deployment", "made", "--name=exposed", "--port=80")
    await kubectl("run", "ran", "--image=busybox", "--env=A=B")
    assert "admin" in await kubectl("auth", "whoami")
    assert (await kubectl("auth", "can-i", "create", "pods")).strip() == "yes"
    assert "*.*" in await kubectl("auth", "can-i", "--list")
    assert "no kind" not in await kubectl("delete", "deployment", "made", "--cascade=orphan", "--wait=false")


async def test_logs_and_top(kubectl: Kubectl) -> None:
    """The log of a pod's container, and what the pod uses."""
    await kubectl("apply", "-f", "-", stdin=MANIFEST)

    def bind(pod: KubeObject) -> KubeObject:
        pod["spec"]["nodeName"] = "n"
        return pod

    await kubectl.operations.mutate(PODS, "default", "one", bind, manager="test", subresource="binding")
    assert await kubectl("logs", "one") == "hello from main\n"
    assert "120m" in await kubectl("top", "pod")


async def test_nodes_are_cordoned_and_tainted(kubectl: Kubectl) -> None:
    """Strategic merge patches of a node."""
    await kubectl.operations.create(NODES, {"metadata": {"name": "n"}}, manager="test")
    await kubectl("cordon", "n")
    assert "SchedulingDisabled" in await kubectl("get", "nodes")
    await kubectl("uncordon", "n")
    await kubectl("taint", "node", "n", "key=value:NoSchedule")
    assert await kubectl("get", "node", "n", "-o", "jsonpath={.spec.taints[0].key}") == "key"


@pytest.mark.parametrize(
    ("find", "replace", "expected"),
    [
        ("replicas: 2", "replicas: 2\n  foo: 1", 'strict decoding error: unknown field "spec.foo"'),
        ("replicas: 2", "replicas: three", "spec.replicas"),
        ("replicas: 2", "replicas: -1", 'The Deployment "web" is invalid: spec.replicas'),
        ("name: web, labels", "name: Web, labels", "a lowercase RFC 1123 subdomain"),
        ("image: busybox\n        ports", "ports", "image"),
        ("matchLabels: {app: web}", "matchLabels: {app: other}", "`selector` does not match template `labels`"),
    ],
)
async def test_bad_manifests_are_refused(kubectl: Kubectl, find: str, replace: str, expected: str) -> None:
    """kubectl prints what is wrong with which object and field, and nothing of that object is stored."""
    errors = await kubectl.refused("apply", "-f", "-", stdin=MANIFEST.replace(find, replace, 1))
    assert expected in errors
    assert await kubectl("get", "deployments", "-o", "name") == ""


@pytest.mark.parametrize("verb", ["apply", "create", "delete"])
async def test_a_kind_that_is_not_served_is_named(kubectl: Kubectl, verb: str) -> None:
    """kubectl, which looks for the kind in OpenAPI 3 and then in OpenAPI 2, says which one is unknown."""
    bad = MANIFEST.split("---")[0].replace("apps/v1", "apps/v7").replace("name: web", "name: bad", 1)
    errors = await kubectl.refused(verb, "-f", "-", stdin=bad)
    assert 'no matches for kind "Deployment" in version "apps/v7"' in errors
    assert 'resource mapping not found for name: "bad" namespace: "" from "STDIN"' in errors


async def test_explanations_from_openapi_2(kubectl: Kubectl) -> None:
    """The protobuf document has kinds by group, version and kind, types through references, and descriptions."""

    async def explain(*arguments: str) -> str:
        return await kubectl("explain", "--output=plaintext-openapiv2", *arguments)

    assert "containers\t<[]Object> -required-" in await explain("pod.spec")
    assert "rounding up" in await explain("deployment.spec.strategy.rollingUpdate.maxSurge")
    assert "matchLabels\t<map[string]string>" in await explain("deployment.spec.selector")
    assert "VERSION:  autoscaling/v2" in await explain("--api-version=autoscaling/v2", "hpa")


async def test_many_objects_come_in_pages(kubectl: Kubectl) -> None:
    """kubectl asks for pages of its own size and shows all of them."""
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    for number in range(25):
        metadata = {"name": f"d{number:02}", "namespace": "default"}
        spec: dict[str, Any] = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        await kubectl.operations.create(DEPLOYMENTS, {"metadata": metadata, "spec": spec}, manager="test")
    listed = await kubectl("get", "deployments", "--chunk-size=10", "-o", "name")
    assert len(listed.split()) == 25
