"""Counters of the machine."""

from __future__ import annotations

from pathlib import Path

from nodeagent.metrics.machine import LinkCounters, MachineReader, Pressure, link_counters, memory_bytes, pressures


def test_memory_figures() -> None:
    """Figures are bytes; a line that was cut off is left out."""
    assert memory_bytes("MemTotal:       16 kB\nInactive(file):  4 kB\nHuge: 0\nCut:   1") == {
        "MemTotal": 16384,
        "Inactive(file)": 4096,
    }


def test_link_figures() -> None:
    """What was received and sent is found by link, also where a name touches its figures; ends see it the other way."""
    text = "Inter-|\n face |\n    lo: 10 1 2 3 0 0 0 0 20 4 5 6 0 0 0 0\nflt0:30 0 0 0 0 0 0 0 40 0 0 0 0 0 0 0\n"
    found = link_counters(text)
    assert found["lo"] == LinkCounters((10, 20), (1, 4), (2, 5), (3, 6))
    assert found["lo"].swapped() == LinkCounters((20, 10), (4, 1), (5, 2), (6, 3))
    assert found["flt0"].bytes == (30, 40)


def test_pressure(tmp_path: Path) -> None:
    """Averages are percentages and stall times seconds; a kernel without them gives none."""
    (tmp_path / "cpu.pressure").write_text(
        "some avg10=1.50 avg60=0.25 avg300=0.00 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=500000\n"
    )
    assert pressures(tmp_path, suffix=".pressure") == {
        ("cpu", "some"): Pressure(1.5, 0.25, 0.0, 2.5),
        ("cpu", "full"): Pressure(0.0, 0.0, 0.0, 0.5),
    }
    assert pressures(tmp_path / "none") == {}


def test_this_machine() -> None:
    """CPU time grows and memory in use is within the machine's memory."""
    reader = MachineReader()
    first = reader.read()
    deadline = first.cpu_usage_ns
    while reader.read().cpu_usage_ns == deadline:
        pass
    assert 0 < reader.read().memory_working_set_bytes < memory_bytes(Path("/proc/meminfo").read_text())["MemTotal"]
    reader.close()
