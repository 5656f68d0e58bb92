"""Many pods come and go, and the agent and its machine are what they were before.

Each pod has volumes, a probe, a host port and a crash behind it when it goes. CI lets some dozens go by;

    FLOTILLA_LEAK_CYCLES=1000 .venv/bin/pytest -s tests/integration/faults/test_leaks.py

a thousand, in about five minutes, and prints the agent's memory on the way.
"""

from __future__ import annotations

import os
import re
import statistics
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.faults.node_lab import Lab, on_a_node
from tests.integration.faults.remains import container_processes, left_over, remains
from tests.integration.faults.subject import CRASH_CODE, CRASH_SIGNAL, create_objects, subject

pytestmark = pytest.mark.root

CYCLES = int(os.environ.get("FLOTILLA_LEAK_CYCLES", "40"))
AT_ONCE = 8
WARM_UP_CYCLES = 16
# What the agent may grow by in a thousand cycles; where CI's few do not tell a slope from noise, by all of them.
SLOPE_BYTES = 2 << 20
NOISE_BYTES = 6 << 20


@dataclass(frozen=True)
class Figures:
    """The agent at rest. ``memory_bytes`` is its proportional set size."""

    descriptors: int
    threads: int
    memory_bytes: int

    @classmethod
    def of(cls, pid: int) -> Figures:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        pss = re.search(r"^Pss: +(\d+) kB$", rollup, re.MULTILINE)
        assert pss is not None
        descriptors, threads = (len(os.listdir(f"/proc/{pid}/{name}")) for name in ("fd", "task"))
        return cls(descriptors, threads, int(pss[1]) * 1024)


async def cycle(lab: Lab, count: int) -> None:
    """``count`` pods at once come up, crash, come up again and go."""
    uids = {f"web-{n}": await lab.create(subject(f"web-{n}", host_port=8080 + n)) for n in range(count)}
    for name, uid in uids.items():
        await lab.ready(name)
        assert container_processes(lab, uid)[0].send(CRASH_SIGNAL)
    for name in uids:

        def is_back(name: str = name) -> bool:
            return lab.status(name).get("restartCount") == 1 and lab.is_ready(name)

        await lab.until(f"{name} is back", is_back)
        assert lab.status(name)["lastState"]["terminated"]["exitCode"] == CRASH_CODE
    for name in uids:
        await lab.delete(name)
    for name in uids:
        await lab.gone(name)


async def keys(lab: Lab) -> set[str]:
    """What the store holds, except events, which go when their time is over."""
    page = await lab.store.list("")
    return {each.key for each in page.items if "/events/" not in each.key}


@pytest.mark.timeout(120 + CYCLES)
def test_pods_that_have_gone_leave_nothing_behind() -> None:
    """No descriptor, mount, cgroup, link, rule, file, process or key more, and no slope in the agent's memory."""

    async def story(lab: Lab) -> None:
        await create_objects(lab)
        lab.start_agent()
        await lab.connected()
        for _ in range(WARM_UP_CYCLES // AT_ONCE):
            await cycle(lab, AT_ONCE)
        pid = lab.agent.pid
        before, stored, first = remains(lab), await keys(lab), Figures.of(pid)
        rounds: list[Figures] = []
        for _ in range(CYCLES // AT_ONCE):
            await cycle(lab, AT_ONCE)
            rounds.append(Figures.of(pid))
        await lab.until("nothing is left", lambda: not left_over(before, remains(lab)), timeout_s=10)
        await lab.until("descriptors are closed", lambda: Figures.of(pid).descriptors <= first.descriptors)
        assert await keys(lab) == stored
        assert max(each.threads for each in rounds) <= first.threads + AT_ONCE
        memory = [each.memory_bytes for each in (first, *rounds)]
        slope, _ = statistics.linear_regression([n * AT_ONCE for n in range(len(memory))], memory)
        shown = " ".join(f"{each / (1 << 20):.1f}" for each in memory[:: max(1, len(memory) // 20)])
        print(f"{CYCLES} cycles, MiB: {shown}; slope {slope * 1000 / 1024:.0f} KiB per 1000; {rounds[-1]}")
        assert memory[-1] - memory[0] < NOISE_BYTES
        assert CYCLES < 500 or slope * 1000 < SLOPE_BYTES

    on_a_node(story)
