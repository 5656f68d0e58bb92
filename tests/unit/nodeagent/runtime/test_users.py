"""Who a container runs as."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from nodeagent.runtime.errors import ContainerConfigError
from nodeagent.runtime.users import User, resolve_user


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    root = tmp_path / "image"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nweb:x:100:101::/srv:/bin/sh\nbroken line\n")
    (root / "etc/group").write_text("root:x:0:\nweb:x:101:\nlogs:x:200:web,other\nempty:x:300:\n")
    return root


@pytest.mark.parametrize(
    ("image_user", "expected"),
    [
        ("", User(0, 0, (), "/root")),
        ("web", User(100, 101, (200,), "/srv")),
        ("100", User(100, 101, (200,), "/srv")),
        ("4711", User(4711, 0, (), "/")),
        ("web:logs", User(100, 200, (), "/srv")),
        ("web:7", User(100, 7, (200,), "/srv")),
    ],
)
def test_the_images_user(rootfs: Path, image_user: str, expected: User) -> None:
    """Names and numbers, with and without a group."""
    assert resolve_user(rootfs, image_user, {}, {}) == expected


@pytest.mark.parametrize(
    ("pod", "container", "uid", "gid"),
    [
        ({"runAsUser": 5}, {}, 5, 0),
        ({"runAsUser": 5}, {"runAsUser": 100}, 100, 101),
        ({"runAsUser": 5, "runAsGroup": 6}, {"runAsGroup": 7}, 5, 7),
    ],
)
def test_security_contexts_go_before_the_image(
    rootfs: Path, pod: dict[str, Any], container: dict[str, Any], uid: int, gid: int
) -> None:
    """The container's, then the pod's, then the image's."""
    user = resolve_user(rootfs, "web", pod, container)
    assert (user.uid, user.gid) == (uid, gid)


def test_groups_add_up(rootfs: Path) -> None:
    """Supplemental groups and fsGroup join the image's own, unless the policy is strict."""
    pod: dict[str, Any] = {"supplementalGroups": [9], "fsGroup": 10}
    assert resolve_user(rootfs, "web", pod, {}).additional_gids == (9, 10, 200)
    strict = {**pod, "supplementalGroupsPolicy": "Strict"}
    assert resolve_user(rootfs, "web", strict, {}).additional_gids == (9, 10)


@pytest.mark.parametrize("user", ["nobody", "web:nogroup"])
def test_unknown_names_are_refused(rootfs: Path, user: str) -> None:
    """A name that the image does not know is not quietly root."""
    with pytest.raises(ContainerConfigError, match="no matching entries"):
        resolve_user(rootfs, user, {}, {})


def test_run_as_non_root_is_checked(rootfs: Path) -> None:
    """Also when the image names its user by name."""
    assert resolve_user(rootfs, "web", {"runAsNonRoot": True}, {}).uid == 100
    with pytest.raises(ContainerConfigError, match="runAsNonRoot"):
        resolve_user(rootfs, "", {"runAsNonRoot": True}, {})


def test_a_pipe_in_place_of_a_user_file_is_none(rootfs: Path) -> None:
    """An image cannot make the agent wait for a writer that never comes."""
    (rootfs / "etc/passwd").unlink()
    os.mkfifo(rootfs / "etc/passwd")
    assert resolve_user(rootfs, "4711", {}, {}) == User(4711, 0, (), "/")


def test_user_files_outside_the_image_are_not_read(rootfs: Path, tmp_path: Path) -> None:
    """A link in the image does not show it the node's users."""
    (tmp_path / "passwd").write_text("evil:x:66:66::/:/bin/sh\n")
    (rootfs / "etc/passwd").unlink()
    (rootfs / "etc/passwd").symlink_to(tmp_path / "passwd")
    with pytest.raises(ContainerConfigError):
        resolve_user(rootfs, "evil", {}, {})
