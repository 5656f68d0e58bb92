"""The command line's HTTP client: one kept connection, JSON in and out, streams as lines.

Commands ask for server-side Tables, apply objects of any kind and follow logs, none of which a typed client offers,
and they must answer in a quarter of a second: the standard library's ``http.client`` starts in a third of the time of a
full HTTP library. Refusals become :class:`ServerError`, which prints as kubectl prints them.
"""

from __future__ import annotations

import http.client
import socket
import sys
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import urlencode, urlsplit

from flotilla.api.objects import KubeObject, decode, encode
from flotilla.cli.failures import CommandError
from flotilla.cli.kubeconfig import Cluster

CONNECT_TIMEOUT_S = 10.0
REPLY_TIMEOUT_S = 65.0
STREAM_CHUNK_BYTES = 65536

Query = Mapping[str, Any]


class ServerError(CommandError):
    """The server refused: ``status`` is its Status object, or one made from a reply that carried none."""

    def __init__(self, status: KubeObject) -> None:
        self.status = status
        self.code: int = status.get("code") or 0
        self.reason: str = status.get("reason") or "Unknown"
        super().__init__(f"Error from server ({self.reason}): {status.get('message') or 'no message'}")


class StreamBrokenError(CommandError):
    """A stream ended otherwise than by the server's own end: what follows may be asked for again."""


class Client:
    """Calls to one cluster over one connection; usable as a context manager."""

    def __init__(self, cluster: Cluster) -> None:
        self.namespace = cluster.namespace
        self.server = cluster.server
        address = urlsplit(cluster.server)
        self._prefix = address.path.rstrip("/")
        self._host = address.hostname or ""
        self._port = address.port or (443 if cluster.tls else 80)
        self._tls = cluster.tls
        self._headers = {"User-Agent": "flotilla", **cluster.headers}
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def get(self, path: str, query: Query | None = None, *, accept: str = "application/json") -> Any:
        return decode(self._call("GET", path, query, accept=accept))

    def post(self, path: str, body: KubeObject, *, query: Query | None = None) -> Any:
        return decode(self._call("POST", path, query, body=encode(body)))

    def patch(self, path: str, body: Any, *, content_type: str, query: Query | None = None) -> Any:
        """PATCH with ``body`` as JSON, which is YAML too, so that it also serves ``application/apply-patch+yaml``."""
        return decode(self._call("PATCH", path, query, body=encode(body), content_type=content_type))

    def delete(self, path: str, options: KubeObject, *, query: Query | None = None) -> Any:
        return decode(self._call("DELETE", path, query, body=encode(options)))

    def text(self, path: str, query: Query | None = None) -> str:
        return self._call("GET", path, query, accept="*/*").decode("utf-8", "replace")

    def stream(self, path: str, query: Query | None = None, *, accept: str = "*/*") -> Iterator[bytes]:
        """Whatever arrives, as it arrives, on a connection of its own, until the server ends it."""
        connection = self._connect()
        try:
            reply = self._send(connection, "GET", path, query, headers={"Accept": accept})
            if reply.status >= 400:
                raise _refusal(reply, reply.read())
            if connection.sock is not None:
                connection.sock.settimeout(None)
            while chunk := reply.read1(STREAM_CHUNK_BYTES):
                yield chunk
        except (http.client.HTTPException, OSError) as error:
            raise StreamBrokenError(f"the stream from {self.server} broke off: {error}") from error
        finally:
            connection.close()

    def watch(self, path: str, query: Query, *, accept: str = "application/json") -> Iterator[KubeObject]:
        """Watch events one by one until the server ends the watch; an ERROR event raises ServerError."""
        pending = b""
        for chunk in self.stream(path, {**query, "watch": "true"}, accept=accept):
            pending += chunk
            *lines, pending = pending.split(b"\n")
            for line in lines:
                if not line.strip():
                    continue
                event = decode(line)
                if event["type"] == "ERROR":
                    raise ServerError(event["object"])
                yield event

    def _call(
        self,
        method: str,
        path: str,
        query: Query | None,
        *,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> bytes:
        headers = {"Accept": accept} | ({"Content-Type": content_type} if body is not None else {})
        for attempt in (1, 2):
            kept = self._connection is not None
            connection = self._connection = self._connection or self._connect()
            try:
                reply = self._send(connection, method, path, query, body=body, headers=headers)
                data = reply.read()
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
                self.close()
                if kept and attempt == 1:
                    continue
                raise CommandError(f"{self.server} closed the connection: {error}") from error
            except (TimeoutError, http.client.HTTPException, OSError) as error:
                self.close()
                raise CommandError(f"{self.server} did not answer {method} {path}: {error}") from error
            _show_warnings(reply)
            if reply.status >= 400:
                raise _refusal(reply, data)
            return data
        raise AssertionError("unreachable")

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_TIMEOUT_S)
        else:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=CONNECT_TIMEOUT_S, context=self._tls
            )
        try:
            connection.connect()
        except OSError as error:
            raise CommandError(
                f"can't reach the API at {self.server}: {error}. Is the cluster up? `sudo flotilla up` starts it"
            ) from error
        connection.sock.settimeout(REPLY_TIMEOUT_S)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        query: Query | None,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
    ) -> http.client.HTTPResponse:
        present = [(key, value) for key, value in (query or {}).items() if value not in (None, "")]
        target = self._prefix + path + (f"?{urlencode(present, doseq=True)}" if present else "")
        connection.request(method, target, body=body, headers={**self._headers, **headers})
        return connection.getresponse()


def _refusal(reply: http.client.HTTPResponse, data: bytes) -> ServerError:
    try:
        status = decode(data)
    except ValueError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        message = data.decode("utf-8", "replace").strip() or reply.reason
        status = {"code": reply.status, "reason": reply.reason, "message": message}
    return ServerError(status)


def _show_warnings(reply: http.client.HTTPResponse) -> None:
    """``Warning: 299 - "text"`` headers (RFC 9111), which the API uses for what it accepts but does not act upon."""
    for header in reply.headers.get_all("Warning") or ():
        quoted = header.split('"', 1)
        text = quoted[1].rsplit('"', 1)[0].replace('\\"', '"') if len(quoted) > 1 else header
        print(f"Warning: {text}", file=sys.stderr)
