"""What the sample store answers from the rounds that it was given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from controlplane.autoscaler.columns import Span
from controlplane.autoscaler.samples import SampleStore
from protos import dispatcher_pb2 as pb

T0 = 1_700_000_000.0
Row = tuple[float, float, float]
"""CPU seconds so far, memory in bytes, start (Unix time). Containers are throttled for twice as long as they run."""


class Clock:
    """The server's wall clock; the node's runs behind it by ``skew_s``."""

    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> SampleStore:
    return SampleStore(clock=clock)


def _round(at: float, rows: dict[str, Row], *, generation: int = 1, node_cpu_s: float = 0.0) -> pb.Samples:
    keys = [pb.ContainerKey(namespace="default", pod=name, pod_uid=name, container="app") for name in rows]
    cpu, memory, started = (np.array([row[part] for row in rows.values()]) for part in range(3))
    return pb.Samples(
        time_unix_s=at,
        generation=generation,
        containers=keys,
        cpu_usage_ns=(cpu * 1e9).astype("<u8").tobytes(),
        cpu_throttled_ns=(cpu * 2e9).astype("<u8").tobytes(),
        memory_working_set_bytes=memory.astype("<u8").tobytes(),
        start_time_unix_s=started.astype("<f8").tobytes(),
        node_cpu_usage_ns=int(node_cpu_s * 1e9),
        node_memory_working_set_bytes=1024,
    )


def _feed(
    store: SampleStore, clock: Clock, cpu_of: Callable[[int], float], *, seconds: int, skew_s: float = 0.0
) -> None:
    for second in range(seconds + 1):
        clock.now = T0 + second
        store.ingest("one", _round(T0 + second + skew_s, {"web": (cpu_of(second), 4096, T0 - 100)}))


def test_cpu_is_averaged_over_five_seconds(store: SampleStore, clock: Clock) -> None:
    """A steady half core reads as half a core, over a window of five seconds that ends with the newest round."""
    _feed(store, clock, lambda second: second * 0.5, seconds=10)
    usage = store.pod_cpu("one", "web")
    assert usage is not None
    assert usage.value == pytest.approx(0.5)
    assert usage.window_s == pytest.approx(5.0)
    assert usage.window_end_unix_s == T0 + 10


def test_what_was_denied_is_demand(store: SampleStore, clock: Clock) -> None:
    """The time that a limit kept a container from running counts where demand is asked for."""
    _feed(store, clock, lambda second: 0.5 * second, seconds=8)
    used, wanted = store.pod_cpu("one", "web"), store.pod_cpu("one", "web", demand=True)
    assert used is not None
    assert wanted is not None
    assert used.value == pytest.approx(0.5)
    assert wanted.value == pytest.approx(1.5)


def test_a_span_can_be_a_single_round(store: SampleStore, clock: Clock) -> None:
    """One interval, the one before it, and two of them read what was used in exactly those seconds."""
    _feed(store, clock, lambda second: {9: 1.0, 10: 3.0}.get(second, 0.0), seconds=10)
    spans = (Span(0.0, intervals=1), Span(0.0, intervals=1, back=1), Span(5.0, intervals=2))
    rates = [usage.value for span in spans if (usage := store.pod_cpu("one", "web", span=span)) is not None]
    assert rates == [pytest.approx(2.0), pytest.approx(1.0), pytest.approx(1.5)]


def test_a_span_can_begin_no_earlier_than_a_moment(store: SampleStore, clock: Clock) -> None:
    """Rounds before the moment are left out; where no whole interval is left, nothing is known."""
    _feed(store, clock, float, seconds=10)
    usage = store.pod_cpu("one", "web", span=Span(5.0, since_unix_s=T0 + 7.5))
    assert usage is not None
    assert usage.window_start_unix_s == pytest.approx(T0 + 8)
    assert store.pod_cpu("one", "web", span=Span(5.0, since_unix_s=T0 + 9.5)) is None


def test_a_node_clock_that_is_off_changes_nothing(store: SampleStore, clock: Clock) -> None:
    """Rates and the window's place are the same for a node whose clock is an hour behind."""
    _feed(store, clock, lambda second: second * 0.5, seconds=10, skew_s=-3600.0)
    usage = store.pod_cpu("one", "web")
    assert usage is not None
    assert usage.value == pytest.approx(0.5)
    assert usage.window_end_unix_s == T0 + 10


