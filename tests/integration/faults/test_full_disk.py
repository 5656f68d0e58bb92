"""The disk of a node's data fills up: by a pod, by a log, by an image. No pod is lost or doubled, and all recovers."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from nodeagent.images.store import ImageStore
from nodeagent.volumes.mounts import mount_tmpfs
from tests.integration.faults.node_lab import Lab, busybox_archive, on_a_node, pod_of
from tests.integration.faults.remains import container_processes
from tests.integration.image_lab import entry, layer, make_image, write_archive

pytestmark = pytest.mark.root

DISK_BYTES = 48 << 20
# A disk fills faster than any eviction helps; what happens then is tested here, not the eviction.
NO_EVICTION = "--eviction-hard=memory.available<1Mi"
SLEEPER = "trap 'exit 0' TERM; sleep 1000 & wait $!"


def on_a_small_disk(story: Callable[[Lab], Awaitable[None]]) -> None:
    """Run a story on a node whose data are on a small file system of their own and whose agent runs."""

    async def tell(lab: Lab) -> None:
        mount_tmpfs(lab.data_dir, mode=0o711, size_bytes=DISK_BYTES)
        images = ImageStore(lab.data_dir / "images")
        images.load(busybox_archive(lab.directory / "busybox.tar"))
        await images.close()
        lab.start_agent(NO_EVICTION)
        await lab.connected()
        await lab.create(pod_of(SLEEPER, name="bystander"))
        await lab.ready("bystander")
        await story(lab)
        assert lab.is_ready("bystander") and lab.status("bystander")["restartCount"] == 0
        for name in ("bystander", "web"):
            if lab.pod(name) is not None:
                await lab.delete(name, grace_s=1)
                await lab.gone(name)

    on_a_node(tell, with_image=False)


def free_bytes(lab: Lab) -> int:
    found = os.statvfs(lab.data_dir)
    return found.f_bavail * found.f_frsize


def fill(lab: Lab) -> Path:
    """Use up all that is free on the disk, by a file."""
    file = lab.data_dir / "ballast"
    with file.open("wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(b"x" * 65536)
        except OSError:
            pass
    while True:
        try:
            with file.open("ab", buffering=0) as ballast:
                ballast.write(b"x" * 512)
        except OSError:
            return file


async def until_told(lab: Lab, word: str) -> None:
    await lab.until(f"an event says {word!r}", lambda: any(word in event for event in lab.events("web")))


def test_a_pod_can_not_start_on_a_full_disk() -> None:
    """It waits with the reason told, an agent killed meanwhile goes on, and with space again it runs, once."""

    async def story(lab: Lab) -> None:
        ballast = fill(lab)
        uid = await lab.create(pod_of(SLEEPER))
        await until_told(lab, "No space left on device")
        lab.agent.kill()
        await lab.disconnected()
        lab.start_agent(NO_EVICTION)
        await lab.connected()
        assert not lab.is_ready("web")
        ballast.unlink()
        await lab.ready("web")
        assert len(container_processes(lab, uid)) == 1
        assert lab.status("web")["restartCount"] == 0

    on_a_small_disk(story)


def test_a_pod_that_fills_the_disk() -> None:
    """Others go on, crash and come back meanwhile; the disk is free again once the pod is gone."""

    async def story(lab: Lab) -> None:
        free = free_bytes(lab)
        filling = "dd if=/dev/zero of=/full bs=64k 2>/dev/null; echo full; " + SLEEPER
        await lab.create(pod_of(filling))
        await lab.until("the disk is full", lambda: free_bytes(lab) < 65536)
        assert lab.is_ready("bystander")
        lab.agent.kill()
        await lab.disconnected()
        lab.start_agent(NO_EVICTION)
        await lab.connected()
        await lab.delete("web", grace_s=1)
        await lab.gone("web")
        assert free_bytes(lab) > free - (1 << 20)

    on_a_small_disk(story)


def test_a_crash_on_a_full_disk_is_not_lost() -> None:
    """The exit code and the restart are told although nothing can be written, and an agent killed then knows them."""

    async def story(lab: Lab) -> None:
        await lab.create(pod_of("trap 'exit 3' USR1; sleep 1000 & wait $!", spec={"restartPolicy": "Never"}))
        await lab.ready("web")
        uid = (lab.pod("web") or {})["metadata"]["uid"]
        ballast = fill(lab)
        [process] = container_processes(lab, uid)
        assert process.send(10)
        await lab.until("its end is told", lambda: lab.status("web").get("state", {}).get("terminated"))
        assert lab.status("web")["state"]["terminated"]["exitCode"] == 3
        lab.agent.kill()
        await lab.disconnected()
        lab.start_agent(NO_EVICTION)
        await lab.connected()
        ballast.unlink()
        assert lab.status("web")["state"]["terminated"]["exitCode"] == 3
        assert (lab.pod("web") or {})["status"]["phase"] == "Failed"

    on_a_small_disk(story)


def test_an_image_that_does_not_fit() -> None:
    """Loading it fails with the reason and leaves nothing of it; what was there is whole."""

    async def story(lab: Lab) -> None:
        big = write_archive(
            lab.directory / "big.tar", {"big:1": make_image([layer(entry("file", os.urandom(DISK_BYTES)))])}
        )
        free = free_bytes(lab)
        command = [sys.executable, "-m", "flotilla", "image", "load", str(big), f"--node-dir={lab.data_dir}"]
        code, output = await lab.run(*command)
        assert code != 0 and "no space left on device" in output.lower(), output
        assert free_bytes(lab) > free - (1 << 20)
        await lab.create(pod_of(SLEEPER))
        await lab.ready("web")

    on_a_small_disk(story)
