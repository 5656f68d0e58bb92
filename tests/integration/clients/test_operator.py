"""An operator on kopf, in a process of its own, with a kind of its own: it lives through restarts of either side."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lightkube import Client, KubeConfig
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.apiextensions_v1 import (
    CustomResourceDefinitionNames,
    CustomResourceDefinitionSpec,
    CustomResourceDefinitionVersion,
    CustomResourceSubresources,
    CustomResourceValidation,
    JSONSchemaProps,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.core_v1 import ConfigMap, Event
from lightkube.types import PatchType

from tests.integration.kubectl.lab import DEADLINE_S, Server, until

GROUP = "greetings.example.com"
MERGE = PatchType.MERGE
OPERATOR = Path(__file__).with_name("greetings_operator.py")
Greeting = create_namespaced_resource(GROUP, "v1", "Greeting", "greetings")
pytestmark = [pytest.mark.etcd, pytest.mark.timeout(120)]


def definition() -> CustomResourceDefinition:
    """The kind's definition: a text is required, the status is the operator's own."""
    text = JSONSchemaProps(type="string", minLength=1)
    properties = {
        "spec": JSONSchemaProps(type="object", properties={"text": text}, required=["text"]),
        "status": JSONSchemaProps(type="object", x_kubernetes_preserve_unknown_fields=True),
    }
    version = CustomResourceDefinitionVersion(
        name="v1",
        served=True,
        storage=True,
        schema=CustomResourceValidation(openAPIV3Schema=JSONSchemaProps(type="object", properties=properties)),
        subresources=CustomResourceSubresources(status={}),
    )
    names = CustomResourceDefinitionNames(kind="Greeting", plural="greetings", singular="greeting")
    spec = CustomResourceDefinitionSpec(group=GROUP, names=names, scope="Namespaced", versions=[version])
    return CustomResourceDefinition(metadata=ObjectMeta(name=f"greetings.{GROUP}"), spec=spec)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of this file's own, since it is restarted."""
    made = Server()
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def client(server: Server, namespace: str) -> Iterator[Client]:
    """A client for a cluster that knows the operator's kind."""
    settings = KubeConfig.from_file(str(server.kubeconfig))
    with Client(settings, namespace=namespace, trust_env=False) as made:
        made.apply(definition(), field_manager="tester")
        made.wait(CustomResourceDefinition, f"greetings.{GROUP}", for_conditions=["Established"])
        yield made


@contextmanager
def operator(server: Server, namespace: str, log: Path) -> Iterator[None]:
    """The operator's process, ended as a rolling update would end it."""
    command = [sys.executable, "-m", "kopf", "run", "--standalone", f"--namespace={namespace}", str(OPERATOR)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(log.parent), "KUBECONFIG": str(server.kubeconfig)}
    with log.open("ab") as output, subprocess.Popen(command, stdout=output, stderr=output, env=environment) as process:
        try:
            yield
            assert process.poll() is None
        finally:
            print(log.read_text(encoding="utf-8"))
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def greeting(name: str, text: str) -> Any:
    """A Greeting to be created."""
    return Greeting(metadata=ObjectMeta(name=name), spec={"text": text})


def text_of(client: Client, name: str) -> str | None:
    """What the operator wrote, if it has."""
    try:
        return (client.get(ConfigMap, name).data or {}).get("text")
    except ApiError as error:
        assert error.status.code == 404, error
        return None


def status_of(client: Client, name: str) -> dict[str, Any]:
    return client.get(Greeting, name).status or {}


def is_greeted(client: Client, name: str) -> bool:
    return status_of(client, name).get("phase") == "Greeted"


def is_gone(client: Client, kind: Any, name: str) -> bool:
    try:
        client.get(kind, name)
    except ApiError as error:
        return bool(error.status.code == 404)
    return False