def test_a_restarted_container_counts_from_its_start(store: SampleStore, clock: Clock) -> None:
    """The counter that fell back to zero gives no negative rate, and the old run is forgotten."""
    _feed(store, clock, float, seconds=5)
    clock.now = T0 + 6
    store.ingest("one", _round(T0 + 6, {"web": (0.25, 4096, T0 + 5.5)}))
    usage = store.pod_cpu("one", "web")
    assert usage is not None
    assert [usage.value, usage.window_s] == pytest.approx([0.5, 0.5])


def test_a_long_running_container_needs_two_rounds(store: SampleStore) -> None:
    """After a server start the first round of an old container says nothing about its rate."""
    store.ingest("one", _round(T0, {"web": (1000.0, 4096, T0 - 5000)}))
    assert store.pod_cpu("one", "web") is None
    assert store.pod_memory("one", "web") is not None


def test_old_samples_are_missing(store: SampleStore, clock: Clock) -> None:
    """Ten seconds after its last round a node's pods have no figures any more."""
    _feed(store, clock, float, seconds=2)
    clock.now = T0 + 2 + 10.5
    assert store.pod_cpu("one", "web") is None
    assert store.containers("one", "web") == []
    assert store.node_usage("one") is None


def test_other_containers_come_and_go(store: SampleStore, clock: Clock) -> None:
    """A pod keeps its history when the set of containers around it changes."""
    _feed(store, clock, lambda second: second * 0.5, seconds=4)
    clock.now = T0 + 5
    rows = {"new": (0.1, 1.0, T0 + 4.9), "web": (2.5, 4096, T0 - 100)}
    store.ingest("one", _round(T0 + 5, rows, generation=2))
    usage = store.pod_cpu("one", "web")
    assert usage is not None
    assert [usage.value, usage.window_s] == pytest.approx([0.5, 5.0])
    clock.now = T0 + 6
    store.ingest("one", _round(T0 + 6, {"new": (1.1, 1.0, T0 + 4.9)}, generation=3))
    assert store.pod_cpu("one", "web") is None
    clock.now = T0 + 7
    store.ingest("one", _round(T0 + 7, {}, generation=4))
    assert store.pod_cpu("one", "new") is None
    assert store.node_usage("one") is not None


def test_rounds_without_a_known_set_of_containers_are_left_out(store: SampleStore) -> None:
    """Columns that belong to a set that was never sent can't be read and do no harm."""
    unknown = _round(T0, {"web": (1.0, 1.0, T0 - 1)}, generation=7)
    del unknown.containers[:]
    store.ingest("one", unknown)
    assert store.pod_cpu("one", "web") is None


def test_damaged_columns_are_left_out(store: SampleStore, clock: Clock) -> None:
    """A column of the wrong length changes nothing of what is known."""
    _feed(store, clock, float, seconds=2)
    damaged = _round(T0 + 3, {"web": (9.0, 1.0, T0 - 100)})
    damaged.memory_working_set_bytes = b"\0" * 5
    store.ingest("one", damaged)
    usage = store.pod_cpu("one", "web")
    assert usage is not None
    assert usage.value == pytest.approx(1.0)


def test_a_clock_set_back_starts_over(store: SampleStore, clock: Clock) -> None:
    """Rates are never computed across a step of the node's clock."""
    _feed(store, clock, float, seconds=3)
    store.ingest("one", _round(T0 - 50, {"web": (4.0, 1.0, T0 - 100)}))
    assert store.pod_cpu("one", "web") is None


def test_another_nodes_word_does_not_count(store: SampleStore, clock: Clock) -> None:
    """What a node reports of a pod that is bound to another node is not found."""
    _feed(store, clock, float, seconds=2)
    assert store.pod_cpu("two", "web") is None
    assert store.containers("two", "web") == []


async def test_arrivals_name_the_nodes(store: SampleStore) -> None:
    """Whoever waits learns which nodes have sent something since the last time."""
    for node in ("one", "two", "one"):
        store.ingest(node, _round(T0, {}))
    assert await store.arrivals() == {"one", "two"}


def test_a_forgotten_node_takes_its_pods_along(store: SampleStore, clock: Clock) -> None:
    """Nothing of a deleted node is kept."""
    _feed(store, clock, float, seconds=2)
    store.forget("one")
    assert store.pod_cpu("one", "web") is None
    assert store.node_usage("one") is None
