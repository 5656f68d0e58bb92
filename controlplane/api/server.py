"""The API server: one TLS port, one handler.

Every request takes the same way: authenticate, authorize, wait for a seat if there is none, answer; whatever goes wrong
on it becomes a ``Status``. The path is taken apart by :mod:`controlplane.api.request_info` rather than by a router,
which would have to try a pattern for each kind.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from multidict import MultiDict, MultiDictProxy, MultiMapping
from prometheus_client import REGISTRY as DEFAULT_COLLECTORS
from prometheus_client import CollectorRegistry

from controlplane.api.authn import ANONYMOUS, Authenticator, Credentials
from controlplane.api.authz import Authorizer, authorize, is_public
from controlplane.api.call import Call, is_set
from controlplane.api.connections import ConnectionLimits, Connections
from controlplane.api.crd.definitions import CustomKinds
from controlplane.api.custom_metrics import NOTHING_OFFERED, DescribedSource
from controlplane.api.deadlines import DEADLINE_S, Deadlines, is_stream
from controlplane.api.fairness import Fairness, Limits
from controlplane.api.impersonation import effective_user
from controlplane.api.logs import LogSource
from controlplane.api.operations import Operations
from controlplane.api.request_info import RequestInfo, read_request
from controlplane.api.responses import status_response
from controlplane.api.routes import Explain, Routes, no_autoscaler
from controlplane.api.streams.source import NoNodes, StreamSource
from controlplane.api.telemetry import Telemetry
from controlplane.api.usage import MetricsSource
from controlplane.store.cache import Cache
from flotilla.api.errors import ApiError, bad_request, internal, request_timeout

logger = logging.getLogger(__name__)

SHUTDOWN_S = 5.0
_NO_QUERY: MultiMapping[str] = MultiDictProxy(MultiDict())
_APPLY = "application/apply-patch"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What the server allows at once, and for how long (seconds)."""

    fairness: Limits = field(default_factory=Limits)
    connections: ConnectionLimits = field(default_factory=ConnectionLimits)
    deadline_s: float = DEADLINE_S
    shutdown_s: float = SHUTDOWN_S


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
        described: DescribedSource = NOTHING_OFFERED,
        explain: Explain = no_autoscaler,
        collectors: CollectorRegistry = DEFAULT_COLLECTORS,
        limits: ServerLimits | None = None,
        streams: StreamSource | None = None,
    ) -> None:
        limits = limits or ServerLimits()
        self._listen = listen
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._shutdown_s = limits.shutdown_s
        self._draining = False
        self._stopped = asyncio.Event()
        cache.define_kinds_by(CustomKinds(cache.registry))
        self._routes = Routes(
            operations,
            cache,
            registry=cache.registry,
            authenticator=authenticator,
            authorizer=authorizer,
            logs=logs,
            streams=streams or NoNodes(),
            metrics=metrics,
            described=described,
            explain=explain,
            collectors=collectors,
            server_address=listen,
            shutting_down=lambda: self._draining,
        )
        self._fairness = Fairness(limits.fairness)
        self._deadlines = Deadlines(limits.deadline_s)
        context = tls.context() if tls else None
        self._connections = Connections(self._handle, context=context, limits=limits.connections)
        self._telemetry = Telemetry(
            collectors,
            serves=self._routes.serves,
            fairness=self._fairness,
            connections=lambda: self._connections.count,
            failed_handshakes=lambda: self._connections.failed_handshakes,
        )
        self.port = 0
        self.listening = asyncio.Event()

    async def run(self) -> None:
        """Serve until :meth:`drain` or cancelled; a cancelled server ends watches and answers what is in flight too."""
        host, _, port = self._listen.rpartition(":")
        self._connections.listen(host.strip("[]"), int(port))
        self.port = self._connections.port
        try:
            async with asyncio.TaskGroup() as tasks:
                serving = [tasks.create_task(self._telemetry.measure_lag()), tasks.create_task(self._deadlines.run())]
                self._connections.start(tasks)
                self.listening.set()
                logger.info("api_listening", extra={"address": f"{host}:{self.port}"})
                await self._stopped.wait()
                for task in serving:
                    task.cancel()
        finally:
            await self.drain()

    async def drain(self) -> None:
        """Stop accepting, end watches cleanly, answer what is in flight (for a time); :meth:`run` returns then."""
        if not self._draining:
            self._draining = True
            self._connections.close()
            self._routes.watches.close()
            self._routes.logs.close()
            self._routes.streams.close()
        await self._connections.drain(self._shutdown_s)
        self._stopped.set()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        started_s = time.perf_counter()
        query = request.query if "?" in request.path_qs else _NO_QUERY
        info = read_request(request.method, request.path, watch=is_set(query, "watch"))
        connection = request.protocol
        self._connections.began(connection)
        streams = is_stream(info)
        if streams:
            self._telemetry.stream_started(info)
        code = 499
        try:
            response = await self._answer(request, info, deadline=None if streams else query.get("timeout", ""))
            code = response.status
            return response
        finally:
            self._connections.ended(connection)
            if streams:
                self._telemetry.stream_ended(info)
            applied = info.verb == "patch" and request.headers.get("Content-Type", "").startswith(_APPLY)
            dry_run = "dryRun" in query
            duration_s = time.perf_counter() - started_s
            self._telemetry.observe(info, code, duration_s, dry_run=dry_run, applied=applied)

    async def _answer(self, request: web.BaseRequest, info: RequestInfo, *, deadline: str | None) -> web.StreamResponse:
        """The response, whatever happens; a failure after the response has begun can only end the connection."""
        warnings: list[str] = []
        task = asyncio.current_task()
        assert task is not None
        try:
            if deadline is not None:
                self._deadlines.start(task, deadline)
            response = await self._route(request, info, warnings)
        except ApiError as error:
            response = status_response(error, warnings=warnings)
            if error.code == 401:
                response.force_close()
            elif error.code == 405:
                response.headers["Allow"] = self._routes.allowed(info)
        except web.HTTPException as error:
            response = status_response(bad_request(error.reason))
        except (web.RequestPayloadError, web.PayloadAccessError) as error:
            response = status_response(bad_request(f"the body of the request is broken: {error}"))
        except asyncio.CancelledError:
            if not self._deadlines.claims(task):
                raise
            response = status_response(request_timeout(), warnings=warnings)
        except ConnectionError:
            raise
        except Exception:
            logger.exception("request_failed", extra={"method": request.method, "path": info.path})
            response = status_response(internal("an error on the server has prevented the request from succeeding"))
        finally:
            if deadline is not None:
                self._deadlines.stop(task)
        if response.prepared:
            return response
        if request.writer.output_size > 0:
            raise ConnectionResetError("the answer has begun already and can't be completed")
        if self._draining:
            response.force_close()
        return response

    async def _route(self, request: web.BaseRequest, info: RequestInfo, warnings: list[str]) -> web.StreamResponse:
        """Who asks, may they, is there a seat for it; then the answer."""
        credentials = _credentials(request)
        anonymous = not credentials and is_public(info)
        caller = ANONYMOUS if anonymous else self._authenticator.authenticate(credentials)
        user = effective_user(caller, request.headers, self._authorizer)
        authorize(self._authorizer, user, info)
        call = Call(request, info, user, warnings)
        budget = self._fairness.budget(user, info)
        if budget is None:
            return await self._routes.answer(call)
        width = self._routes.width(call, most=budget.seats // 4)
        seat = budget.enter(user.name, width) or await budget.wait(user.name, width)
        call.seat = seat
        try:
            return await self._routes.answer(call)
        finally:
            seat.release()


def _credentials(request: web.BaseRequest) -> Credentials:
    transport = request.transport
    certificate = transport.get_extra_info("peercert") if transport is not None else None
    return Credentials(certificate, request.headers.get("Authorization", ""))
