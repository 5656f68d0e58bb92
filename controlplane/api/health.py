"""``/livez``, ``/readyz``, ``/healthz``: whether the server runs, and whether it can answer from its cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web

from controlplane.api.call import Call

Check = Callable[[], str]
PATHS = ("/livez", "/readyz", "/healthz")


class Health:
    """Checks return ``""`` or what is wrong. Liveness needs none of them: a server without store still serves reads."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = {"ping": lambda: ""} | dict(checks)

    def answer(self, call: Call) -> web.Response:
        """The health at the request's path, one check under ``/readyz/<check>``; 500 names what fails."""
        kind, _, only = call.info.path.strip("/").partition("/")
        excluded = call.query.getall("exclude", [])
        names = [name for name in self._checks if name not in excluded and (kind != "livez" or name == "ping")]
        if only:
            if only not in self._checks:
                return web.Response(status=404, text=f"no health check is named {only}\n")
            names = [only]
        faults = {name: fault for name in names if (fault := self._checks[name]())}
        if not faults and "verbose" not in call.query:
            return web.Response(text="ok")
        lines = [f"[-]{name} failed: {faults[name]}" if name in faults else f"[+]{name} ok" for name in names]
        lines.append(f"{kind} check {'failed' if faults else 'passed'}")
        return web.Response(status=500 if faults else 200, text="\n".join(lines) + "\n")
