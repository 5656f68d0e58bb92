"""Registry credentials."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from nodeagent.images.auth import RegistryAuth, matching_auths, registry_auths
from nodeagent.images.reference import parse_reference


def secret(key: str, document: Any) -> dict[str, Any]:
    return {"data": {key: base64.b64encode(json.dumps(document).encode()).decode()}}


def test_docker_config_json() -> None:
    """Both forms of a credential in a pull secret are read."""
    auth = base64.b64encode(b"ann:p:w").decode()
    document = {"auths": {"a.example": {"auth": auth}, "b.example": {"username": "bob", "password": "x"}}}
    assert registry_auths(secret(".dockerconfigjson", document)) == [
        RegistryAuth("a.example", "ann", "p:w"),
        RegistryAuth("b.example", "bob", "x"),
    ]


def test_docker_cfg() -> None:
    """The old form without ``auths`` is read."""
    document = {"a.example": {"username": "ann", "password": "x"}}
    assert registry_auths(secret(".dockercfg", document)) == [RegistryAuth("a.example", "ann", "x")]


@pytest.mark.parametrize("data", [{}, {".dockerconfigjson": "!!"}, {".dockerconfigjson": "W10="}])
def test_unreadable_secrets_hold_nothing(data: dict[str, str]) -> None:
    """A secret that can't be read gives no credential and no error."""
    assert registry_auths({"data": data}) == []


@pytest.mark.parametrize(
    ("registry", "image", "covers"),
    [
        ("https://index.docker.io/v1/", "nginx", True),
        ("docker.io", "nginx", True),
        ("registry.example", "registry.example/a/b", True),
        ("registry.example/a", "registry.example/a/b", True),
        ("registry.example/a", "registry.example/ab/c", True),
        ("registry.example/a/", "registry.example/ab/c", False),
        ("https://registry.example/v2/a", "registry.example/a/b", True),
        ("https://registry.example/v1/", "registry.example/b", True),
        ("registry.example/v1beta", "registry.example/b", False),
        ("*.*.example", "a.registry.example/a", True),
        ("registry-*.example", "registry-7.example/a", True),
        ("registry-[0-9].example", "registry-7.example/a", True),
        ("*.example:5000", "registry.example:5000/a", True),
        ("registry.example:*", "registry.example:5000/a", False),
        ("*.example", "registry.example/a", True),
        ("*.example", "a.registry.example/a", False),
        ("registry.example", "registry.example:5000/a", False),
        ("registry.example:5000", "registry.example:5000/a", True),
    ],
)
def test_matching(registry: str, image: str, covers: bool) -> None:
    """A credential covers the repositories that the kubelet would use it for."""
    auth = RegistryAuth(registry, "ann", "x")
    assert matching_auths([auth], parse_reference(image)) == ([auth] if covers else [])


def test_most_specific_first() -> None:
    """The credential with the longest path is tried first."""
    auths = [RegistryAuth("r.example", "a", "x"), RegistryAuth("r.example/team", "b", "x")]
    assert [auth.username for auth in matching_auths(auths, parse_reference("r.example/team/app"))] == ["b", "a"]


def test_password_is_not_shown() -> None:
    """A credential's text does not hold its password."""
    assert "hunter2" not in repr(RegistryAuth("r.example", "ann", "hunter2"))
