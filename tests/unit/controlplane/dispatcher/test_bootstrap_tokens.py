"""Which bootstrap tokens let a node in."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest

from controlplane.dispatcher.tokens import TOKEN_TYPE, TokenRefusedError, check_token, token_secret_name
from flotilla.api.objects import KubeObject

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
TOKEN = "abcdef.0123456789abcdef"  # noqa: S105
FIELDS = {
    "token-id": "abcdef",
    "token-secret": "0123456789abcdef",
    "usage-bootstrap-authentication": "true",
    "expiration": "2026-01-01T13:00:00Z",
}


def _secret(kind: str = TOKEN_TYPE, **fields: str) -> KubeObject:
    data = {**FIELDS, **{name.replace("_", "-"): value for name, value in fields.items()}}
    encoded = {name: base64.b64encode(value.encode()).decode() for name, value in data.items() if value}
    return {"metadata": {"name": "bootstrap-token-abcdef"}, "type": kind, "data": encoded}


@pytest.mark.parametrize("secret", [_secret(), _secret(expiration=""), _secret(expiration="2026-01-01T14:30:00+02:00")])
def test_a_valid_token_is_accepted(secret: KubeObject) -> None:
    """Before its expiration, or without one, the right token passes."""
    check_token(TOKEN, secret, now=NOW)


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        (None, "unknown"),
        (_secret("Opaque"), "type"),
        (_secret(token_secret="0123456789abcdeX"), "wrong"),
        (_secret(token_id="fedcba"), "wrong"),
        (_secret(token_secret=""), "wrong"),
        (_secret(usage_bootstrap_authentication="false"), "not for authentication"),
        (_secret(usage_bootstrap_authentication=""), "not for authentication"),
        (_secret(expiration="2026-01-01T12:00:00Z"), "expired"),
        (_secret(expiration="2026-01-01T12:30:00"), "time zone"),
        (_secret(expiration="tomorrow"), "unreadable"),
        ({**_secret(), "data": {"token-id": "%%%"}}, "unreadable"),
        ({**_secret(), "metadata": {"name": "x", "deletionTimestamp": "2026-01-01T11:00:00Z"}}, "unknown"),
    ],
)
def test_everything_else_is_refused(secret: KubeObject | None, why: str) -> None:
    """Whatever is wrong with the Secret, the token lets nobody in."""
    with pytest.raises(TokenRefusedError, match=why):
        check_token(TOKEN, secret, now=NOW)


@pytest.mark.parametrize("token", ["", "abcdef", "abcdef.0123", "ABCDEF.0123456789abcdef", TOKEN + "\n", "../../x.y"])
def test_only_the_form_of_a_token_names_a_secret(token: str) -> None:
    """No other text ever becomes part of an object's name."""
    with pytest.raises(TokenRefusedError):
        token_secret_name(token)
    assert token_secret_name(TOKEN) == "bootstrap-token-abcdef"
