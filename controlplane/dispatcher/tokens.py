"""Bootstrap tokens: who may join.

A token is ``<id>.<secret>``; the Secret ``kube-system/bootstrap-token-<id>`` holds it, as in Kubernetes, so that the
same tools make, list and revoke tokens. The secret part is compared in constant time.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flotilla.api.objects import is_deleting, parse_time

TOKEN_NAMESPACE = "kube-system"  # noqa: S105
TOKEN_TYPE = "bootstrap.kubernetes.io/token"  # noqa: S105
_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")


class TokenRefusedError(Exception):
    """The token lets nobody in. The message is for the server's log, not for the caller."""


def token_secret_name(token: str) -> str:
    """The Secret that would hold the token. TokenRefusedError when it has not a token's form."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise TokenRefusedError("malformed token")
    return f"bootstrap-token-{match[1]}"


def check_token(token: str, secret: Mapping[str, Any] | None, *, now: datetime) -> None:
    """Return if ``secret``, the Secret of that name, makes the token valid at ``now``; TokenRefusedError otherwise."""
    if secret is None or is_deleting(secret):
        raise TokenRefusedError("unknown token")
    if secret.get("type") != TOKEN_TYPE:
        raise TokenRefusedError(f"the secret is not of type {TOKEN_TYPE}")
    data = secret.get("data") or {}
    expected = f"{_field(data, 'token-id')}.{_field(data, 'token-secret')}"
    if not hmac.compare_digest(expected.encode(), token.encode()):
        raise TokenRefusedError("wrong token secret")
    if _field(data, "usage-bootstrap-authentication") != "true":
        raise TokenRefusedError("the token is not for authentication")
    expiration = _field(data, "expiration")
    if expiration and _moment(expiration) <= now:
        raise TokenRefusedError(f"expired at {expiration}")


def _moment(text: str) -> datetime:
    try:
        moment = parse_time(text)
    except ValueError as error:
        raise TokenRefusedError(f"unreadable expiration {text!r}") from error
    if moment.tzinfo is None:
        raise TokenRefusedError(f"expiration {text!r} names no time zone")
    return moment


def _field(data: Mapping[str, str], name: str) -> str:
    try:
        return base64.b64decode(data.get(name) or "", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise TokenRefusedError(f"unreadable {name}") from error
