"""``/livez``, ``/readyz``, ``/healthz``: whether the server runs, and whether it can answer.

The form is Kubernetes': plain ``ok``, every check with ``?verbose``, one of them under ``/readyz/<check>``, some left
out with ``exclude=``. What exactly fails is told in the log, not to the client.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from aiohttp import web

from controlplane.api.call import Call

logger = logging.getLogger(__name__)

Check = Callable[[], str]
PATHS = ("/livez", "/readyz", "/healthz")
_ONLY_READY = ("informer-sync", "shutdown")


def is_health_path(path: str) -> bool:
    """Whether ``path`` is one of the endpoints or a check under it."""
    return f"/{path.split('/', 2)[1]}" in PATHS


class Health:
    """Checks return ``""`` or what is wrong. Liveness needs none of them: a server without store still serves reads."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = {"ping": lambda: ""} | dict(checks)

    def answer(self, call: Call) -> web.Response:
        """The health at the request's path, one check under ``/readyz/<check>``; 500 names what fails."""
        kind, _, only = call.info.path.strip("/").partition("/")
        checks = self._checks_of(kind)
        if only:
            return self._answer_one(kind, only, checks, verbose="verbose" in call.query)
        excluded = {name for text in call.query.getall("exclude", []) for name in text.split(",") if name}
        lines, failed = [], []
        for name, check in checks.items():
            fault = "" if name in excluded else check()
            if fault:
                failed.append(f"{name}: {fault}")
            lines.append(_line(name, fault, excluded=name in excluded))
        unknown = sorted(excluded - checks.keys())
        if unknown:
            listed = ", ".join(f'"{name}"' for name in unknown)
            lines.append(f"warn: some health checks cannot be excluded: no matches for {listed}")
        if failed:
            logger.warning("health_check_failed", extra={"endpoint": kind, "checks": failed})
            return _text([*lines, f"{kind} check failed"], status=500)
        return _text([*lines, f"{kind} check passed"]) if "verbose" in call.query else web.Response(text="ok")

    def _checks_of(self, kind: str) -> dict[str, Check]:
        if kind == "livez":
            return {"ping": self._checks["ping"]}
        return {name: check for name, check in self._checks.items() if kind == "readyz" or name not in _ONLY_READY}

    def _answer_one(self, kind: str, name: str, checks: Mapping[str, Check], *, verbose: bool) -> web.Response:
        check = checks.get(name)
        if check is None:
            return web.Response(status=404, text=f"no health check of {kind} has this name\n")
        fault = check()
        if fault:
            logger.warning("health_check_failed", extra={"endpoint": kind, "checks": [f"{name}: {fault}"]})
            return _text([f"internal server error: {fault}"], status=500)
        return _text([_line(name, ""), f"{kind} check passed"]) if verbose else web.Response(text="ok")


def _line(name: str, fault: str, *, excluded: bool = False) -> str:
    if excluded:
        return f"[+]{name} excluded: ok"
    return f"[-]{name} failed: reason withheld" if fault else f"[+]{name} ok"


def _text(lines: list[str], *, status: int = 200) -> web.Response:
    return web.Response(status=status, text="\n".join(lines) + "\n")
