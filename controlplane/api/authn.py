"""Who asks: the subject of the client certificate that the TLS handshake has verified.

As in Kubernetes, the common name is the user and each organization a group. Whoever shows no certificate is told
401, but for what everybody may read (:func:`controlplane.api.authz.is_public`): load balancers and probes have none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from flotilla.api.errors import unauthorized

AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
MASTERS = "system:masters"


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated client."""

    name: str
    groups: tuple[str, ...]


ANONYMOUS = User("system:anonymous", (UNAUTHENTICATED,))


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a connection and a request show: the peer certificate as ``ssl`` decodes it, the Authorization header."""

    certificate: Mapping[str, Any] | None
    authorization: str

    def __bool__(self) -> bool:
        """Whether anything is shown at all."""
        return self.certificate is not None or bool(self.authorization)


class Authenticator(Protocol):
    """Tells who shows some credentials."""

    def authenticate(self, credentials: Credentials) -> User:
        """The user. Raises Unauthorized."""


class CertificateAuthenticator:
    """Users by client certificate."""

    def authenticate(self, credentials: Credentials) -> User:
        if not credentials.certificate:
            raise unauthorized()
        names, organizations = _subject(credentials.certificate.get("subject") or ())
        if not names:
            raise unauthorized()
        return User(names[-1], (*organizations, AUTHENTICATED))


def _subject(subject: Sequence[Sequence[tuple[str, str]]]) -> tuple[list[str], list[str]]:
    """The common names and organizations of a subject in the form of ``ssl.getpeercert``."""
    names: list[str] = []
    organizations: list[str] = []
    for relative_name in subject:
        for attribute, value in relative_name:
            if attribute == "commonName":
                names.append(value)
            elif attribute == "organizationName":
                organizations.append(value)
    return names, organizations


@dataclass(frozen=True, slots=True)
class FixedAuthenticator:
    """Everybody is one user: for a server that only its own process can reach."""

    user: User = User("system:admin", (MASTERS, AUTHENTICATED))

    def authenticate(self, credentials: Credentials) -> User:
        return self.user
