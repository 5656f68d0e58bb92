"""The image store under an agent is damaged: what runs goes on, what can be put right is, and else a pod says why."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from nodeagent.images.image import Image
from nodeagent.images.store import ImageStore
from tests.integration.faults.node_lab import IMAGE, Lab, on_a_node, pod_of

pytestmark = pytest.mark.root

SLEEPER = "trap 'exit 0' TERM; sleep 1000 & wait $!"


def with_images(story: Callable[[Lab, ImageStore, Image], Awaitable[None]]) -> None:
    """Run a story on a node whose agent runs; it gets the store and the image of all pods."""

    async def tell(lab: Lab) -> None:
        lab.start_agent()
        await lab.connected()
        store = ImageStore(lab.data_dir / "images")
        image = store.find(IMAGE)
        assert image is not None
        await story(lab, store, image)
        await store.close()

    on_a_node(tell)


async def runs(lab: Lab, name: str) -> None:
    """A pod of the image comes up and goes."""
    await lab.create(pod_of(SLEEPER, name=name, imagePullPolicy="Never"))
    await lab.ready(name)
    await lab.delete(name, grace_s=1)
    await lab.gone(name)


async def load(lab: Lab) -> None:
    archive = str(lab.directory / "busybox.tar")
    command = [sys.executable, "-m", "flotilla", "image", "load", archive, f"--node-dir={lab.data_dir}"]
    code, output = await lab.run(*command)
    assert code == 0, output


async def waits_for_it(lab: Lab, name: str, *, words: str) -> None:
    """A pod can't start and says why; the next one does once the image has been loaded again."""
    await lab.create(pod_of(SLEEPER, name=name, imagePullPolicy="Never"))

    def waiting() -> str:
        return str(lab.status(name).get("state", {}).get("waiting", {}).get("message"))

    await lab.until("it says why", lambda: words in waiting())
    await lab.delete(name, grace_s=1)
    await lab.gone(name)
    await load(lab)
    await runs(lab, f"{name}-again")


def test_the_index_is_damaged() -> None:
    """It is made from its copy; without that, images are loaded again. What runs goes on throughout."""

    async def story(lab: Lab, store: ImageStore, _: Image) -> None:
        await lab.create(pod_of(SLEEPER, name="bystander"))
        await lab.ready("bystander")
        index, copy = store.layout.root / "index.json", store.layout.root / "index.copy"
        for position, content in enumerate((b"", b'{"manifests": [{"digest": 1}]}', None)):
            index.unlink()
            if content is not None:
                index.write_bytes(content)
            await runs(lab, f"web-{position}")
        for each in (index, copy):
            each.write_bytes(b"{")
        await waits_for_it(lab, "late", words="is not present")
        assert lab.is_ready("bystander") and lab.status("bystander")["restartCount"] == 0

    with_images(story)


def test_layers_and_documents_are_damaged() -> None:
    """A lost layer is unpacked again; what is damaged in its blobs is told, and loading the image puts it right."""

    async def story(lab: Lab, store: ImageStore, image: Image) -> None:
        def lose(directory: Path) -> None:
            directory.rename(lab.directory / "lost")
            shutil.rmtree(lab.directory / "lost")

        lose(image.layers[0])
        await runs(lab, "unpacked")
        layer = store.layout.blob(store.blobs_of(image)[-1])
        lose(image.layers[0])
        layer.write_bytes(b"damaged")
        await waits_for_it(lab, "layer", words="is damaged (the blob of sha256:")
        lab.agent.kill()
        await lab.disconnected()
        store.layout.blob(image.digest).write_bytes(b"{}")
        lab.start_agent()
        await lab.connected()
        await waits_for_it(lab, "manifest", words="has other content than its digest says")

    with_images(story)