def test_handlers_timers_and_finalizers(server: Server, client: Client, namespace: str, tmp_path: Path) -> None:
    """Each handler runs at its moment, and a deleted object waits for the one that says farewell."""
    client.create(greeting("one", "hello"))
    with operator(server, namespace, tmp_path / "log"):
        until("the ConfigMap is made", lambda: text_of(client, "one") == "hello")
        until("the status is written", partial(is_greeted, client, "one"))
        until("the result is kept", lambda: status_of(client, "one").get("greet") == {"said": "hello"})
        until("the daemon runs", lambda: text_of(client, "one-attended") == "yes")
        until("the timer ticks", lambda: status_of(client, "one").get("ticks", 0) >= 3)
        assert client.get(Greeting, "one").metadata.finalizers == ["kopf.zalando.org/KopfFinalizerMarker"]
        client.patch(Greeting, "one", {"spec": {"text": "hi"}}, patch_type=MERGE)
        until("the change arrives", lambda: text_of(client, "one") == "hi")
        client.delete(Greeting, "one")
        until("the object is gone", lambda: is_gone(client, Greeting, "one"))
        assert text_of(client, "one-farewell") == "bye"
        for name in ("one", "one-attended"):
            until("what it owned is gone", partial(is_gone, client, ConfigMap, name))


def test_failures_are_tried_again_and_told(server: Server, client: Client, namespace: str, tmp_path: Path) -> None:
    """What fails for now is tried again; what fails for good is told in an Event."""
    with operator(server, namespace, tmp_path / "log"):
        client.create(greeting("slow", "later"))
        until("the second attempt succeeds", lambda: text_of(client, "slow") == "later")
        client.create(greeting("bad", "never"))

        def told() -> bool:
            events = client.list(Event, fields={"involvedObject.name": "bad", "type": "Error"})
            return any("that will not be said" in (event.message or "") for event in events)

        until("an Event tells of the failure", told)
        assert text_of(client, "bad") is None
        for name in ("slow", "bad"):
            client.delete(Greeting, name)
            until(f"{name} is gone", partial(is_gone, client, Greeting, name))


def test_the_operator_is_restarted(server: Server, client: Client, namespace: str, tmp_path: Path) -> None:
    """What was made, changed and deleted while it was away is handled when it is back."""
    with operator(server, namespace, tmp_path / "log"):
        for name in ("changed", "deleted"):
            client.create(greeting(name, "hello"))
            until(f"{name} is greeted", partial(is_greeted, client, name))
    client.patch(Greeting, "changed", {"spec": {"text": "changed meanwhile"}}, patch_type=MERGE)
    client.delete(Greeting, "deleted")
    client.create(greeting("made", "made meanwhile"))
    assert client.get(Greeting, "deleted").metadata.deletionTimestamp
    with operator(server, namespace, tmp_path / "log"):
        until("the change is handled", lambda: text_of(client, "changed") == "changed meanwhile")
        until("the new one is handled", lambda: text_of(client, "made") == "made meanwhile")
        until("the deleted one is gone", lambda: is_gone(client, Greeting, "deleted"))
        client.deletecollection(Greeting)
        until("all are gone", lambda: not list(client.list(Greeting)))


def test_the_server_is_restarted(server: Server, client: Client, namespace: str, tmp_path: Path) -> None:
    """The operator goes on with the new server where it was with the old one, and its objects are all there."""
    with operator(server, namespace, tmp_path / "log"):
        client.create(greeting("one", "before"))
        until("it is greeted", lambda: text_of(client, "one") == "before")
        server.restart()
        client.patch(Greeting, "one", {"spec": {"text": "after"}}, patch_type=MERGE)
        client.create(greeting("two", "new"))
        until("the change arrives", lambda: text_of(client, "one") == "after")
        until("the new one arrives", lambda: text_of(client, "two") == "new")
        ticks = status_of(client, "one").get("ticks", 0)
        until("the timer goes on", lambda: status_of(client, "one").get("ticks", 0) > ticks)
        client.delete(CustomResourceDefinition, f"greetings.{GROUP}")
        until("all are gone with their kind", lambda: is_gone(client, CustomResourceDefinition, f"greetings.{GROUP}"))
        assert text_of(client, "two-farewell") == "bye"
