"""Which pods have a metrics page, and where: the annotations that Prometheus configurations go by.

``prometheus.io/scrape: "true"`` asks for it; ``prometheus.io/port``, ``/path`` and ``/scheme`` say where, by default
the first TCP port that a container declares, ``/metrics`` and ``http``. The host is always the pod's own address.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flotilla.api.objects import annotations_of, name_of, namespace_of, uid_of

_SCRAPE = "prometheus.io/scrape"
_PORT = "prometheus.io/port"
_PATH = "prometheus.io/path"
_SCHEME = "prometheus.io/scheme"
_LARGEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class PageTarget:
    """The metrics page of one pod."""

    namespace: str
    pod: str
    uid: str
    url: str


class InvalidTargetError(ValueError):
    """Annotations that name no page; the message says which and what is expected."""


def target_of(pod: Mapping[str, Any], ip: str) -> PageTarget | None:
    """The pod's page, None if it has none. InvalidTargetError."""
    annotations = annotations_of(pod)
    if annotations.get(_SCRAPE) != "true" or not ip:
        return None
    scheme = annotations.get(_SCHEME) or "http"
    if scheme not in ("http", "https"):
        raise InvalidTargetError(f"annotation {_SCHEME}: {scheme!r} must be http or https")
    path = annotations.get(_PATH) or "/metrics"
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path:
        raise InvalidTargetError(f"annotation {_PATH}: {path!r} must be an absolute path, such as /metrics")
    host = f"[{ip}]" if ":" in ip else ip
    url = f"{scheme}://{host}:{_port(pod, annotations)}{path}"
    return PageTarget(namespace_of(pod), name_of(pod), uid_of(pod), url)


def _port(pod: Mapping[str, Any], annotations: Mapping[str, str]) -> int:
    text = annotations.get(_PORT)
    if text is not None:
        if not (text.isascii() and text.isdigit()) or not 0 < int(text) <= _LARGEST_PORT:
            raise InvalidTargetError(f"annotation {_PORT}: {text!r} must be a port from 1 to {_LARGEST_PORT}")
        return int(text)
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or ():
            if port.get("protocol", "TCP") == "TCP":
                return int(port["containerPort"])
    raise InvalidTargetError(f"annotation {_PORT} is missing, and no container declares a TCP port")
