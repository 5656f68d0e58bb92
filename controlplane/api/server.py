"""The API server: one TLS port, one handler.

Every request takes the same way: authenticate, authorize, answer; whatever goes wrong on it becomes a ``Status``. The
path is taken apart by :mod:`controlplane.api.request_info` rather than by a router, which would have to try a pattern
for each kind.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from prometheus_client import REGISTRY as DEFAULT_COLLECTORS
from prometheus_client import CollectorRegistry

from controlplane.api.authn import Authenticator, Credentials
from controlplane.api.authz import Authorizer, authorize
from controlplane.api.call import Call
from controlplane.api.impersonation import effective_user
from controlplane.api.logs import LogSource
from controlplane.api.operations import Operations
from controlplane.api.request_info import RequestInfo, read_request
from controlplane.api.responses import status_response
from controlplane.api.routes import Routes
from controlplane.api.telemetry import Telemetry
from controlplane.api.usage import MetricsSource
from controlplane.store.cache import Cache
from flotilla.api.errors import ApiError, bad_request, internal

logger = logging.getLogger(__name__)

KEEPALIVE_S = 180.0
SHUTDOWN_S = 5.0
LONGEST_LINE_BYTES = 32 * 1024
_WATCH_VALUES = ("1", "true", "True", "t", "T", "TRUE")


@dataclass(frozen=True, slots=True)
class ServerTls:
    """Files of the server's certificate and key, and of the authority that signs its clients' certificates."""

    certificate: Path
    key: Path
    client_authority: Path

    def context(self) -> ssl.SSLContext:
        """A context that verifies the certificates of clients that show one."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        context.load_verify_locations(self.client_authority)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["http/1.1"])
        return context


class ApiServer:
    """Serves the Kubernetes API on ``listen`` (``host:port``; port 0 takes a free one).

    Without ``tls`` it speaks plain HTTP, which only an ``authenticator`` that needs no certificate makes sense with.
    """

    def __init__(
        self,
        *,
        listen: str,
        tls: ServerTls | None,
        operations: Operations,
        cache: Cache,
        authenticator: Authenticator,
        authorizer: Authorizer,
        logs: LogSource,
        metrics: MetricsSource,
        collectors: CollectorRegistry = DEFAULT_COLLECTORS,
    ) -> None:
        self._listen = listen
        self._tls = tls
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._telemetry = Telemetry(collectors)
        self._routes = Routes(
            operations,
            cache,
            registry=cache.registry,
            authorizer=authorizer,
            logs=logs,
            metrics=metrics,
            collectors=collectors,
            server_address=listen,
        )
        self._telemetry.watches.set_function(lambda: self._routes.watches.count)
        self.port = 0
        self.listening = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled; then end watches cleanly and answer what is in flight."""
        async with self._serving(), asyncio.TaskGroup() as tasks:
            tasks.create_task(self._telemetry.measure_lag())

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        host, _, port = self._listen.rpartition(":")
        server = web.Server(
            self._handle,
            access_log=None,
            keepalive_timeout=KEEPALIVE_S,
            max_line_size=LONGEST_LINE_BYTES,
            handler_cancellation=True,
        )
        runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        try:
            context = self._tls.context() if self._tls else None
            site = web.TCPSite(runner, host.strip("[]") or None, int(port), ssl_context=context, backlog=1024)
            await site.start()
            self.port = runner.addresses[0][1]
            self.listening.set()
            logger.info("api_listening", extra={"address": f"{host}:{self.port}"})
            yield
        finally:
            self._routes.watches.close()
            self._routes.logs.close()
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        started_s = time.perf_counter()
        info = read_request(request.method, request.path, watch=request.query.get("watch", "") in _WATCH_VALUES)
        self._telemetry.in_flight.inc()
        code = 499
        try:
            response = await self._answer(request, info)
            code = response.status
            return response
        finally:
            self._telemetry.in_flight.dec()
            duration_s = time.perf_counter() - started_s
            self._telemetry.observe(info, code, duration_s, served=self._routes.serves(info))

    async def _answer(self, request: web.BaseRequest, info: RequestInfo) -> web.StreamResponse:
        """The response, whatever happens; a failure after the response has begun can only end the connection."""
        warnings: list[str] = []
        try:
            caller = self._authenticator.authenticate(_credentials(request))
            user = effective_user(caller, request.headers, self._authorizer)
            authorize(self._authorizer, user, info)
            return await self._routes.answer(Call(request, info, user, warnings))
        except ApiError as error:
            return status_response(error, warnings=warnings)
        except web.HTTPException as error:
            return status_response(bad_request(error.reason))
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            logger.exception("request_failed", extra={"method": request.method, "path": info.path})
            return status_response(internal("an error on the server has prevented the request from succeeding"))


def _credentials(request: web.BaseRequest) -> Credentials:
    transport = request.transport
    certificate = transport.get_extra_info("peercert") if transport is not None else None
    return Credentials(certificate, request.headers.get("Authorization", ""))
