"""The hierarchy of the pods' cgroups on this machine's kernel, version 1 or 2."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from nodeagent.cgroups import PodCgroups, detect
from nodeagent.cgroups.details import read_details
from nodeagent.cgroups.limits import UNLIMITED, Limits

pytestmark = pytest.mark.root

MIB = 1 << 20


def _spec(requests: dict[str, str], limits: dict[str, str]) -> dict[str, Any]:
    return {"containers": [{"name": "c", "resources": {"requests": requests, "limits": limits}}]}


GUARANTEED = _spec({"cpu": "500m", "memory": "64Mi"}, {"cpu": "500m", "memory": "64Mi"})
BURSTABLE = _spec({"cpu": "250m"}, {"memory": "32Mi"})
BEST_EFFORT = _spec({}, {})


@pytest.fixture
def cgroups() -> Iterator[PodCgroups]:
    whole = Limits(cpu_shares=1536, memory_bytes=512 * MIB, pids=5000)
    made = PodCgroups(f"flotilla-test-{os.urandom(4).hex()}", detect(), pids_limit=100, whole=whole)
    made.ensure_parents()
    yield made
    made.purge()


def _limits(cgroups: PodCgroups, path: str) -> Limits:
    return read_details(cgroups.layout, path).limits


def _near(shares: int, wanted: int) -> bool:
    """Version 2 keeps a weight, which is coarser."""
    return abs(shares - wanted) <= 27


def test_all_pods_together_have_what_is_not_reserved(cgroups: PodCgroups) -> None:
    """The parent of all pods is bounded, and an agent that reserves nothing any more takes the bounds away."""
    whole = _limits(cgroups, cgroups.parent)
    assert (whole.memory_bytes, whole.pids, whole.cpu_quota_us) == (512 * MIB, 5000, UNLIMITED)
    assert _near(whole.cpu_shares, 1536)
    again = PodCgroups(cgroups.parent, cgroups.layout, whole=Limits(cpu_shares=2048))
    again.ensure_parents()
    relaxed = _limits(cgroups, cgroups.parent)
    assert (relaxed.memory_bytes, relaxed.pids) == (UNLIMITED, UNLIMITED)
    with again.reader_of_all() as reader:
        assert reader.read().memory_working_set_bytes >= 0


def test_classes_weigh_what_their_pods_request(cgroups: PodCgroups) -> None:
    """Guaranteed pods stand at the top, burstable ones share what they requested, the others get what is left over."""
    parent = cgroups.parent
    assert cgroups.create_pod("g", GUARANTEED) == f"{parent}/podg"
    assert cgroups.create_pod("b1", BURSTABLE) == f"{parent}/burstable/podb1"
    cgroups.create_pod("b2", BURSTABLE)
    assert cgroups.create_pod("e", BEST_EFFORT) == f"{parent}/besteffort/pode"
    guaranteed, burstable = _limits(cgroups, f"{parent}/podg"), _limits(cgroups, f"{parent}/burstable/podb1")
    assert (guaranteed.cpu_quota_us, guaranteed.memory_bytes, guaranteed.pids) == (50_000, 64 * MIB, 100)
    assert _near(guaranteed.cpu_shares, 512)
    assert (burstable.cpu_quota_us, burstable.memory_bytes) == (UNLIMITED, 32 * MIB)
    assert _near(burstable.cpu_shares, 256)
    assert _near(_limits(cgroups, f"{parent}/burstable").cpu_shares, 512)
    for path in (f"{parent}/besteffort", f"{parent}/besteffort/pode"):
        assert _limits(cgroups, path).cpu_shares == 2
        assert _limits(cgroups, path).memory_bytes == UNLIMITED
    cgroups.remove_pod("b2", BURSTABLE)
    assert _near(_limits(cgroups, f"{parent}/burstable").cpu_shares, 256)
