"""Counters of the machine."""

from __future__ import annotations

from pathlib import Path

from nodeagent.metrics.machine import MachineReader, link_bytes, memory_bytes, pressure_stall_s


def test_memory_figures() -> None:
    """Figures are bytes; a line that was cut off is left out."""
    assert memory_bytes("MemTotal:       16 kB\nInactive(file):  4 kB\nHuge: 0\nCut:   1") == {
        "MemTotal": 16384,
        "Inactive(file)": 4096,
    }


def test_link_figures() -> None:
    """Received and sent bytes are found by link, also where a name touches its figures."""
    text = "Inter-| Receive\n face |bytes\n    lo: 10 1 0 0 0 0 0 0 20 1\nflt0:30 0 0 0 0 0 0 0 40 0\n"
    assert link_bytes(text) == {"lo": (10, 20), "flt0": (30, 40)}


def test_pressure(tmp_path: Path) -> None:
    """Stall times are seconds; a kernel without them gives none."""
    (tmp_path / "cpu.pressure").write_text(
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=500000\n"
    )
    assert pressure_stall_s(tmp_path, suffix=".pressure") == {("cpu", "some"): 2.5, ("cpu", "full"): 0.5}
    assert pressure_stall_s(tmp_path / "none") == {}


def test_this_machine() -> None:
    """CPU time grows and memory in use is within the machine's memory."""
    reader = MachineReader()
    first = reader.read()
    deadline = first.cpu_usage_ns
    while reader.read().cpu_usage_ns == deadline:
        pass
    assert 0 < reader.read().memory_working_set_bytes < memory_bytes(Path("/proc/meminfo").read_text())["MemTotal"]
    reader.close()
