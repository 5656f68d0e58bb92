"""Where the members of an etcd cluster listen, and what is needed to be let in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import grpc

CLIENT_PORT = 2379


@dataclass(frozen=True, slots=True)
class EtcdTls:
    """Paths of PEM files: the authority that signed etcd's certificate, and the client's certificate and key."""

    ca: Path
    certificate: Path
    key: Path

    def credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(
            root_certificates=Path(self.ca).read_bytes(),
            private_key=Path(self.key).read_bytes(),
            certificate_chain=Path(self.certificate).read_bytes(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a member listens: at ``host`` and ``port``, or on the unix socket ``path``; and whether by TLS."""

    host: str
    port: int
    path: str
    secure: bool

    @property
    def address(self) -> str:
        """In gRPC's words."""
        return f"unix:{self.path}" if self.path else self.authority

    @property
    def authority(self) -> str:
        """The host as requests name it."""
        if self.path:
            return "localhost"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_on_this_machine(url: str) -> bool:
    """Whether an endpoint's address is one that no other machine can have."""
    target = target_of(url)
    return bool(target.path) or target.host in {"localhost", "127.0.0.1", "::1"}


def target_of(url: str) -> Target:
    """The target of an endpoint: ``https://``, ``http://``, ``unix://`` or ``unixs://``. ValueError for others."""
    parts = urlsplit(url)
    if parts.scheme in {"unix", "unixs"}:
        path = parts.netloc + parts.path
        return Target(host="localhost", port=0, path=path, secure=parts.scheme == "unixs")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"etcd endpoint {url!r} must start with https://, http:// or unix://")
    return Target(host=parts.hostname, port=parts.port or CLIENT_PORT, path="", secure=parts.scheme == "https")
