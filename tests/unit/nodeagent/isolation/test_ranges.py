"""Ranges of user ids: where they lie, and that no two pods share one."""

from __future__ import annotations

import tempfile
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.isolation.ranges import FIRST_ID, RANGE_SIZE, RANGES, PodUsers, RangesExhaustedError, choose_range
from nodeagent.network.records import PodRecords

NETWORK = IPv4Network("10.42.7.0/24")
ALL = {FIRST_ID + number * RANGE_SIZE for number in range(RANGES)}


def test_ranges_keep_clear_of_everybody_elses() -> None:
    """Between systemd's ranges for machines and for foreign files lie 4094 ranges, and no range leaves that gap."""
    assert (min(ALL), max(ALL) + RANGE_SIZE - 1, len(ALL)) == (1879048192, 2147352575, 4094)


@given(st.sets(st.sampled_from(sorted(ALL)), max_size=50), st.integers(0, 1 << 32))
def test_a_chosen_range_is_free(taken: set[int], preferred: int) -> None:
    """Whatever is taken and preferred, what is chosen is a range and nobody's."""
    assert choose_range(taken, preferred=preferred) in ALL - taken


def test_the_preferred_range_is_taken_if_it_is_free() -> None:
    """A free preferred range is chosen, else the next one after it, from the last on to the first."""
    assert choose_range(set(), preferred=5) == FIRST_ID + 5 * RANGE_SIZE
    assert choose_range({FIRST_ID + (RANGES - 1) * RANGE_SIZE}, preferred=RANGES - 1) == FIRST_ID


def test_running_out_of_ranges_is_an_error() -> None:
    """When all ranges are taken, nobody gets one twice."""
    with pytest.raises(RangesExhaustedError, match="4094 in use"):
        choose_range(ALL, preferred=0)


def test_the_mapping_begins_with_root() -> None:
    """A pod's root is the first id of its range, and it has as many ids as a range."""
    assert PodUsers(FIRST_ID, "/pin").mappings() == [{"containerID": 0, "hostID": FIRST_ID, "size": 65536}]


@given(st.lists(st.tuples(st.sampled_from(["own", "host", "leave"]), st.integers(0, 30)), max_size=60))
def test_live_pods_never_share_a_range(steps: list[tuple[str, int]]) -> None:
    """Under any order of coming and going, also of the agent, pods with users of their own have ranges of their own."""
    with tempfile.TemporaryDirectory() as directory:
        for kind, number in steps:
            records = PodRecords(Path(directory), NETWORK)
            if kind == "leave":
                records.release(f"pod-{number}")
            else:
                known = records.get(f"pod-{number}")
                record = records.allocate(f"pod-{number}", (), own_users=kind == "own")
                assert bool(record.first_id) == (kind == "own")
                assert kind == "host" or known is None or known.first_id in (0, record.first_id)
        taken = [record.first_id for record in PodRecords(Path(directory), NETWORK).all().values() if record.first_id]
        assert len(taken) == len(set(taken))


def test_agents_on_one_machine_keep_apart(tmp_path: Path) -> None:
    """Pods of agents whose networks follow each other have different ranges though neither knows of the other."""
    taken: set[int] = set()
    for number in range(4):
        records = PodRecords(tmp_path / str(number), IPv4Network(f"10.42.{number}.0/24"))
        taken.update(records.allocate(f"pod-{pod}", (), own_users=True).first_id for pod in range(100))
    assert len(taken) == 400
