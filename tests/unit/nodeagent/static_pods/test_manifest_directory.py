"""Following a directory of manifests."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from flotilla.api.objects import KubeObject
from nodeagent.static_pods.directory import ManifestDirectory

DEADLINE_S = 5.0


def manifest(name: str, image: str = "nginx:1") -> str:
    return (
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\n"
        f"spec: {{containers: [{{name: main, image: '{image}'}}]}}\n"
    )


class Followed:
    """A directory that is being followed."""

    def __init__(self, path: Path, before: list[KubeObject]) -> None:
        self.path, self.faults, self.stirred = path, list[str](), asyncio.Event()
        self.directory = ManifestDirectory(path, node="n1", changed=self.stirred.set, warn=self._warn)
        self.directory.remember(before)

    def _warn(self, message: str) -> None:
        self.faults.append(message)
        self.stirred.set()

    def names(self) -> set[str]:
        return {pod["metadata"]["name"] for pod in self.directory.pods().values()}

    def images(self) -> set[str]:
        return {pod["spec"]["containers"][0]["image"] for pod in self.directory.pods().values()}

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self.stirred.clear()
                await self.stirred.wait()


@asynccontextmanager
async def following(path: Path, before: list[KubeObject] | None = None) -> AsyncIterator[Followed]:
    followed = Followed(path, before or [])
    task = asyncio.create_task(followed.directory.run())
    try:
        yield followed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_files_come_change_and_go(tmp_path: Path) -> None:
    """Added, changed, renamed and removed manifests are seen at once; hidden files and backups are not manifests."""
    directory = tmp_path / "manifests"
    async with following(directory) as followed:
        await followed.until(lambda: followed.directory.read)
        assert not followed.directory.pods()
        (directory / ".web.yaml.swp").write_text("no manifest")
        (directory / "web.yaml~").write_text("no manifest")
        (directory / "web.yaml").write_text(manifest("web"))
        await followed.until(lambda: followed.names() == {"web-n1"})
        staged = directory / ".new"
        staged.write_text(manifest("web", "nginx:2"))
        staged.rename(directory / "web.yaml")
        await followed.until(lambda: followed.images() == {"nginx:2"})
        (directory / "web.yaml").rename(tmp_path / "away.yaml")
        await followed.until(lambda: not followed.directory.pods())
        assert not followed.faults


async def test_a_bad_change_stops_nothing(tmp_path: Path) -> None:
    """The pods of a file's last good state stay, and the fault is told once."""
    (tmp_path / "web.yaml").write_text(manifest("web"))
    async with following(tmp_path) as followed:
        await followed.until(lambda: followed.names() == {"web-n1"})
        (tmp_path / "web.yaml").write_text(manifest("web").replace("image:", "imagee:"))
        await followed.until(lambda: bool(followed.faults))
        (tmp_path / "db.yaml").write_text(manifest("db"))
        await followed.until(lambda: followed.names() == {"web-n1", "db-n1"})
    assert followed.faults == [f'{tmp_path}/web.yaml: document 1: Pod/web: unknown field "spec.containers[0].imagee"']


async def test_the_first_of_two_of_one_name_runs(tmp_path: Path) -> None:
    """A second pod of a name is told of, and takes over when the first goes."""
    (tmp_path / "a.yaml").write_text(manifest("web", "a"))
    (tmp_path / "b.yaml").write_text(manifest("web", "b"))
    async with following(tmp_path) as followed:
        await followed.until(lambda: followed.images() == {"a"})
        assert followed.faults == [
            f"{tmp_path}/b.yaml: Pod/web-n1: metadata.name: a.yaml has this name first, and is run"
        ]
        (tmp_path / "a.yaml").unlink()
        await followed.until(lambda: followed.images() == {"b"})


async def test_pods_of_an_earlier_agent_outlive_a_fault(tmp_path: Path) -> None:
    """An agent that starts with a faulty file keeps what ran from it; without the file it does not."""
    (tmp_path / "web.yaml").write_text(manifest("web"))
    async with following(tmp_path) as followed:
        await followed.until(lambda: followed.directory.read)
        before = list(followed.directory.pods().values())
    (tmp_path / "web.yaml").write_text("{")
    async with following(tmp_path, before) as followed:
        await followed.until(lambda: followed.directory.read)
        assert followed.names() == {"web-n1"}
        (tmp_path / "web.yaml").unlink()
        await followed.until(lambda: not followed.directory.pods())


async def test_a_directory_that_is_removed_takes_its_pods(tmp_path: Path) -> None:
    """And one that is made again is followed again."""
    directory = tmp_path / "manifests"
    directory.mkdir()
    (directory / "web.yaml").write_text(manifest("web"))
    async with following(directory) as followed:
        await followed.until(lambda: followed.names() == {"web-n1"})
        shutil.rmtree(directory)
        await followed.until(lambda: not followed.directory.pods())
        async with asyncio.timeout(DEADLINE_S):
            while "manifests" not in os.listdir(tmp_path):  # noqa: ASYNC110
                await asyncio.sleep(0)
        (directory / "web.yaml").write_text(manifest("web"))
        await followed.until(lambda: followed.names() == {"web-n1"})
