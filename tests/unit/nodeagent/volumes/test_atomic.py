"""Directories that change at once."""

from __future__ import annotations

import os
import stat
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.volumes.atomic import ProjectedFile, is_written, write_files
from nodeagent.volumes.payload import VolumeError
from nodeagent.volumes.subpath import open_subpath


def files(**contents: str) -> dict[str, ProjectedFile]:
    return {name.replace("__", "/"): ProjectedFile(text.encode(), 0o644) for name, text in contents.items()}


def shown(directory: Path) -> dict[str, str]:
    """What an application sees: everything that is not one of the volume's own names."""
    found = {}
    for name in os.listdir(directory):
        if not name.startswith(".."):
            path = directory / name
            inner = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
            found.update({str(each.relative_to(directory)): each.read_text() for each in inner})
    return found


def test_layout_is_the_kubelets(tmp_path: Path) -> None:
    """Names are links through ``..data``, which is a link to a directory beside it."""
    assert write_files(tmp_path / "v", files(a="1"))
    assert (tmp_path / "v" / "a").readlink() == Path("..data/a")
    assert (tmp_path / "v" / "..data").is_symlink()
    assert is_written(tmp_path / "v")
    assert not is_written(tmp_path / "other")


def test_same_again_changes_nothing(tmp_path: Path) -> None:
    """Writing what is there already touches nothing; a changed mode alone is a change."""
    write_files(tmp_path, files(a="1"))
    before = (tmp_path / "..data").readlink()
    assert not write_files(tmp_path, files(a="1"))
    assert (tmp_path / "..data").readlink() == before
    assert write_files(tmp_path, {"a": ProjectedFile(b"1", 0o600)})
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["a", "b", "d__x", "d__y", "e__f__g"]), st.text("xyz"), max_size=5), max_size=6
    )
)
def test_shows_exactly_the_last_write(writes: list[dict[str, str]]) -> None:
    """After any sequence of writes the directory shows the last one and keeps nothing of those before."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "v"
        for contents in writes:
            write_files(directory, files(**contents))
            assert shown(directory) == {path.replace("__", "/"): text for path, text in contents.items()}
            assert sum(each.startswith("..2") for each in os.listdir(directory)) == 1


def test_readers_never_see_a_mixture(tmp_path: Path) -> None:
    """A reader that goes through ``..data`` once sees either all of the old files or all of the new."""
    write_files(tmp_path, files(a="0", b="0"))
    stop = threading.Event()
    mixtures: list[tuple[str, str]] = []

    def read() -> None:
        while not stop.is_set():
            try:
                data = os.open(tmp_path / "..data", os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:  # replaced between following the link and opening what it named
                continue
            try:
                texts = []
                for name in ("a", "b"):
                    descriptor = os.open(name, os.O_RDONLY, dir_fd=data)
                    texts.append(os.read(descriptor, 10).decode())
                    os.close(descriptor)
                if texts[0] != texts[1]:
                    mixtures.append((texts[0], texts[1]))
            except FileNotFoundError:
                continue
            finally:
                os.close(data)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(200):
        write_files(tmp_path, files(a=str(number), b=str(number)))
    stop.set()
    reader.join()
    assert mixtures == []


def test_interrupted_write_is_cleared(tmp_path: Path) -> None:
    """What a crash in the middle of a write left behind does not stay."""
    write_files(tmp_path, files(a="1"))
    (tmp_path / "..2020_01_01_00_00_00.left").mkdir()
    (tmp_path / "..data_tmp").symlink_to("nowhere")
    write_files(tmp_path, files(a="2"))
    assert shown(tmp_path) == {"a": "2"}
    assert sorted(name for name in os.listdir(tmp_path) if name.startswith(".."))[1:] == ["..data"]


def resolved(volume: Path, subpath: str) -> Path:
    """Where a subPath leads."""
    descriptor = open_subpath(volume, subpath)
    try:
        return Path(f"/proc/self/fd/{descriptor}").readlink()
    finally:
        os.close(descriptor)


def test_subpath_of_projected_files(tmp_path: Path) -> None:
    """A subPath may name a file of a ConfigMap volume, whose names are links."""
    write_files(tmp_path, files(a="1", d__x="2"))
    assert resolved(tmp_path, "a").read_text() == "1"
    assert resolved(tmp_path, "d/x").read_text() == "2"


@pytest.mark.parametrize("mode", [0o750, 0o777, 0o2777])
def test_subpath_makes_directories(tmp_path: Path, mode: int) -> None:
    """A subPath that does not exist becomes directories with the permissions of the volume's root."""
    tmp_path.chmod(mode)
    assert resolved(tmp_path, "a/b") == tmp_path / "a" / "b"
    made = [(tmp_path / name).stat() for name in ("a", "a/b")]
    assert [stat.S_IMODE(each.st_mode) for each in made] == [mode, mode]


@pytest.mark.parametrize("subpath", ["/etc", "../up", "a/../../up", "absolute/x", "up/x", "loop", "file/x"])
def test_subpath_stays_inside(tmp_path: Path, subpath: str) -> None:
    """A subPath that would leave the volume, by name or by a link, is refused."""
    volume = tmp_path / "v"
    volume.mkdir()
    (volume / "absolute").symlink_to("/etc")
    (volume / "up").symlink_to("../..")
    (volume / "loop").symlink_to("loop")
    (volume / "file").write_text("x")
    with pytest.raises(VolumeError):
        open_subpath(volume, subpath)
