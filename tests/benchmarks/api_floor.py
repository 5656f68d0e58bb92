"""The least that a GET can cost: the same web server on TLS that answers with ready bytes and does nothing else.

    python -m tests.benchmarks.api_floor /tmp/x/pki 3600

It serves until its standard input is closed and prints its port. What the API's GET takes beside it on the same machine
in the same minute says more than a rate, which moves with whoever else uses the machine.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop
from aiohttp import web

from controlplane.api.server import ServerTls
from controlplane.pki import ensure_cluster_pki


async def serve(pki_dir: Path, size_bytes: int) -> None:
    """Answer everything with ``size_bytes`` of JSON."""
    pki = ensure_cluster_pki(pki_dir)
    body = b'"' + b"x" * (size_bytes - 2) + b'"'

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    tls = ServerTls(pki.server.certificate, pki.server.key, pki.ca_file)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls.context()).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


def main() -> None:
    uvloop.run(serve(Path(sys.argv[1]), int(sys.argv[2])))


if __name__ == "__main__":
    main()
