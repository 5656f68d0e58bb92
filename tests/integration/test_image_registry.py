"""Pulling from a real registry: TLS, passwords, tags, digests, architectures, mirrors, damage on the way."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from flotilla.api.objects import KubeObject
from nodeagent.images.auth import RegistryAuth
from nodeagent.images.store import ImagePullError, ImageStore
from nodeagent.node_facts import architecture
from tests.directories import passable_directory
from tests.integration.agent_lab import Bench, is_ready, main_status, pod_of, running_bench
from tests.integration.image_lab import ImageBlobs, entry, layer, make_image
from tests.integration.registry_lab import PASSWORD, USER, RealRegistry, running_registry, trusted

pytestmark = pytest.mark.root

BUSYBOX = Path("/bin/busybox").read_bytes()
OTHER = {"amd64": "arm64", "arm64": "amd64"}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    """The registry of all tests here, its CA not known to the node."""
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def known(registry: RealRegistry) -> Iterator[RealRegistry]:
    """The registry, its CA known."""
    with trusted(registry):
        yield registry


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ImageStore]:
    made = ImageStore(tmp_path / "images", parallel_pulls=2)
    yield made
    await made.close()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    with passable_directory() as directory:
        async with running_bench(directory) as made:
            yield made


def auth(registry: RealRegistry, password: str = PASSWORD) -> RegistryAuth:
    return RegistryAuth(registry.address, USER, password)


def image(content: bytes, **options: Any) -> ImageBlobs:
    return make_image([layer(entry("file", content))], compress=True, **options)


async def test_password_and_ca(known: RealRegistry, store: ImageStore, tmp_path: Path, caplog: Any) -> None:
    """An image comes over verified TLS to whom the registry knows, and no word of the password stays behind."""
    caplog.set_level(logging.DEBUG)
    made = image(b"private")
    name = known.push("team/private:v1", made)
    for auths in ([], [auth(known, "wrong")], [RegistryAuth("other.example", USER, PASSWORD)]):
        with pytest.raises(ImagePullError, match=r"unauthorized|authentication required") as refusal:
            await store.ensure(name, policy="IfNotPresent", auths=auths)
        assert refusal.value.reason == "ErrImagePull"
    found = await store.ensure(name, policy="IfNotPresent", auths=[auth(known, "wrong"), auth(known)])
    assert found.references == (name,)
    assert found.name_by_digest(name) == f"{known.address}/team/private@{made.descriptor['digest']}"
    assert found.pulled is not None
    left = [path.read_bytes() for path in (tmp_path / "images").rglob("*") if path.is_file()]
    assert not any(PASSWORD.encode() in content for content in left)
    assert PASSWORD not in caplog.text
    assert PASSWORD not in refusal.value.message


async def test_unknown_ca(registry: RealRegistry, store: ImageStore, tmp_path: Path) -> None:
    """A registry whose certificate no known CA has signed is refused, where one is expected."""
    name = registry.push("team/app:v1", image(b"1"))
    unknown = pytest.raises(ImagePullError, match="certificate signed by unknown authority")
    with trusted(registry, ca=False), unknown as refusal:
        await store.ensure(name, policy="IfNotPresent", auths=[auth(registry)])
    assert refusal.value.reason == "ErrImagePull"


async def test_moved_tags_and_digests(known: RealRegistry, store: ImageStore) -> None:
    """Always asks what the tag means and fetches only what is new; a digest keeps meaning the same."""
    first, second = image(b"first"), image(b"second")
    name = known.push("moving:v1", first)
    before = await store.ensure(name, policy="Always", auths=[auth(known)])
    fetched = known.requests("/moving/blobs/")
    assert (await store.ensure(name, policy="Always", auths=[auth(known)])).digest == before.digest
    assert known.requests("/moving/blobs/") == fetched
    known.push("moving:v1", second)
    after = await store.ensure(name, policy="Always", auths=[auth(known)])
    assert (after.layers[0] / "file").read_bytes() == b"second"
    by_digest = await store.ensure(
        f"{known.address}/moving:ignored@{before.digest}", policy="IfNotPresent", auths=[auth(known)]
    )
    assert (by_digest.layers[0] / "file").read_bytes() == b"first"
    with pytest.raises(ImagePullError, match="manifest unknown"):
        await store.ensure(f"{known.address}/moving:none", policy="Always", auths=[auth(known)])


async def test_architectures(known: RealRegistry, store: ImageStore) -> None:
    """Of an index the node's architecture is taken, known by the index's digest; without it the error names it."""
    own, other = architecture(), OTHER[architecture()]
    name = known.push_index("many:v1", {other: image(b"other"), own: image(b"own")})
    found = await store.ensure(name, policy="IfNotPresent", auths=[auth(known)])
    assert (found.layers[0] / "file").read_bytes() == b"own"
    index = found.name_by_digest(name)
    assert not index.endswith(found.digest)
    for same in (index, f"{known.address}/many@{found.digest}"):
        assert (await store.ensure(same, policy="Never", auths=[auth(known)])).id == found.id
    foreign = known.push_index("foreign:v1", {other: image(b"foreign")})
    with pytest.raises(ImagePullError, match=f"no image found in .* for architecture {own}"):
        await store.ensure(foreign, policy="IfNotPresent", auths=[auth(known)])


async def test_docker_manifests(known: RealRegistry, store: ImageStore) -> None:
    """An image with Docker's manifest keeps the digest that its registry knows it by."""
    name = known.push("docker:v1", image(b"docker"), flags=("--format", "v2s2"))
    found = await store.ensure(name, policy="IfNotPresent", auths=[auth(known)])
    assert known.blob(found.name_by_digest(name).partition("@")[2]).exists()
    by_digest = await store.ensure(found.name_by_digest(name), policy="Never", auths=[auth(known)])
    assert by_digest.id == found.id


