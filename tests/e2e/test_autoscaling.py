"""Load makes the sample service grow in seconds, and it shrinks again when the load is gone."""

from __future__ import annotations

import json
import time

import pytest

from flotilla.api.objects import KubeObject
from flotilla.api.quantities import cpu_millis
from tests.e2e.cluster import ROOT
from tests.e2e.scenario import Scenario

pytestmark = [pytest.mark.e2e, pytest.mark.root]


@pytest.mark.timeout(240)
def test_load_scales_out_and_back_in(scenario: Scenario) -> None:
    """From 2 replicas to more within 5 s of load, to 8 under sustained load, to 2 after the window, each explained."""
    scenario.apply_sample()
    scenario.until("two replicas are ready", lambda: scenario.ready_replicas("web") == 2, timeout_s=90)
    scenario.kubectl("apply", "-f", f"{ROOT}/manifests/load.yaml")
    scenario.kubectl("scale", "deploy/load", "--replicas=2")
    scenario.kubectl("wait", "--for=condition=Available", "deploy/load", "--timeout=20s")
    started = time.monotonic()
    scenario.until("a third replica is ready", lambda: scenario.ready_replicas("web") > 2, timeout_s=15)
    assert time.monotonic() - started <= 5
    scenario.until("the maximum is reached", lambda: scenario.ready_replicas("web") == 8, timeout_s=60)
    described = scenario.kubectl("describe", "hpa", "web")
    assert "SuccessfulRescale" in described
    assert "cpu resource utilization (percentage of request) above target" in described
    told = scenario.cluster.flotilla("autoscale", "why", "hpa/web", "-n", scenario.namespace).stdout
    assert told.startswith("Deployment/web: 8 replicas, as wanted")
    assert "target 50 %: ratio" in told
    assert "Scale down: window 30 s; Max of 100% in 15 s" in told
    seen = scenario.cluster.flotilla("top", "-n", scenario.namespace, "--frames", "2").stdout
    assert "Deployment/web" in seen
    assert "8/2-8" in seen
    assert "█" in seen
    scenario.kubectl("delete", "-f", f"{ROOT}/manifests/load.yaml")
    scenario.until("it shrinks to the minimum", lambda: scenario.ready_replicas("web") == 2, timeout_s=120)
    scenario.until(
        "the event of the scale-down shows",
        lambda: "All metrics below target" in scenario.kubectl("describe", "hpa", "web"),
        timeout_s=10,
    )


@pytest.mark.timeout(180)
def test_requests_scale_out_and_back_in(scenario: Scenario) -> None:
    """Pods are counted by the requests that they say they answer, with no adapter, and fewer again without load."""
    scenario.kubectl("apply", "-f", f"{ROOT}/manifests/requests.yaml")
    scenario.kubectl("scale", "deploy/shoppers", "--replicas=0")
    scenario.until("it answers", lambda: scenario.ready_replicas("shop") == 1, timeout_s=30)
    scenario.until("its load is known", lambda: "0/20" in scenario.kubectl("get", "hpa", "shop"), timeout_s=20)
    scenario.kubectl("scale", "deploy/shoppers", "--replicas=2")
    scenario.kubectl("wait", "--for=condition=Available", "deploy/shoppers", "--timeout=20s")
    started = time.monotonic()
    scenario.until("a second replica is ready", lambda: scenario.ready_replicas("shop") > 1, timeout_s=15)
    assert time.monotonic() - started <= 5
    assert '"http_requests_per_second" on pods' in scenario.kubectl("describe", "hpa", "shop")
    scenario.until(
        "the event says why",
        lambda: "pods metric http_requests_per_second above target" in scenario.kubectl("describe", "hpa", "shop"),
        timeout_s=10,
    )
    scenario.kubectl("scale", "deploy/shoppers", "--replicas=0")
    scenario.until("it shrinks to one", lambda: scenario.ready_replicas("shop") == 1, timeout_s=90)


QUERIED = """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: shop
  annotations:
    prometheus.flotilla.dev/shop_requests: 'sum(rate(http_requests_total{namespace="NAMESPACE",app="shop"}[15s]))'
    flotilla.dev/prometheus-interval: 2s
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}
  minReplicas: 1
  maxReplicas: 4
  metrics:
  - type: External
    external:
      metric: {name: shop_requests}
      target: {type: AverageValue, averageValue: "20"}
"""


@pytest.mark.timeout(180)
def test_a_query_on_prometheus_scales_out(scenario: Scenario) -> None:
    """The cluster's own Prometheus finds the annotated pods through the API, and an autoscaler asks it."""
    scenario.kubectl("apply", "-f", f"{ROOT}/manifests/requests.yaml")
    scenario.kubectl("apply", "-f", "-", stdin=QUERIED.replace("NAMESPACE", scenario.namespace))
    scenario.kubectl("scale", "deploy/shoppers", "--replicas=2")
    scenario.until("a second replica is ready", lambda: scenario.ready_replicas("shop") > 1, timeout_s=60)
    scenario.until(
        "the event says why",
        lambda: "external metric shop_requests above target" in scenario.kubectl("describe", "hpa", "shop"),
        timeout_s=10,
    )
    path = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{scenario.namespace}/shop_requests"
    assert '"metricName":"shop_requests"' in scenario.kubectl("get", "--raw", path)


