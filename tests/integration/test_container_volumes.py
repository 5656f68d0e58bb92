"""Volumes as containers see them, on a real runtime: sub-paths, read-only trees, propagation."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from nodeagent.isolation.namespaces import own_namespaces
from nodeagent.isolation.ranges import FIRST_ID, PodUsers
from nodeagent.pod_worker import PodWorker
from nodeagent.volumes.binds import ContainerBinds
from nodeagent.volumes.fields import NodeResources
from nodeagent.volumes.payload import VolumeError
from nodeagent.volumes.volumes import Volumes
from tests.directories import passable_directory
from tests.integration.agent_lab import (
    DEADLINE_S,
    Bench,
    Node,
    deleted,
    is_ready,
    main_status,
    pid_of,
    pod_of,
    running_bench,
    shell,
)

pytestmark = pytest.mark.root

_HERE, _EXCHANGE = -100, 2
ENOUGH = 300
PLAIN = {"name": "plain", "emptyDir": {}}


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    with passable_directory() as directory:
        monkeypatch.chdir(directory)
        async with running_bench(directory) as bench:
            yield bench


def node_of(bench: Bench) -> Node:
    """A node whose pods have real volumes."""
    run_dir, data_dir = bench.directory / "run", bench.directory / "data"
    return bench.node(
        volumes=Volumes(data_dir / "pods", files_dir=run_dir / "volumes", node=NodeResources(1000, 1 << 30))
    )


async def ready(node: Node, pod: dict[str, Any]) -> PodWorker:
    worker = node.add(pod)
    await node.reports.until(lambda: is_ready(worker))
    return worker


@contextmanager
def pod_users() -> Iterator[PodUsers]:
    """Users of a pod's own, as long as the context lasts."""
    with own_namespaces(FIRST_ID) as found:
        yield PodUsers(FIRST_ID, str(found / "user"))


@pytest.mark.parametrize("own_users", [False, True])
def test_a_link_put_in_before_the_mount(own_users: bool) -> None:
    """A link that takes the place of a directory at any moment, also once it was looked at, is never mounted."""
    exchange = ctypes.CDLL(None).renameat2
    over = threading.Event()
    with passable_directory() as directory, pod_users() if own_users else nullcontext() as users:
        volume, outside = directory / "volume", directory / "outside"
        (volume / "way" / "deep").mkdir(parents=True)
        (outside / "deep").mkdir(parents=True)
        for place in (volume, outside):
            (place / "way" if place == volume else place).joinpath("deep", place.name).touch()
        (volume / "link").symlink_to("../outside")

        def swap() -> None:
            while not over.is_set():
                assert exchange(_HERE, os.fsencode(volume / "way"), _HERE, os.fsencode(volume / "link"), _EXCHANGE) == 0

        thread = threading.Thread(target=swap)
        thread.start()
        binds = ContainerBinds(directory / "binds", users)
        seen, refused, tries = set[str](), 0, 0
        until_s = time.monotonic() + DEADLINE_S
        try:
            while (tries < ENOUGH or not seen or not refused) and time.monotonic() < until_s:
                tries += 1
                try:
                    seen |= set(os.listdir(binds.place(volume, subpath="way/deep")))
                except VolumeError:
                    refused += 1
                binds.release()
        finally:
            over.set()
            thread.join()
            binds.release()
    assert seen == {"volume"}
    assert refused


@pytest.mark.parametrize("host_users", [False, True])
async def test_missing_directories_are_writable(bench: Bench, host_users: bool) -> None:
    """A directory made for a subPath can be written by whoever can write to its volume, and has the volume's group."""
    spec = {"volumes": [PLAIN], "securityContext": {"fsGroup": 2000}, "hostUsers": host_users}
    mounts = [{"name": "plain", "mountPath": "/deep", "subPath": "a/b"}]
    user = {"runAsUser": 1000, "runAsGroup": 1000}
    worker = await ready(node_of(bench), pod_of("sleep 1000", spec=spec, volumeMounts=mounts, securityContext=user))
    listed = await shell(bench.nodes[-1], worker, "touch /deep/f && stat -c '%u:%g %a' /deep /deep/f")
    assert listed == "0:2000 2777\n1000:2000 644\n"