async def test_mirror_that_is_plain(registry: RealRegistry, store: ImageStore, tmp_path: Path) -> None:
    """The host's registries.conf says where an image really is, and that a mirror has no TLS."""
    registry.push("mirrored/app:v1", image(b"mirrored"))
    drop_in = Path(f"/etc/containers/registries.conf.d/999-flotilla-test-{os.getpid()}.conf")
    with ExitStack() as held:
        storage = registry.directory / "storage"
        mirror = held.enter_context(running_registry(tmp_path / "mirror", secure=False, storage=storage))
        held.callback(drop_in.unlink)
        where = f'[[registry.mirror]]\nlocation = "{mirror.address}/mirrored"\ninsecure = true\n'
        await asyncio.to_thread(drop_in.write_text, f'[[registry]]\nlocation = "registry.invalid"\n{where}')
        found = await store.ensure("registry.invalid/app:v1", policy="IfNotPresent")
    assert (found.layers[0] / "file").read_bytes() == b"mirrored"
    assert found.name_by_digest("registry.invalid/app:v1").startswith("registry.invalid/app@sha256:")


async def test_damage_in_the_registry(known: RealRegistry, store: ImageStore, tmp_path: Path) -> None:
    """A layer or a manifest that the registry has changed is refused by its digest, and nothing of it stays."""
    for what, complaint in (("layer", "did not match"), ("manifest", "does not match|unexpected|unverified|invalid")):
        made = image(what.encode())
        name = known.push(f"damaged-{what}:v1", made)
        layers = [digest for digest, content in made.blobs.items() if content[:2] == b"\x1f\x8b"]
        digest = layers[0] if what == "layer" else made.descriptor["digest"]
        blob = known.blob(digest)
        blob.write_bytes(blob.read_bytes()[:-1] + b"?")
        with pytest.raises(ImagePullError, match=complaint) as refusal:
            await store.ensure(f"{name}@{made.descriptor['digest']}", policy="IfNotPresent", auths=[auth(known)])
        assert refusal.value.reason == "ErrImagePull"
    assert store.images() == []
    assert list((tmp_path / "images/layers").iterdir()) == []


async def test_private_images_of_others(known: RealRegistry, store: ImageStore) -> None:
    """What one pod's secret has pulled, another pod gets only with a secret that the registry accepts as well."""
    private, public = known.push("tenants/private:v1", image(b"1")), known.push("tenants/other:v1", image(b"1"))
    await store.ensure(private, policy="IfNotPresent", auths=[auth(known)])
    asked = known.requests("/tenants/private/")
    assert (await store.ensure(private, policy="IfNotPresent", auths=[auth(known)])).pulled is None
    assert known.requests("/tenants/private/") == asked
    for auths in ([], [auth(known, "wrong")]):
        with pytest.raises(ImagePullError, match=r"authentication required|unauthorized"):
            await store.ensure(private, policy="IfNotPresent", auths=auths)
        with pytest.raises(ImagePullError, match="present, but not for this pod's secrets") as refusal:
            await store.ensure(private, policy="Never", auths=auths)
        assert refusal.value.reason == "ErrImageNeverPull"
    found = await asyncio.to_thread(store.pull, public, auths=[auth(known)])
    assert (await store.ensure(public, policy="Never")).id == found.id
    with pytest.raises(ImagePullError, match="not for this pod's secrets"):
        await store.ensure(f"{known.address}/tenants/private@{found.digest}", policy="Never")


