"""Bootstrap tokens: what a node shows to get its certificate, kept as Kubernetes keeps them.

A token is ``<6 characters>.<16 characters>``, and valid while a Secret ``kube-system/bootstrap-token-<id>`` says so
(https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/).
"""

from __future__ import annotations

import secrets
import string
from datetime import datetime

from flotilla.api.objects import KubeObject, format_time

BOOTSTRAP_TYPE = "bootstrap.kubernetes.io/token"

_ALPHABET = string.ascii_lowercase + string.digits


def new_token() -> str:
    """A fresh random token."""
    identifier, secret = ("".join(secrets.choice(_ALPHABET) for _ in range(length)) for length in (6, 16))
    return f"{identifier}.{secret}"


def token_secret(token: str, *, expires: datetime, description: str) -> KubeObject:
    """The Secret that makes ``token`` valid until ``expires``."""
    identifier, _, secret = token.partition(".")
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"bootstrap-token-{identifier}", "namespace": "kube-system"},
        "type": BOOTSTRAP_TYPE,
        "stringData": {
            "token-id": identifier,
            "token-secret": secret,
            "expiration": format_time(expires),
            "usage-bootstrap-authentication": "true",
            "description": description,
        },
    }
