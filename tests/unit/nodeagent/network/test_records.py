"""Addresses of pods, on disk."""

from __future__ import annotations

import tempfile
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.network.pod_network import host_ports_of
from nodeagent.network.records import AddressesExhaustedError, HostPort, PodRecords, read_records

NETWORK = IPv4Network("10.42.0.0/28")


def test_records_survive_a_restart(tmp_path: Path) -> None:
    """What was allocated and completed is there for the next process, host ports included."""
    records = PodRecords(tmp_path, NETWORK)
    record = records.allocate("pod", [HostPort(8000, 80, "UDP", "127.0.0.1")])
    records.complete(record)
    again = PodRecords(tmp_path, NETWORK).get("pod")
    assert again is not None
    assert again.ready
    assert (again.ip, again.host_ports) == ("10.42.0.2", (HostPort(8000, 80, "UDP", "127.0.0.1"),))


def test_same_pod_same_address(tmp_path: Path) -> None:
    """A pod that asks again keeps its address."""
    records = PodRecords(tmp_path, NETWORK)
    assert records.allocate("pod", ()).ip == records.allocate("pod", ()).ip


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=80))
def test_no_address_is_given_twice(steps: list[tuple[bool, int]]) -> None:
    """Under any order of coming and going no two pods share an address, none is lost, and all stay in the network."""
    with tempfile.TemporaryDirectory() as directory:
        records = PodRecords(Path(directory), NETWORK)
        for arrives, number in steps:
            if not arrives:
                records.release(f"pod-{number}")
                continue
            try:
                records.allocate(f"pod-{number}", ())
            except AddressesExhaustedError:
                assert len(records.all()) == 13
        addresses = [record.ip for record in records.all().values()]
        assert len(addresses) == len(set(addresses))
        assert not set(addresses) & {"10.42.0.0", "10.42.0.1", "10.42.0.15"}
        assert {record.uid for record in read_records(Path(directory))} == set(records.all())


def test_exhaustion_names_the_network(tmp_path: Path) -> None:
    """Running out says of which network."""
    records = PodRecords(tmp_path, IPv4Network("10.42.0.0/30"))
    with pytest.raises(AddressesExhaustedError, match=r"10\.42\.0\.0/30"):
        for number in range(2):
            records.allocate(str(number), ())


def test_host_ports_of_a_pod() -> None:
    """Host ports of all containers are found; container ports alone are not."""
    ports = [{"containerPort": 80, "hostPort": 8000, "protocol": "UDP", "hostIP": "127.0.0.1"}, {"containerPort": 81}]
    sidecar = {"name": "i", "ports": [{"containerPort": 53, "hostPort": 53}]}
    pod = {"spec": {"initContainers": [sidecar], "containers": [{"name": "c", "ports": ports}]}}
    assert host_ports_of(pod) == (HostPort(53, 53), HostPort(8000, 80, "UDP", "127.0.0.1"))
