"""Layers under pods with users of their own: the same on disk for all, with the right owners and powers in each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nodeagent.images.store import ImageStore
from tests.directories import passable_directory
from tests.integration.agent_lab import Bench, is_ready, pod_of, running_bench, shell
from tests.integration.image_lab import entry, hard_link, layer, make_image, symlink, write_archive

pytestmark = pytest.mark.root

BUSYBOX = Path("/bin/busybox").read_bytes()
CHOWN = b"\x01\x00\x00\x02\x01".decode() + "\0" * 15


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    with passable_directory() as directory:
        async with running_bench(directory) as made:
            yield made


def owners(root: Path) -> dict[str, tuple[int, int, int]]:
    """Owners and modes of all that is in a layer on disk."""
    found = {str(path.relative_to(root)): path.lstat() for path in root.rglob("*")}
    return {name: (status.st_uid, status.st_gid, status.st_mode) for name, status in found.items()}


async def test_layers_are_shared_by_pods_of_all_users(bench: Bench) -> None:
    """Pods with users of their own and pods with the node's see one unpacked layer, each with its own right owners.

    Capabilities of files count in both, and nothing on disk is changed by either.
    """
    below = layer(
        *(entry(name, None) for name in ("bin", "proc", "dev", "sys", "etc")),
        entry("bin/busybox", BUSYBOX),
        *(symlink(f"bin/{name}", "busybox") for name in ("sh", "stat", "grep", "rm", "ls", "read")),
        entry("busybox-able", BUSYBOX, pax_headers={"SCHILY.xattr.security.capability": CHOWN}),
        entry("suid", b"", mode=0o4755),
        entry("gone/x", b""),
    )
    above = layer(
        entry("owned", b"", uid=1000, gid=2000),
        entry(".wh.gone"),
        hard_link("busybox-linked", "busybox-able"),
    )
    store = ImageStore(bench.directory / "data/images")
    archive = write_archive(bench.directory / "a.tar", {"app:v1": make_image([below, above])})
    image = store.load(archive)[0]
    before = [owners(path) for path in image.layers]
    node = bench.node(images=store)
    for name, spec in (("host", {"hostUsers": True}), ("own", {})):
        context = {"runAsUser": 1234, "allowPrivilegeEscalation": True}
        pod = pod_of("read x", name=name, image="app:v1", stdin=True, spec=spec, securityContext=context)
        worker = node.add(pod)
        await node.reports.until(lambda worker=worker: is_ready(worker))  # type: ignore[misc]
        assert worker.state.sandbox is not None
        assert (worker.state.sandbox.users is not None) == (name == "own")
        assert await shell(node, worker, "stat -c %u:%g:%a owned suid") == "1000:2000:755\n0:0:4755\n"
        assert "gone" not in await shell(node, worker, "ls /")
        for program in ("busybox-able", "busybox-linked"):
            powers = await shell(node, worker, f"/{program} grep CapEff /proc/self/status")
            assert powers.split() == ["CapEff:", "0000000000000001"]
        assert (await shell(node, worker, "grep CapEff /proc/self/status")).split()[1] == "0" * 16
    assert [owners(path) for path in image.layers] == before
    assert len(list((bench.directory / "data/images/layers").iterdir())) == 2