WAITING = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: waiting}
spec:
  selector: {matchLabels: {app: waiting}}
  template:
    metadata: {labels: {app: waiting}}
    spec:
      containers:
      - name: web
        image: flotilla.dev/sample:v1
        resources: {requests: {cpu: CPU, memory: 16Mi}}
"""


@pytest.mark.timeout(180)
def test_what_is_scaled_in_is_used_by_who_waits(scenario: Scenario) -> None:
    """A service that is Pending for lack of CPU starts when another is scaled in, and not before."""
    manifest = (ROOT / "manifests" / "requests.yaml").read_text(encoding="utf-8")
    scenario.kubectl("apply", "-f", "-", stdin=manifest.replace("cpu: 50m", "cpu: 300m"))
    scenario.kubectl("scale", "deploy/shoppers", "--replicas=2")
    scenario.until("there are two shops", lambda: scenario.ready_replicas("shop") >= 2, timeout_s=40)
    (node,) = scenario.items("nodes")
    pods = scenario.cluster.flotilla("get", "pods", "-A", "-o", "json").stdout
    requests = [
        cpu_millis(container["resources"].get("requests", {}).get("cpu", 0))
        for pod in json.loads(pods)["items"]
        for container in pod["spec"]["containers"]
    ]
    free = cpu_millis(node["status"]["allocatable"]["cpu"]) - sum(requests)
    scenario.kubectl("apply", "-f", "-", stdin=WAITING.replace("CPU", f"{free + 200}m"))
    scenario.until(
        "it waits for CPU",
        lambda: "Insufficient cpu" in scenario.kubectl("get", "events"),
        timeout_s=15,
    )
    assert scenario.ready_replicas("waiting") == 0
    scenario.kubectl("scale", "deploy/shoppers", "--replicas=0")
    scenario.until("it has what was freed", lambda: scenario.ready_replicas("waiting") == 1, timeout_s=60)
    scenario.until("one shop is left", lambda: scenario.ready_replicas("shop") == 1, timeout_s=60)


STARVED = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: busy
  annotations: {flotilla.dev/vertical: InPlace, flotilla.dev/vertical-max: "cpu=16m"}
spec:
  selector: {matchLabels: {app: busy}}
  template:
    metadata: {labels: {app: busy}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: flotilla.dev/sample:v1
        command: [/bin/sh, -c, "while :; do :; done"]
        resources: {requests: {cpu: 4m, memory: 16Mi}, limits: {cpu: 200m, memory: 64Mi}}
"""


@pytest.mark.timeout(180)
def test_a_starved_container_is_given_more_in_place(scenario: Scenario) -> None:
    """What uses all of its limit has a larger one within a minute, in its cgroup, and goes on running."""
    scenario.kubectl("apply", "-f", "-", stdin=STARVED)
    scenario.until("it runs", lambda: scenario.ready_replicas("busy") == 1, timeout_s=30)
    (before,) = scenario.items("pods")
    given = {"requests": {"cpu": "4m", "memory": "16Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}}
    assert before["spec"]["containers"][0]["resources"] == given

    def in_force() -> KubeObject | None:
        (pod,) = scenario.items("pods")
        asked, has = pod["spec"]["containers"][0], pod["status"]["containerStatuses"][0]
        limit = cpu_millis(has["resources"]["limits"]["cpu"])
        return pod if limit > 200 and has["resources"]["limits"] == asked["resources"]["limits"] else None

    after = scenario.until("its node has resized it", in_force, timeout_s=90)
    (status,) = after["status"]["containerStatuses"]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert (status["restartCount"], status["containerID"]) == (
        0,
        before["status"]["containerStatuses"][0]["containerID"],
    )
    requests, limits = (cpu_millis(after["spec"]["containers"][0]["resources"][part]["cpu"]) for part in PARTS)
    assert (requests, limits) == (16, 800)
    name, namespace = before["metadata"]["name"], f"--namespace={scenario.namespace}"
    quota = scenario.kubectl("exec", name, namespace, "--", "/bin/sh", "-c", QUOTA).split()
    assert int(quota[0]) / int(quota[1]) == pytest.approx(limits / 1000, rel=0.02)
    scenario.until(
        "events say why",
        lambda: f"Resizing pod {name}" in scenario.kubectl("describe", "deploy", "busy"),
        timeout_s=10,
    )
    told = scenario.cluster.flotilla("autoscale", "why", "deploy/busy", "-n", scenario.namespace).stdout
    assert told.startswith("Deployment/busy: InPlace")
    assert "UNCAPPED" in told


PARTS = ("requests", "limits")
QUOTA = "cat /sys/fs/cgroup/cpu.max || cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us"
