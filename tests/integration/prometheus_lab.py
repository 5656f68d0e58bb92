"""A server that answers queries as Prometheus does, or does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

SILENCE_S = 10.0


class Server:
    """Answers every query with what the test says, by default with one series of value 3."""

    def __init__(self) -> None:
        self.result: Any = [{"metric": {}, "value": [1700000000, "3"]}]
        self.asked: list[str] = []
        self.status, self.silent, self.url = 200, False, ""
        self.runner: web.AppRunner | None = None

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(str((await request.post())["query"]))
        if self.silent:
            await asyncio.sleep(SILENCE_S)
        if self.status != 200:
            return web.Response(status=self.status, text="<html>bad gateway</html>")
        answer = {"status": "success", "data": {"resultType": "vector", "result": self.result}}
        return web.Response(text=json.dumps(answer))


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    """A server on a free port."""
    server = Server()
    application = web.Application()
    application.router.add_post("/prefix/api/v1/query", server.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url, server.runner = f"http://127.0.0.1:{runner.addresses[0][1]}/prefix", runner
    yield server
    await runner.cleanup()
