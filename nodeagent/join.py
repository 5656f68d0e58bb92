"""A node's identity: its key, its certificate, and getting them with a bootstrap token.

The key never leaves the node. A certificate that has passed two thirds of its life is renewed with itself, so the token
is needed once only. Files are private and replaced whole.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import msgspec

from protos import dispatcher_pb2 as pb
from protos import dispatcher_pb2_grpc

logger = logging.getLogger(__name__)

JOIN_TIMEOUT_S = 10.0
RETRY_S = 1.0
RENEWAL_CHECK_S = 3600.0
CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", 8 << 20),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


class JoinError(Exception):
    """The node cannot join; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What the node shows to servers, and what it trusts, all PEM; valid between two Unix times."""

    key_pem: bytes
    certificate_pem: bytes
    ca_pem: bytes
    valid_from_unix_s: float
    valid_until_unix_s: float

    @property
    def renew_at_unix_s(self) -> float:
        """When two thirds of the certificate's life are over."""
        return self.valid_from_unix_s + (self.valid_until_unix_s - self.valid_from_unix_s) * 2 / 3

    def channel(self, server: str) -> Any:
        """A new channel to a server's dispatcher."""
        credentials = grpc.ssl_channel_credentials(self.ca_pem, self.key_pem, self.certificate_pem)
        return grpc.aio.secure_channel(server, credentials, options=CHANNEL_OPTIONS)


class IdentityFiles:
    """``node.key``, ``node.crt`` and the certificate's dates below ``directory``."""

    def __init__(self, directory: Path, *, ca_file: Path) -> None:
        self._directory, self._ca_file = directory, ca_file

    def load(self) -> Identity | None:
        """The identity on disk, None if there is none that is whole. Raises JoinError when the CA is missing."""
        ca_pem = self.ca_pem()
        try:
            key, certificate, dates = (
                (self._directory / name).read_bytes() for name in ("node.key", "node.crt", "node.dates")
            )
            return Identity(key, certificate, ca_pem, *msgspec.json.decode(dates, type=tuple[float, float]))
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def save(self, identity: Identity) -> None:
        """Replace the files. The key goes first: a certificate without its key would be no use."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        dates = msgspec.json.encode((identity.valid_from_unix_s, identity.valid_until_unix_s))
        contents = {"node.key": identity.key_pem, "node.crt": identity.certificate_pem, "node.dates": dates}
        for name, data in contents.items():
            staged = self._directory / f"{name}.new"
            descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            staged.rename(self._directory / name)

    def ca_pem(self) -> bytes:
        """The cluster's CA certificate. Raises JoinError."""
        try:
            return self._ca_file.read_bytes()
        except OSError as error:
            raise JoinError(f"cannot read the cluster's CA certificate: {error}") from error


async def obtain(servers: tuple[str, ...], node_name: str, *, token: str, presented: Identity) -> Identity:
    """A new identity from the first server that gives one; ``presented`` is shown in the TLS handshake.

    Tries until a server answers. Raises JoinError when one refuses.
    """
    from nodeagent.certificates import make_request, validity

    key_pem, request_pem = make_request(node_name)
    request = pb.JoinRequest(token=token, node_name=node_name, csr_pem=request_pem)
    while True:
        for server in servers:
            reply = await _ask(server, request, presented)
            if reply is not None:
                logger.info("joined", extra={"server": server, "node": node_name})
                return Identity(key_pem, reply.certificate_pem, reply.ca_pem, *validity(reply.certificate_pem))
        await asyncio.sleep(RETRY_S * random.uniform(0.5, 1.0))


async def _ask(server: str, request: pb.JoinRequest, presented: Identity) -> pb.JoinResponse | None:
    async with presented.channel(server) as channel:
        stub = dispatcher_pb2_grpc.DispatcherStub(channel)  # type: ignore[no-untyped-call]
        try:
            reply: pb.JoinResponse = await stub.Join(request, timeout=JOIN_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise JoinError(f"{server} refused to let {request.node_name} join: {error.details()}") from error
            logger.warning("join_postponed", extra={"server": server, "error": error.details()})
            return None
        return reply


async def establish(
    servers: tuple[str, ...], node_name: str, *, files: IdentityFiles, token_file: Path | None
) -> Identity:
    """The node's identity: from disk, or by joining; saved. Raises JoinError."""
    identity = files.load()
    if identity is not None and time.time() < identity.valid_until_unix_s:
        return identity
    presented = _stranger(files.ca_pem())
    identity = await obtain(servers, node_name, token=_read_token(token_file), presented=presented)
    files.save(identity)
    return identity


async def keep_valid(
    identity: Identity,
    servers: tuple[str, ...],
    node_name: str,
    *,
    files: IdentityFiles,
    renewed: Callable[[Identity], None],
) -> None:
    """Renew the certificate in time, until cancelled; each successor is saved and handed to ``renewed``."""
    while True:
        if time.time() >= identity.renew_at_unix_s:
            try:
                identity = await obtain(servers, node_name, token="", presented=identity)
            except JoinError as error:
                logger.error("certificate_not_renewed", extra={"error": str(error)})
            else:
                files.save(identity)
                renewed(identity)
        await asyncio.sleep(RENEWAL_CHECK_S)


def _stranger(ca_pem: bytes) -> Identity:
    from protos.unjoined import unjoined_certificate

    certificate_pem, key_pem = unjoined_certificate()
    return Identity(key_pem, certificate_pem, ca_pem, 0.0, 0.0)


def _read_token(file: Path | None) -> str:
    if file is None:
        raise JoinError("the node has no certificate yet: give it a bootstrap token with --token-file")
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise JoinError(f"cannot read the bootstrap token: {error}") from error
