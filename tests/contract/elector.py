"""A server that does nothing but take part in the election: ``elector.py ENDPOINT IDENTITY``.

It says on standard output, one line each, when it leads, when it does not any more, and what becomes of a write that
it then tries under its old fence.
"""

from __future__ import annotations

import asyncio
import sys

from controlplane.election import Election
from controlplane.store.etcd import EtcdStore
from controlplane.store.store import FencedError


async def take_part(endpoint: str, identity: str) -> None:
    store = EtcdStore([endpoint])
    await store.start()
    election = Election(store, identity=identity, ttl_s=2)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(election.run())
        print("started", flush=True)
        while True:
            await election.wait_leader()
            print("leads", flush=True)
            fence = election.fence
            await election.wait_lost()
            print("lost", flush=True)
            try:
                await store.create(f"/written-late/{identity}", b"", fence=fence)
                print("written", flush=True)
            except FencedError:
                print("fenced", flush=True)


if __name__ == "__main__":
    asyncio.run(take_part(sys.argv[1], sys.argv[2]))