async def test_a_subpath_without_its_variable(bench: Bench) -> None:
    """A container whose subPathExpr names a variable that is not set waits and says which, and makes no directory."""
    node = node_of(bench)
    mounts = [{"name": "plain", "mountPath": "/deep", "subPathExpr": "logs/$(NO_SUCH)"}]
    worker = node.add(pod_of("sleep 1000", spec={"volumes": [PLAIN]}, volumeMounts=mounts))
    await node.reports.until(lambda: worker.state.container("main").record.waiting)
    waiting = worker.state.container("main").record.waiting
    assert waiting is not None
    assert (waiting.reason, waiting.message) == ("CreateContainerConfigError", "missing value for NO_SUCH")
    assert os.listdir(bench.directory / "data/pods/uid-web/volumes/plain") == []


def mounted(target: Path, *, propagation: str = "private") -> None:
    """A tmpfs of the test's on ``target``."""
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(target)], check=True)
    subprocess.run(["mount", f"--make-{propagation}", str(target)], check=True)


def mount_table() -> str:
    return Path("/proc/self/mountinfo").read_text()


def host_path(path: Path) -> dict[str, Any]:
    return {"name": "host", "hostPath": {"path": str(path)}}


@pytest.mark.parametrize(
    ("recursive", "host_users"),
    # crun makes all of a tree read-only for a pod with users of its own, asked or not.
    [("Disabled", True), ("IfPossible", False), ("IfPossible", True), ("Enabled", False), ("Enabled", True)],
)
async def test_what_is_mounted_below_a_volume(bench: Bench, recursive: str, host_users: bool) -> None:
    """``readOnly`` holds for the volume itself, ``recursiveReadOnly`` for all that is mounted in it, too."""
    node, top = node_of(bench), bench.directory / "top"
    mounted(top / "below")
    mount = {"name": "host", "mountPath": "/v", "readOnly": True, "recursiveReadOnly": recursive}
    spec = {"volumes": [host_path(top)], "hostUsers": host_users}
    worker = await ready(node, pod_of("sleep 1000", spec=spec, volumeMounts=[mount]))
    tried = await shell(node, worker, "touch /v/f; touch /v/below/f; ls /v/below")
    assert "touch: /v/f: Read-only file system" in tried
    assert ("touch: /v/below/f: Read-only file system" in tried) == (recursive != "Disabled")
    (status,) = main_status(worker)["volumeMounts"]
    expected = "Disabled" if recursive == "Disabled" else "Enabled"
    assert status == {"name": "host", "mountPath": "/v", "readOnly": True, "recursiveReadOnly": expected}
    assert os.listdir(top / "below") == ([] if recursive != "Disabled" else ["f"])


@pytest.mark.parametrize(
    ("propagation", "inward", "outward"),
    [("None", False, False), ("HostToContainer", True, False), ("Bidirectional", True, True)],
)
async def test_mount_propagation(bench: Bench, propagation: str, inward: bool, outward: bool) -> None:
    """Mounts made later appear in the container, or on the node, or on neither, as ``mountPropagation`` says."""
    node, top = node_of(bench), bench.directory / "top"
    mounted(top, propagation="shared")
    mount = {"name": "host", "mountPath": "/v", "mountPropagation": propagation}
    privileged = {"privileged": True}
    pod = pod_of("sleep 1000", spec={"volumes": [host_path(top)]}, volumeMounts=[mount], securityContext=privileged)
    worker = await ready(node, pod)
    mounted(top / "later", propagation="shared")
    (top / "later" / "f").touch()
    assert (await shell(node, worker, "ls /v/later") == "f\n") == inward
    await shell(node, worker, "mkdir /v/inside && mount -t tmpfs tmpfs /v/inside && touch /v/inside/f")
    assert (os.listdir(top / "inside") == ["f"]) == outward


