"""Bad input is refused with an error that names the object and the field, and nothing is stored."""

from __future__ import annotations

import json

import pytest

from tests.e2e.scenario import Scenario

pytestmark = [pytest.mark.e2e, pytest.mark.root]

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "bad"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "bad"}},
        "template": {
            "metadata": {"labels": {"app": "bad"}},
            "spec": {"containers": [{"name": "c", "image": "flotilla.dev/sample:v1"}]},
        },
    },
}


def _with(path: str, value: object) -> str:
    """The Deployment with the value at a dotted path replaced; None removes it."""
    document = json.loads(json.dumps(DEPLOYMENT))
    place = document
    *parents, last = path.split(".")
    for part in parents:
        place = place[int(part)] if part.isdigit() else place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return json.dumps(document)


CONTAINER = "spec.template.spec.containers.0"
SAME_NAMES = [{"name": "p", "containerPort": 1}, {"name": "p", "containerPort": 2}]
CASES = {
    "unparsable": ("apiVersion: v1\nkind: [", ["yaml"]),
    "unknown field": (_with("spec.replicaz", 2), ["bad", "spec.replicaz"]),
    "wrong type": (_with("spec.replicas", "two"), ["spec.replicas"]),
    "negative replicas": (_with("spec.replicas", -1), ["bad", "spec.replicas", "greater than or equal to 0"]),
    "capitals in name": (_with("metadata.name", "Bad"), ["metadata.name", "lowercase"]),
    "missing image": (_with(f"{CONTAINER}.image", None), ["bad", "spec.template.spec.containers[0].image", "equired"]),
    "wrong apiVersion": (_with("apiVersion", "apps/v7"), ["Deployment", "apps/v7"]),
    "duplicate port names": (_with(f"{CONTAINER}.ports", SAME_NAMES), ["containers[0].ports[1].name", "uplicate"]),
    "selector mismatch": (
        _with("spec.selector.matchLabels.app", "other"),
        ["bad", "spec.template.metadata.labels", "selector"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_by_name(scenario: Scenario, case: str) -> None:
    """kubectl and flotilla both exit non-zero and name what is wrong; no Deployment comes to be."""
    text, words = CASES[case]
    for program in (scenario.kubectl_fails, scenario.flotilla_fails):
        message = program("apply", "-f", "-", stdin=text)
        assert all(word.lower() in message.lower() for word in words), message
    assert "bad" not in scenario.kubectl("get", "deploy", "-A", "-o", "name")


def test_wrong_api_version_in_a_request(scenario: Scenario) -> None:
    """An object of another version than the path's is a 400 that names it."""
    status, answer = scenario.raw("POST", scenario.config_maps, b'{"apiVersion": "v7", "kind": "ConfigMap"}')
    assert status == 400
    assert "v7" in answer.decode()


def test_too_large_object_gets_413(scenario: Scenario) -> None:
    """A 2 MB ConfigMap is refused by the server's own limit, naming it."""
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big"}, "data": {"a": "x" * 2_000_000}}
    message = scenario.kubectl_fails("create", "-f", "-", stdin=json.dumps(body))
    assert "too large" in message.lower()
    assert scenario.raw("POST", scenario.config_maps, json.dumps(body).encode())[0] == 413


def test_too_many_labels(scenario: Scenario) -> None:
    """100,000 labels are refused with an error that names metadata.labels."""
    labels = {f"label-{index}": "x" for index in range(100_000)}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "labelled", "labels": labels}}
    status, answer = scenario.raw("POST", scenario.config_maps, json.dumps(body).encode())
    assert status in (413, 422)
    assert status == 413 or "metadata.labels" in answer.decode()
    assert scenario.kubectl("get", "configmap", "labelled", "--ignore-not-found") == ""


def test_truncated_body(scenario: Scenario) -> None:
    """A body that ends too early is a 400 that says where, and the server goes on."""
    status, answer = scenario.raw("POST", scenario.config_maps, b'{"apiVersion": "v1", "kind": "Conf')
    assert status == 400
    assert json.loads(answer)["reason"] == "BadRequest"
    assert "ok" in scenario.kubectl("get", "--raw", "/readyz")