async def test_many_at_once(known: RealRegistry, store: ImageStore) -> None:
    """Pods that ask for one image at once share its pull, whatever they authenticate with; others wait for a turn."""
    names = [known.push(f"at-once-{number}:v1", image(os.urandom(50_000))) for number in range(4)]
    same = RegistryAuth(known.address.replace("127.0.0.1", "127.*.0.1"), USER, PASSWORD)
    asked = [
        store.ensure(name, policy="IfNotPresent", auths=[credential])
        for name in names
        for credential in (auth(known), auth(known), same)
    ]
    found = await asyncio.gather(*asked)
    assert len({each.digest for each in found}) == 4
    for number in range(4):
        assert known.requests(f"/at-once-{number}/blobs/") == 2
    waits = [each.pulled.waiting_s for each in found if each.pulled is not None]
    assert min(waits) < 0.1 < max(waits)


class Secrets:
    """Pull secrets of the pods' namespace."""

    def __init__(self, **secrets: KubeObject) -> None:
        self._secrets = secrets

    def config_map(self, namespace: str, name: str) -> KubeObject | None:
        return None

    def secret(self, namespace: str, name: str) -> KubeObject | None:
        return self._secrets.get(name)


def pull_secret(key: str, document: Any) -> KubeObject:
    return {"data": {key: base64.b64encode(json.dumps(document).encode()).decode()}}


async def test_pod_with_pull_secrets(known: RealRegistry, store: ImageStore, bench: Bench) -> None:
    """A pod runs its private image by either kind of pull secret, and its events tell the pull as kubectl shows it."""
    made = make_image([layer(entry("bin", None), entry("bin/sh", BUSYBOX))], compress=True)
    login = {known.address: {"username": USER, "password": PASSWORD}}
    secrets = Secrets(new=pull_secret(".dockerconfigjson", {"auths": login}), old=pull_secret(".dockercfg", login))
    node = bench.node(images=store, objects=secrets)
    for name in ("new", "old"):
        image_name = known.push(f"pods/{name}:v1", made)
        spec = {"imagePullSecrets": [{"name": "lost"}, {"name": name}]}
        pod = pod_of("read x", name=name, spec=spec, image=image_name, stdin=True)
        worker = node.add(pod)
        await node.reports.until(lambda worker=worker: is_ready(worker))  # type: ignore[misc]
        assert main_status(worker)["imageID"] == f"{known.address}/pods/{name}@{made.descriptor['digest']}"
        told = [(event.reason, event.message) for event in node.reports.events if event.involved["name"] == name]
        assert told[0] == (
            "FailedToRetrieveImagePullSecret",
            "Unable to retrieve some image pull secrets (lost); attempting to pull the image may not succeed.",
        )
        assert told[1] == ("Pulling", f'Pulling image "{image_name}"')
        assert told[2][0] == "Pulled"
        assert told[2][1].startswith(f'Successfully pulled image "{image_name}" in ')
        assert re.search(r"in [\d.]+m?s \([\d.]+m?s including waiting\)\. Image size: \d+ bytes\.$", told[2][1])
    assert PASSWORD not in str(node.reports.events)


@pytest.mark.parametrize(
    ("image_name", "policy", "told", "reason"),
    [
        ("UPPER/Case", "IfNotPresent", "InspectFailed", "InvalidImageName"),
        ("absent:v1", "Never", "ErrImageNeverPull", "ErrImageNeverPull"),
    ],
)
async def test_pods_that_cannot_start(
    store: ImageStore, bench: Bench, image_name: str, policy: str, told: str, reason: str
) -> None:
    """A name that is none and an image that must not be pulled leave a container waiting with the kubelet's reason."""
    node = bench.node(images=store)
    worker = node.add(pod_of("true", image=image_name, imagePullPolicy=policy))
    await node.reports.until(lambda: "waiting" in main_status(worker)["state"])
    await node.reports.until(lambda: main_status(worker)["state"]["waiting"]["reason"] == reason)
    assert [event.reason for event in node.reports.events] == [told, "Failed"]
    assert node.reports.events[1].message == f"Error: {reason}"


async def test_refused_pod_backs_off(known: RealRegistry, store: ImageStore, bench: Bench) -> None:
    """A refused pull is told as an error, then as a back-off; the next comes after ten seconds."""
    name = known.push("pods/refused:v1", image(b"x"))
    node = bench.node(images=store)
    worker = node.add(pod_of("true", image=name))
    await node.reports.until(
        lambda: main_status(worker)["state"].get("waiting", {}).get("reason") == "ImagePullBackOff"
    )
    waiting = main_status(worker)["state"]["waiting"]
    assert waiting["message"].startswith(f'Back-off pulling image "{name}": ErrImagePull: failed to pull image')
    record = worker.state.container("main").record
    assert record.waiting is not None
    assert 9 < record.retry_at_unix_s - record.waiting.since_unix_s < 11
    reasons = [event.reason for event in node.reports.events]
    assert reasons == ["Pulling", "Failed", "Failed", "BackOff", "Failed"]
