"""A node's way in: a bootstrap token for a certificate, and later the certificate for its successor.

Whoever has a valid token may take any node's name, as in Kubernetes; tokens are short-lived for that reason.
"""

from __future__ import annotations

import logging

import grpc

from controlplane.dispatcher.tokens import TOKEN_NAMESPACE, TokenRefusedError, check_token, token_secret_name
from controlplane.pki import ClusterPki, InvalidCsrError
from controlplane.reconcile.clock import Clock
from controlplane.store.cache import Cache
from controlplane.store.store import StoreError
from flotilla.api.names import dns_subdomain_faults
from flotilla.api.resources import SECRETS
from protos import dispatcher_pb2 as pb

logger = logging.getLogger(__name__)

LONGEST_CSR_BYTES = 16 * 1024


class JoinRefusedError(Exception):
    """No certificate is given; code and message are for the caller."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Joining:
    """Answers Join."""

    def __init__(self, cache: Cache, pki: ClusterPki, *, clock: Clock) -> None:
        self._cache = cache
        self._pki = pki
        self._clock = clock

    async def join(self, request: pb.JoinRequest, *, caller: str | None) -> pb.JoinResponse:
        """``caller`` is the node whose certificate was presented, None if there was none. JoinRefusedError."""
        faults = dns_subdomain_faults(request.node_name)
        if faults:
            raise JoinRefusedError(grpc.StatusCode.INVALID_ARGUMENT, f"node name: {faults[0]}")
        if caller is None:
            await self._authenticate(request)
        elif caller != request.node_name:
            message = f"the certificate is {caller}'s, not {request.node_name}'s"
            raise JoinRefusedError(grpc.StatusCode.PERMISSION_DENIED, message)
        certificate = self._sign(request)
        logger.info("node_joined", extra={"node": request.node_name, "renewal": caller is not None})
        return pb.JoinResponse(certificate_pem=certificate, ca_pem=self._pki.ca_pem)

    async def _authenticate(self, request: pb.JoinRequest) -> None:
        try:
            name = token_secret_name(request.token)
            await self._cache.barrier()
            entry = self._cache.get(SECRETS, TOKEN_NAMESPACE, name)
            check_token(request.token, entry.obj if entry is not None else None, now=self._clock())
        except TokenRefusedError as error:
            logger.warning("join_refused", extra={"node": request.node_name, "why": str(error)})
            message = "the bootstrap token is unknown, wrong or expired"
            raise JoinRefusedError(grpc.StatusCode.UNAUTHENTICATED, message) from error
        except StoreError as error:
            raise JoinRefusedError(grpc.StatusCode.UNAVAILABLE, f"the token can't be checked: {error}") from error

    def _sign(self, request: pb.JoinRequest) -> bytes:
        if len(request.csr_pem) > LONGEST_CSR_BYTES:
            raise JoinRefusedError(grpc.StatusCode.INVALID_ARGUMENT, "the signing request is too long")
        try:
            return self._pki.sign_node_csr(request.csr_pem, node_name=request.node_name, now=self._clock())
        except InvalidCsrError as error:
            raise JoinRefusedError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
