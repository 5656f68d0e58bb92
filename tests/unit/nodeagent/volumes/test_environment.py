"""Environment variables of containers."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from nodeagent.volumes.environment import MissingReferenceError, container_environment
from nodeagent.volumes.fields import NodeResources

NODE = NodeResources(cpu_millis=4000, memory_bytes=8 << 30)


class Objects:
    """ConfigMaps and Secrets of the namespace ``default`` by name."""

    def __init__(self, config_maps: dict[str, dict[str, str]], secrets: dict[str, dict[str, bytes]]) -> None:
        self._config_maps, self._secrets = config_maps, secrets

    def config_map(self, namespace: str, name: str) -> dict[str, Any] | None:
        found = self._config_maps.get(name) if namespace == "default" else None
        return None if found is None else {"metadata": {"name": name, "namespace": namespace}, "data": found}

    def secret(self, namespace: str, name: str) -> dict[str, Any] | None:
        found = self._secrets.get(name) if namespace == "default" else None
        if found is None:
            return None
        return {"metadata": {"name": name}, "data": {key: base64.b64encode(v).decode() for key, v in found.items()}}


OBJECTS = Objects(
    {"settings": {"COLOR": "red", "not a name": "x", "SIZE": "1"}}, {"login": {"user": b"ann", "raw": b"\xff\xfe"}}
)


def pod(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "namespace": "default", "uid": "u", "labels": {"app": "web"}},
        "spec": {"nodeName": "n", "containers": [container()], **spec},
        "status": {"podIP": "10.42.0.2", "hostIP": "192.0.2.1"},
    }


def container(**fields: Any) -> dict[str, Any]:
    return {"name": "c", "resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "100Mi"}}, **fields}


def environment(services: Any = (), **fields: Any) -> dict[str, str]:
    return dict(container_environment(pod(), container(**fields), OBJECTS, services=services, node=NODE))


def test_values_refer_to_earlier_ones() -> None:
    """``$(NAME)`` takes what was defined before; unknown names and ``$$`` stay as they should."""
    env = [
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)-$(C)-$$(A)-$(A"},
        {"name": "C", "value": "$(B)"},
        {"name": "EMPTY"},
    ]
    assert environment(env=env) == {"A": "1", "B": "1-$(C)-$(A)-$(A", "C": "1-$(C)-$(A)-$(A", "EMPTY": ""}


def test_env_from() -> None:
    """Whole objects are taken with their prefix, keys that make no name are left out, and env overrides them."""
    found = environment(
        envFrom=[{"prefix": "X_", "configMapRef": {"name": "settings"}}, {"configMapRef": {"name": "settings"}}],
        env=[{"name": "SIZE", "value": "9"}],
    )
    assert found == {"X_COLOR": "red", "X_SIZE": "1", "COLOR": "red", "SIZE": "9"}


def test_value_from() -> None:
    """Keys of objects, fields of the pod and resources of containers become values."""
    env = [
        {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "COLOR"}}},
        {"name": "USER", "valueFrom": {"secretKeyRef": {"name": "login", "key": "user"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "MILLIS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        {"name": "REQUEST", "valueFrom": {"resourceFieldRef": {"resource": "requests.memory", "divisor": "1Mi"}}},
        {"name": "LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
        {"name": "MAYBE", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "x", "optional": True}}},
    ]
    assert environment(env=env) == {
        "COLOR": "red",
        "USER": "ann",
        "IP": "10.42.0.2",
        "APP": "web",
        "CPU": "2",
        "MILLIS": "1500",
        "REQUEST": "100",
        "LIMIT": str(8 << 30),
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"envFrom": [{"configMapRef": {"name": "none"}}]}, 'configmap "none" not found'),
        ({"envFrom": [{"secretRef": {"name": "none"}}]}, 'secret "none" not found'),
        (
            {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "k"}}}]},
            "couldn't find key k in ConfigMap default/settings",
        ),
        (
            {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "login", "key": "k"}}}]},
            "couldn't find key k in Secret default/login",
        ),
        ({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.what"}}}]}, "unsupported fieldPath"),
        (
            {
                "env": [
                    {"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "containerName": "x"}}}
                ]
            },
            "container x not found",
        ),
    ],
)
def test_missing_references(fields: dict[str, Any], message: str) -> None:
    """What is referred to and missing is named as the kubelet names it."""
    with pytest.raises(MissingReferenceError, match=message):
        environment(**fields)


def test_optional_sources_may_be_missing() -> None:
    """An optional source that is missing gives nothing."""
    assert environment(envFrom=[{"secretRef": {"name": "none", "optional": True}}]) == {}


def test_bytes_that_are_no_text_survive() -> None:
    """A value that is not UTF-8 reaches the container byte for byte."""
    env = [{"name": "RAW", "valueFrom": {"secretKeyRef": {"name": "login", "key": "raw"}}}]
    assert environment(env=env)["RAW"].encode("utf-8", "surrogateescape") == b"\xff\xfe"


def service(name: str, namespace: str = "default", **spec: Any) -> dict[str, Any]:
    full = {
        "clusterIP": "10.43.0.5",
        "ports": [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}],
    }
    return {"metadata": {"name": name, "namespace": namespace}, "spec": full | spec}


def test_service_variables() -> None:
    """The services of the namespace appear under the names that Kubernetes and Docker links use."""
    found = environment([service("my-web"), service("other", "elsewhere"), service("quiet", clusterIP="None")])
    assert found == {
        "MY_WEB_SERVICE_HOST": "10.43.0.5",
        "MY_WEB_SERVICE_PORT": "80",
        "MY_WEB_SERVICE_PORT_HTTP": "80",
        "MY_WEB_SERVICE_PORT_DNS": "53",
        "MY_WEB_PORT": "tcp://10.43.0.5:80",
        "MY_WEB_PORT_80_TCP": "tcp://10.43.0.5:80",
        "MY_WEB_PORT_80_TCP_PROTO": "tcp",
        "MY_WEB_PORT_80_TCP_PORT": "80",
        "MY_WEB_PORT_80_TCP_ADDR": "10.43.0.5",
        "MY_WEB_PORT_53_UDP": "udp://10.43.0.5:53",
        "MY_WEB_PORT_53_UDP_PROTO": "udp",
        "MY_WEB_PORT_53_UDP_PORT": "53",
        "MY_WEB_PORT_53_UDP_ADDR": "10.43.0.5",
    }


def test_service_links_can_be_off() -> None:
    """Without service links only the API's own service appears; a variable of the container wins over a service's."""
    services = [service("web"), service("kubernetes")]
    quiet = pod(enableServiceLinks=False)
    found = container_environment(quiet, container(), OBJECTS, services=services, node=NODE)
    assert {name.partition("_")[0] for name, _ in found} == {"KUBERNETES"}
    env = [{"name": "WEB_SERVICE_PORT", "value": "mine"}, {"name": "SEEN", "value": "$(WEB_SERVICE_HOST)"}]
    linked = environment(services, env=env)
    assert (linked["WEB_SERVICE_PORT"], linked["SEEN"]) == ("mine", "10.43.0.5")
