"""Rounds of samples and how they are shown."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nodeagent.cgroups.layout import CgroupLayout
from nodeagent.metrics.exposition import exposition, registry
from nodeagent.metrics.sampler import ROUNDS_PER_WHOLE_READING, Round, Sampler, TrackedContainer

WEB = TrackedContainer(
    namespace="default",
    pod="web",
    pod_uid="u1",
    container="app",
    container_id="f" * 64,
    image='flotilla.dev/"sample":v1',
    cgroup_path="/flotilla/web",
    start_time_unix_s=100.5,
)
DB = replace(WEB, pod="db", pod_uid="u2", cgroup_path="/flotilla/db")


def make_cgroup(root: Path, container: TrackedContainer, *, usage_usec: int = 1_500_000) -> Path:
    """A version 2 cgroup's files."""
    directory = root / container.cgroup_path.lstrip("/")
    directory.mkdir(parents=True, exist_ok=True)
    contents = {
        "cpu.stat": f"usage_usec {usage_usec}\nnr_periods 4\nnr_throttled 2\nthrottled_usec 250000\n",
        "cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=3000000\n",
        "memory.current": "1000\n",
        "memory.stat": "anon 300\nfile 600\ninactive_file 400\n",
        "memory.events": "oom 0\noom_kill 3\n",
        "pids.current": "7\n",
    }
    for name, text in contents.items():
        (directory / name).write_text(text)
    return directory


@pytest.fixture
def layout(tmp_path: Path) -> CgroupLayout:
    return CgroupLayout(version=2, mounts={"": tmp_path})


@pytest.fixture
def sampler(layout: CgroupLayout) -> Iterator[Sampler]:
    made = Sampler(layout)
    yield made
    made.close()


def test_a_round(sampler: Sampler, tmp_path: Path) -> None:
    """A round holds what the files say, in rows that belong to the containers, and packs into columns."""
    make_cgroup(tmp_path, WEB)
    make_cgroup(tmp_path, DB, usage_usec=7)
    sampler.track([WEB, DB])
    taken = sampler.sample(now_unix_s=200.0)
    assert taken.containers == (WEB, DB)
    assert [row.cpu_usage_ns for row in taken.rows] == [1_500_000_000, 7000]
    columns = taken.columns()
    assert struct.unpack("<2Q", columns.cpu_usage_ns) == (1_500_000_000, 7000)
    assert struct.unpack("<2Q", columns.cpu_throttled_ns) == (250_000_000, 250_000_000)
    assert struct.unpack("<2Q", columns.memory_working_set_bytes) == (600, 600)
    assert struct.unpack("<2d", columns.start_time_unix_s) == (100.5, 100.5)


def test_an_idle_container_is_read_whole_now_and_then(sampler: Sampler, tmp_path: Path) -> None:
    """What used no CPU time keeps its figures until its turn comes; what ran is read at once."""
    idle, busy = make_cgroup(tmp_path, WEB), make_cgroup(tmp_path, DB)
    sampler.track([WEB, DB])
    sampler.sample(now_unix_s=0)
    (idle / "memory.current").write_text("2000\n")
    (busy / "memory.current").write_text("2000\n")
    make_usage = "usage_usec {}\nnr_periods 4\nnr_throttled 2\nthrottled_usec 250000\n"
    seen = []
    for number in range(ROUNDS_PER_WHOLE_READING):
        (busy / "cpu.stat").write_text(make_usage.format(2_000_000 + number))
        rows = sampler.sample(now_unix_s=number).rows
        assert rows[1].memory_usage_bytes == 2000
        assert rows[1].cpu_usage_ns == (2_000_000 + number) * 1000
        seen.append(rows[0].memory_usage_bytes)
    assert seen[0] == 1000
    assert seen[-1] == 2000


def test_generation_changes_with_the_containers(sampler: Sampler, tmp_path: Path) -> None:
    """The generation stays while the rows mean the same containers and changes when they don't."""
    make_cgroup(tmp_path, WEB)
    make_cgroup(tmp_path, DB)
    sampler.track([WEB])
    first = sampler.sample(now_unix_s=1).generation
    assert sampler.sample(now_unix_s=2).generation == first
    sampler.track([WEB, DB])
    second = sampler.sample(now_unix_s=3).generation
    assert second != first
    sampler.track([DB])
    assert sampler.sample(now_unix_s=4).generation != second


def test_containers_without_cgroup_are_left_out(sampler: Sampler, tmp_path: Path) -> None:
    """A container that has ended before it was sampled costs no row and no error."""
    make_cgroup(tmp_path, WEB)
    sampler.track([WEB, DB])
    assert sampler.sample(now_unix_s=1).containers == (WEB,)
    make_cgroup(tmp_path, DB)
    sampler.track([WEB, DB])
    assert sampler.sample(now_unix_s=2).containers == (WEB, DB)


async def test_rounds_come_until_cancelled(sampler: Sampler) -> None:
    """Running gives a round at once, and ends by cancellation."""
    rounds: asyncio.Queue[Round] = asyncio.Queue()
    running = asyncio.create_task(sampler.run(rounds.put_nowait))
    assert await asyncio.wait_for(rounds.get(), 5) is sampler.newest
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def test_exposition(sampler: Sampler, layout: CgroupLayout, tmp_path: Path) -> None:
    """The newest round is shown under cAdvisor's names with its labels, beside the node and this process."""
    make_cgroup(tmp_path, WEB)
    sampler.track([WEB])
    sampler.sample(now_unix_s=200.0)
    text = exposition(registry(lambda: sampler.newest, layout, link_of=lambda uid: "lo")).decode()
    labels = (
        'container="app",id="/flotilla/web",image="flotilla.dev/\\"sample\\":v1",'
        f'name="{"f" * 64}",namespace="default",pod="web"'
    )
    for name, value in {
        "container_cpu_usage_seconds_total": "1.5",
        "container_cpu_cfs_throttled_seconds_total": "0.25",
        "container_cpu_cfs_periods_total": "4.0",
        "container_cpu_cfs_throttled_periods_total": "2.0",
        "container_memory_working_set_bytes": "600.0",
        "container_memory_usage_bytes": "1000.0",
        "container_memory_rss": "300.0",
        "container_memory_cache": "600.0",
        "container_oom_events_total": "3.0",
        "container_threads": "7.0",
        "container_start_time_seconds": "100.5",
        "container_last_seen": "200.0",
        "container_pressure_cpu_waiting_seconds_total": "3.0",
    }.items():
        assert f"\n{name}{{{labels}}} {value}\n" in text
    for name in ("receive_bytes", "transmit_packets", "receive_errors", "transmit_packets_dropped"):
        assert f'\ncontainer_network_{name}_total{{interface="eth0",namespace="default",pod="web"}} ' in text
    for name in ("machine_cpu_cores", "machine_memory_bytes", "node_cpu_usage_seconds_total", "process_open_fds"):
        assert f"\n{name} " in text


def test_exposition_before_the_first_round(layout: CgroupLayout) -> None:
    """A scrape before anything was sampled shows the machine alone."""
    text = exposition(registry(lambda: None, layout, link_of=str)).decode()
    assert "machine_memory_bytes" in text
    assert "container_" not in text
