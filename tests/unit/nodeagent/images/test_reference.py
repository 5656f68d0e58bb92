"""Image references."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.images.reference import InvalidReferenceError, parse_reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("bitnami/redis", "docker.io/bitnami/redis:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/library/nginx", "docker.io/library/nginx:latest"),
        ("flotilla.dev/sample:v1", "flotilla.dev/sample:v1"),
        ("sample:v1", "docker.io/library/sample:v1"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("127.0.0.1:5000/team/app:v2", "127.0.0.1:5000/team/app:v2"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"nginx:1.27@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        ("quay.io/a/b/c:t", "quay.io/a/b/c:t"),
        ("[::1]:5000/app", "[::1]:5000/app:latest"),
    ],
)
def test_normalization(text: str, canonical: str) -> None:
    """A reference has one canonical form, as Docker's normalization makes it."""
    assert str(parse_reference(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Nginx",
        "nginx:",
        "nginx:bad tag",
        "nginx@sha256:short",
        "a//b",
        "-a",
        "x/" + "a" * 256,
        "nginx:" + "t" * 129,
    ],
)
def test_refused(text: str) -> None:
    """What is no reference is refused."""
    with pytest.raises(InvalidReferenceError):
        parse_reference(text)


@given(st.text(max_size=60))
def test_canonical_form_is_stable(text: str) -> None:
    """Parsing never fails otherwise than by refusing, and the canonical form parses to itself."""
    try:
        parsed = parse_reference(text)
    except InvalidReferenceError:
        return
    assert str(parse_reference(str(parsed))) == str(parsed)
