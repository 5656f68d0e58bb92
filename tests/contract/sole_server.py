"""A server that does nothing but read and write one object: ``sole_server.py ENDPOINT LOCK``.

It takes commands on standard input and answers each with one line: ``write TEXT`` with the revision, ``read`` with the
text and whether it was read ``alone`` or ``asked``, ``alone`` once the server is the only one.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from controlplane.store.cache import Cache
from controlplane.store.etcd import EtcdStore
from controlplane.store.keys import object_key
from controlplane.store.process_lock import ProcessLock
from controlplane.store.sole import SoleStore
from flotilla.api.objects import encode
from flotilla.api.resources import CONFIG_MAPS

LEASE_S = 2
KEY = object_key(CONFIG_MAPS, "x", "one")


class Server:
    """The parts of a server that reads and writes go through."""

    def __init__(self, store: EtcdStore, lock: Path) -> None:
        self.sole = SoleStore(store, ProcessLock(lock), lease_s=LEASE_S, look_again_s=0.2)
        self.cache = Cache(self.sole, [CONFIG_MAPS], sole=self.sole)

    async def answer(self, command: str) -> str:
        verb, _, text = command.partition(" ")
        if verb == "write":
            return await self._write(text)
        if verb == "read":
            how = "alone" if self.sole.acknowledged() else "asked"
            await self.cache.barrier()
            entry = self.cache.get(CONFIG_MAPS, "x", "one")
            return f"{entry.obj['data']['text'] if entry else ''} {how}"
        while not self.sole.acknowledged():
            await self.sole.revision()
        return "alone"

    async def _write(self, text: str) -> str:
        value = encode({"metadata": {"name": "one", "namespace": "x", "uid": "u"}, "data": {"text": text}})
        held = await self.sole.get(KEY)
        if held is None:
            return str(await self.sole.create(KEY, value))
        return str(await self.sole.update(KEY, value, expected=held.mod_revision))


async def serve(endpoint: str, lock: Path) -> None:
    store = EtcdStore([endpoint])
    await store.start()
    server = Server(store, lock)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.cache.run())
        tasks.create_task(server.sole.run())
        await server.cache.wait_synced()
        print("ready", flush=True)
        while command := (await commands.readline()).decode().strip():
            print(await server.answer(command), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2])))
