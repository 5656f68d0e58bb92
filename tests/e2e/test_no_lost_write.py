"""A write that was acknowledged is there, however often the server and etcd are killed while writes run."""

from __future__ import annotations

import json
import os
import signal
import threading
from functools import partial

import pytest

from tests.e2e.scenario import Scenario

pytestmark = [pytest.mark.e2e, pytest.mark.root]

SERVER_KILLS = int(os.environ.get("FLOTILLA_SERVER_KILLS", "12"))
ETCD_KILLS = int(os.environ.get("FLOTILLA_ETCD_KILLS", "4"))


class Writer(threading.Thread):
    """Creates ConfigMaps one after another and remembers those that were acknowledged."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(daemon=True)
        self.acknowledged: list[str] = []
        self._scenario = scenario
        self._stopping = threading.Event()

    def run(self) -> None:
        self._scenario.enter_network()
        index = 0
        while not self._stopping.is_set():
            name = f"written-{index}"
            index += 1
            metadata = {"name": name, "labels": {"test": "written"}}
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"index": str(index)}}
            try:
                status, _ = self._scenario.raw_here("POST", self._scenario.config_maps, json.dumps(body).encode())
            except OSError:
                self._stopping.wait(0.02)
                continue
            if status == 201:
                self.acknowledged.append(name)

    def has_acknowledged(self, count: int) -> bool:
        return len(self.acknowledged) >= count

    def stop(self) -> None:
        self._stopping.set()
        self.join(30)


@pytest.mark.timeout(3000)
def test_kills_lose_no_acknowledged_write(scenario: Scenario) -> None:
    """Every ConfigMap that a 201 acknowledged exists after all kills (FLOTILLA_SERVER_KILLS, FLOTILLA_ETCD_KILLS)."""
    writer = Writer(scenario)
    writer.start()
    try:
        for role in ["server"] * SERVER_KILLS + ["etcd"] * ETCD_KILLS:
            wanted = len(writer.acknowledged) + 3
            os.kill(scenario.pid(role), signal.SIGKILL)
            scenario.until("writes go on", partial(writer.has_acknowledged, wanted), timeout_s=30)
    finally:
        writer.stop()
    listed = scenario.kubectl("get", "configmap", "-l", "test=written", "-o", "name").split()
    missing = set(writer.acknowledged) - {name.removeprefix("configmap/") for name in listed}
    assert missing == set()
    assert len(writer.acknowledged) > 3 * (SERVER_KILLS + ETCD_KILLS)
    scenario.kubectl("delete", "configmap", "-l", "test=written", "--wait=false")