@pytest.mark.parametrize("propagation", ["HostToContainer", "Bidirectional"])
async def test_propagation_that_can_not_be(bench: Bench, propagation: str) -> None:
    """A container whose volume lies on a mount that shares nothing does not start, and says what to do."""
    node, top = node_of(bench), bench.directory / "top"
    mounted(top)
    mount = {"name": "host", "mountPath": "/v", "mountPropagation": propagation}
    worker = node.add(pod_of("sleep 1000", spec={"volumes": [host_path(top)]}, volumeMounts=[mount]))
    await node.reports.until(lambda: worker.state.container("main").record.waiting)
    waiting = worker.state.container("main").record.waiting
    assert waiting is not None
    assert waiting.reason == "CreateContainerConfigError"
    assert waiting.message.startswith(f'path "{top}" is mounted on "{top}" but it is not a shared')
    assert waiting.message.endswith(f"(mount --make-rshared {top})")


@pytest.mark.parametrize("host_users", [False, True])
async def test_images_as_volumes(bench: Bench, host_users: bool) -> None:
    """An image's files are there, with its owners, read-only and not to be started, whole or in part."""
    owned = bench.layer / "data" / "file"
    owned.parent.mkdir()
    owned.write_text("from the image\n")
    os.chown(owned, 1000, 1000)
    shutil.copy("/bin/busybox", owned.parent / "program")
    node = node_of(bench)
    volumes = [{"name": "model", "image": {"reference": "busybox", "pullPolicy": "Always"}}]
    mounts = [
        {"name": "model", "mountPath": "/all"},
        {"name": "model", "mountPath": "/part", "subPath": "data"},
    ]
    spec = {"volumes": volumes, "hostUsers": host_users}
    worker = await ready(node, pod_of("sleep 1000", spec=spec, volumeMounts=mounts))
    printed = await shell(
        node, worker, "exec 2>&1; cat /all/data/file; stat -c %u:%g /part/file; touch /part/x /all/y; /part/program ls"
    )
    assert printed.splitlines()[:2] == ["from the image", "1000:1000"]
    assert printed.count("Read-only file system") == 2
    assert "Permission denied" in printed
    os.kill(pid_of(node, worker), signal.SIGKILL)
    await node.reports.until(lambda: main_status(worker)["restartCount"] == 1 and is_ready(worker))
    assert await shell(node, worker, "cat /part/file") == "from the image\n"
    worker.update(deleted(worker.pod, 0))
    await node.reports.until(lambda: worker.over)
    assert not (bench.directory / "data/pods/uid-web/volumes").exists()
    assert "uid-web/volumes" not in mount_table()


@pytest.mark.parametrize(
    ("reference", "subpath", "reason", "message"),
    [
        ("none", "", "ErrImagePull", "none: not found"),
        ("busybox", "no/such", "CreateContainerConfigError", "No such file or directory"),
    ],
)
async def test_images_that_can_not_be_volumes(
    bench: Bench, reference: str, subpath: str, reason: str, message: str
) -> None:
    """A volume's image that can't be had keeps its container waiting, as the container's own would."""
    node = node_of(bench)
    mounts = [{"name": "model", "mountPath": "/v", "subPath": subpath}]
    spec = {"volumes": [{"name": "model", "image": {"reference": reference}}]}
    worker = node.add(pod_of("sleep 1000", spec=spec, volumeMounts=mounts))
    await node.reports.until(lambda: worker.state.container("main").record.waiting)
    waiting = worker.state.container("main").record.waiting
    assert waiting is not None
    assert (waiting.reason, message in waiting.message) == (reason, True)
