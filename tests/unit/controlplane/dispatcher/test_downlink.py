"""What goes down a session, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import grpc
import pytest

from controlplane.api.operations import Operations
from controlplane.dispatcher.assignments import ObjectKey, Renderer
from controlplane.dispatcher.downlink import WRITE_TIMEOUT_S, Downlink
from controlplane.dispatcher.ending import StreamEndedError
from controlplane.dispatcher.messages import Moment
from controlplane.store.cache import Cache, ResetError
from controlplane.store.keys import object_key
from controlplane.store.memory import MemoryStore
from flotilla.api.objects import KubeObject
from flotilla.api.registry import REGISTRY
from flotilla.api.resources import CONFIG_MAPS, NAMESPACES, PODS
from protos import dispatcher_pb2 as pb
from tests.simulation.conftest import VirtualLoop

Write = Callable[[pb.ServerMessage], Awaitable[None]]


class Lab:
    """A cache with a pod of node ``one``, and a downlink to that node that runs."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.cache = Cache(self.store, REGISTRY.all())
        self.objects = Operations(self.store, self.cache)
        self.sent: list[pb.ServerMessage] = []
        self._arrived = asyncio.Event()
        self.warnings: list[str] = []

    async def write(self, message: pb.ServerMessage) -> None:
        self.sent.append(message)
        self._arrived.set()

    @asynccontextmanager
    async def running(self, *, write: Write | None = None) -> AsyncIterator[Downlink]:
        downlink = Downlink(
            "one",
            self.cache,
            write or self.write,
            renderer=Renderer(),
            warn=lambda reason, message: self.warnings.append(reason),
        )
        following = asyncio.create_task(self.cache.run())
        await self.cache.wait_synced()
        await self.objects.create(NAMESPACES, {"metadata": {"name": "default"}}, manager="test")
        await self.add_pod("pod")
        serving = asyncio.create_task(downlink.run())
        try:
            yield downlink
        finally:
            for task in (serving, following):
                task.cancel()
                with suppress(asyncio.CancelledError, BaseExceptionGroup):
                    await task

    async def add_pod(self, name: str) -> KubeObject:
        metadata = {"name": name, "namespace": "default"}
        spec = {"nodeName": "one", "containers": [{"name": "app", "image": "app:1"}]}
        pod = await self.objects.create(PODS, {"metadata": metadata, "spec": spec}, manager="test")
        await self.cache.barrier()
        return pod

    async def until_sent(self, count: int) -> None:
        async with asyncio.timeout(10.0):
            while len(self.sent) < count:
                self._arrived.clear()
                await self._arrived.wait()

    async def quiet(self) -> None:
        """Let everything that is ready run."""
        for _ in range(50):
            await asyncio.sleep(0)


@pytest.fixture
def lab() -> Lab:
    return Lab()


async def test_nothing_is_assigned_before_hello(lab: Lab) -> None:
    """Control messages may go out early; objects only once the agent has said what it holds."""
    async with lab.running() as downlink:
        downlink.mark(ObjectKey("pods", "default", "pod"))
        downlink.send(pb.ServerMessage(welcome=pb.Welcome(server_id="s")))
        await lab.until_sent(1)
        await lab.quiet()
        assert [message.WhichOneof("body") for message in lab.sent] == ["welcome"]


async def test_many_events_become_one_increment(lab: Lab) -> None:
    """What is marked within one turn of the loop travels together, and no timer delays it."""
    async with lab.running() as downlink:
        downlink.begin(Moment("", 0), ())
        await lab.until_sent(1)
        for name in ("a", "b", "c"):
            await lab.add_pod(name)
        for name in ("a", "b", "c", "a", "b", "c"):
            downlink.mark(ObjectKey("pods", "default", name))
        await lab.until_sent(2)
        await lab.quiet()
        (increment,) = [message.increment for message in lab.sent[1:]]
        assert [each.key.name for each in increment.changed] == ["a", "b", "c"]
        assert increment.sequence == lab.sent[0].assignment_set.sequence + 1
        assert increment.revision == lab.cache.revision


async def test_marks_without_a_change_send_nothing(lab: Lab) -> None:
    """An object that the node does not need, or holds already, costs no message."""
    async with lab.running() as downlink:
        downlink.begin(Moment("", 0), ())
        await lab.until_sent(1)
        foreign = {"metadata": {"name": "foreign", "namespace": "default"}, "data": {"a": "b"}}
        await lab.objects.create(CONFIG_MAPS, foreign, manager="test")
        downlink.mark(ObjectKey("configmaps", "default", "foreign"))
        downlink.mark(ObjectKey("pods", "default", "pod"))
        await lab.quiet()
        assert len(lab.sent) == 1


async def test_only_the_newest_acknowledgement_is_sent(lab: Lab) -> None:
    """Three acknowledgements in one turn are one message with the highest number."""
    async with lab.running() as downlink:
        for sequence in (1, 2, 3):
            downlink.acknowledge(sequence)
        await lab.until_sent(1)
        await lab.quiet()
        assert [message.status_ack.sequence for message in lab.sent] == [3]


async def test_a_new_history_during_a_session_removes_nothing_unasked(lab: Lab) -> None:
    """When the store comes back without a pod that runs, the set under the new history is not confirmed."""
    async with lab.running() as downlink:
        downlink.begin(Moment("", 0), ())
        await lab.until_sent(1)
        assert lab.sent[0].assignment_set.confirmed
        old = lab.cache.history_id
        subscription = lab.cache.subscribe([CONFIG_MAPS])
        await lab.store.new_history(old)
        lab.store.interrupt()
        await lab.store.delete(object_key(PODS, "default", "pod"))
        with pytest.raises(ResetError):
            await subscription.batch()
        downlink.restart()
        await lab.until_sent(2)
        answer = lab.sent[-1].assignment_set
        assert (answer.history_id, answer.confirmed, len(answer.objects)) == (lab.cache.history_id, False, 0)
        assert lab.warnings == ["HistoryChanged"]


def test_an_agent_that_reads_nothing_is_cut() -> None:
    """A message that the stream does not take in time ends the session instead of growing a backlog."""

    async def scenario() -> None:
        async def never(message: pb.ServerMessage) -> None:
            await asyncio.get_running_loop().create_future()

        lab = Lab()
        async with lab.running() as _:
            downlink = Downlink("one", lab.cache, never, renderer=Renderer(), warn=lambda reason, message: None)
            downlink.begin(Moment("", 0), ())
            began_s = asyncio.get_running_loop().time()
            with pytest.raises(BaseExceptionGroup) as ended:
                await downlink.run()
            (error,) = ended.value.exceptions
            assert isinstance(error, StreamEndedError)
            assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert asyncio.get_running_loop().time() - began_s == pytest.approx(WRITE_TIMEOUT_S)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scenario())
