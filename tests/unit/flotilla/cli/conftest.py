"""A small HTTP server that plays back answers, for the client side of the command line."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest


@dataclass
class Received:
    method: str
    path: str
    query: dict[str, list[str]]
    body: Any
    content_type: str


@dataclass
class Api:
    """Answers by ``METHOD path``: (status, JSON or bytes, headers). Everything asked is kept in ``received``."""

    url: str = ""
    kubeconfig: Path = Path()
    answers: dict[str, tuple[int, Any, dict[str, str]]] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)

    def answer(self, call: str, body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.answers[call] = (status, body, headers or {})


def _handler(api: Api) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _play(self) -> None:
            address = urlsplit(self.path)
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(data) if data else None
            received = Received(
                self.command, address.path, parse_qs(address.query), body, self.headers["Content-Type"] or ""
            )
            api.received.append(received)
            missing: tuple[int, Any, dict[str, str]] = (
                404,
                {"kind": "Status", "code": 404, "reason": "NotFound", "message": f"no {address.path}"},
                {},
            )
            status, answer, headers = api.answers.get(f"{self.command} {address.path}", missing)
            payload = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_PATCH = do_DELETE = _play  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """A running server, with a kubeconfig that leads to it."""
    played = Api()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(played))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    played.url = f"http://127.0.0.1:{server.server_port}"
    played.kubeconfig = tmp_path / "kubeconfig"
    played.kubeconfig.write_text(json.dumps(kubeconfig(played.url)), encoding="utf-8")
    discovery(played)
    yield played
    server.shutdown()
    thread.join()
    server.server_close()


def kubeconfig(url: str) -> dict[str, Any]:
    return {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "team"}}],
        "clusters": [{"name": "k", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
    }


def _resource(kind: str, plural: str, *, short: list[str], categories: list[str] | None = None) -> dict[str, Any]:
    return {
        "resource": plural,
        "responseKind": {"group": "", "version": "v1", "kind": kind},
        "scope": "Cluster" if kind in {"Node", "Namespace"} else "Namespaced",
        "singularResource": kind.lower(),
        "shortNames": short,
        "categories": categories or [],
        "verbs": ["get", "list"],
    }


def discovery(api: Api) -> None:
    core = [
        _resource("Pod", "pods", short=["po"], categories=["all"]),
        _resource("Node", "nodes", short=["no"]),
        _resource("Service", "services", short=["svc"], categories=["all"]),
    ]
    apps = [_resource("Deployment", "deployments", short=["deploy"], categories=["all"])]
    api.answer("GET /api", {"items": [{"metadata": {"name": ""}, "versions": [{"version": "v1", "resources": core}]}]})
    groups = [{"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": apps}]}]
    api.answer("GET /apis", {"items": groups})
