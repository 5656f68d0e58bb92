"""Pods on a real runtime: restarts, ends, probes, hooks, and an agent that starts again in their midst."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from nodeagent.leftovers import Claims, clear_containers, clear_node
from nodeagent.pod_state import ContainerRecord, Ended, PodRecord, Waiting
from nodeagent.runtime.containers import NewContainer
from nodeagent.runtime.oci import OciRuntime
from nodeagent.runtime.runtimes import Runtimes
from tests.directories import passable_directory
from tests.integration.agent_lab import (
    DEADLINE_S,
    Bench,
    NoVolumes,
    deleted,
    is_ready,
    main_status,
    pid_of,
    pod_of,
    running_bench,
)

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def private_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """conmon leaves a file where it is started when memory runs out."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    with passable_directory() as directory:
        async with running_bench(directory) as bench:
            yield bench


async def test_a_pod_comes_up_ready(bench: Bench) -> None:
    """Phase, conditions, container state and events of a running pod are those of the kubelet."""
    node = bench.node()
    worker = node.add(pod_of("sleep 1000"))
    await node.reports.until(lambda: is_ready(worker))
    status = worker.status
    assert status["phase"] == "Running"
    assert status["qosClass"] == "BestEffort"
    assert {each["type"]: each["status"] for each in status["conditions"]} == {
        "PodReadyToStartContainers": "True",
        "Initialized": "True",
        "Ready": "True",
        "ContainersReady": "True",
    }
    assert "running" in main_status(worker)["state"]
    assert main_status(worker)["containerID"].startswith(f"{node.containers.runtimes.default.name}://")
    assert [event.reason for event in node.reports.events] == ["Pulled", "Created", "Started"]


async def test_the_first_restart_is_immediate(bench: Bench) -> None:
    """A killed first process is running again before anyone notices, with its end as the last state."""
    node = bench.node()
    worker = node.add(pod_of("sleep 1000"))
    await node.reports.until(lambda: is_ready(worker))
    killed_at = time.monotonic()
    os.kill(pid_of(node, worker), signal.SIGKILL)
    await node.reports.until(lambda: main_status(worker)["restartCount"] == 1 and is_ready(worker))
    took_s = time.monotonic() - killed_at
    last = main_status(worker)["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"], last["signal"]) == (137, "Error", 9)
    assert took_s < 1.0


async def test_a_crash_loop_backs_off(bench: Bench) -> None:
    """The second end in a row waits, and says so in Kubernetes' words."""
    node = bench.node()
    worker = node.add(pod_of("exit 3"))
    await node.reports.until(
        lambda: main_status(worker)["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff"
    )
    status = main_status(worker)
    expected = "back-off 1s restarting failed container=main pod=web_default(uid-web)"
    assert status["state"]["waiting"]["message"] == expected
    assert status["lastState"]["terminated"]["exitCode"] == 3
    assert "BackOff" in {event.reason for event in node.reports.events}


async def test_on_failure_ends_with_success(bench: Bench) -> None:
    """A pod that need not run for ever succeeds, and lets go of everything but its logs."""
    node = bench.node()
    worker = node.add(pod_of("echo done", spec={"restartPolicy": "OnFailure"}))
    await node.reports.until(
        lambda: worker.status.get("phase") == "Succeeded" and worker.state.sandbox_phase == "released"
    )
    assert main_status(worker)["state"]["terminated"]["reason"] == "Completed"
    assert node.containers.known() == set()
    assert node.context.starter.log_path(worker.pod, "main", 0).read_text().endswith("done\n")


async def test_never_fails_with_the_last_words(bench: Bench) -> None:
    """A failed pod shows what its container wrote last."""
    node = bench.node()
    script = "echo because > /dev/termination-log; exit 4"
    worker = node.add(pod_of(script, spec={"restartPolicy": "Never"}))
    await node.reports.until(lambda: worker.status.get("phase") == "Failed")
    terminated = main_status(worker)["state"]["terminated"]
    assert (terminated["exitCode"], terminated["message"]) == (4, "because\n")


async def test_a_deleted_pod_gets_its_grace(bench: Bench) -> None:
    """SIGTERM comes first; a container that handles it ends with its own code, and then nothing is left."""
    node = bench.node()
    script = "trap 'exit 7' TERM; echo armed; while true; do sleep 0.01; done"
    pod = pod_of(script)
    worker = node.add(pod)
    log = node.context.starter.log_path(pod, "main", 0)
    await node.reports.until(lambda: log.exists() and log.read_text().endswith("armed\n"))
    worker.update(deleted(pod))
    await node.reports.until(lambda: "uid-web" in node.reports.terminated)
    assert main_status(worker)["state"]["terminated"]["exitCode"] == 7
    assert node.containers.known() == set()
    assert not any(
        each.exists() for each in bench.cgroups.layout.directories(f"{bench.cgroups.parent}/besteffort/poduid-web")
    )
    await asyncio.wait_for(node.tasks[0], DEADLINE_S)
    assert node.context.store.known() == set()


async def test_the_grace_period_ends_in_a_kill(bench: Bench) -> None:
    """A container that ignores SIGTERM is killed at the deadline, and a shorter deadline counts at once."""
    node = bench.node()
    pod = pod_of("sleep 1000")
    worker = node.add(pod)
    await node.reports.until(lambda: is_ready(worker))
    worker.update(deleted(pod, 600))
    await node.reports.until(lambda: "Killing" in {event.reason for event in node.reports.events})
    worker.update(deleted(pod, 0))
    await node.reports.until(lambda: "uid-web" in node.reports.terminated)
    assert main_status(worker)["state"]["terminated"]["exitCode"] == 137


async def test_an_out_of_memory_child_restarts_the_container(bench: Bench) -> None:
    """When the kernel kills a child, the container is OOMKilled and restarted though its first process lived."""
    node = bench.node()
    grow = "x=$(dd if=/dev/zero bs=1M count=64 2>/dev/null | cat -A)"
    script = f"test -e /marker || {{ sh -c '{grow}'; }}; sleep 1000"
    worker = node.add(pod_of(script, resources={"limits": {"memory": "16Mi"}}))
    await node.reports.until(lambda: main_status(worker)["restartCount"] >= 1)
    assert main_status(worker)["lastState"]["terminated"]["reason"] == "OOMKilled"


async def test_init_containers_run_first_and_in_order(bench: Bench) -> None:
    """Containers wait for init containers; a sidecar runs beside them and is stopped last."""
    node = bench.node()
    shell = {"image": "busybox"}
    inits = [
        {"name": "sidecar", "command": ["sleep", "1000"], "restartPolicy": "Always", **shell},
        {"name": "once", "command": ["sh", "-c", "exit 0"], **shell},
    ]
    pod = pod_of("sleep 1000", spec={"initContainers": inits})
    worker = node.add(pod)
    await node.reports.until(lambda: is_ready(worker))
    started = [event.involved["fieldPath"] for event in node.reports.events if event.reason == "Started"]
    assert started == ["spec.initContainers{sidecar}", "spec.initContainers{once}", "spec.containers{main}"]
    worker.update(deleted(pod, 0))
    await node.reports.until(lambda: "uid-web" in node.reports.terminated)
    killed = [event.message for event in node.reports.events if event.reason == "Killing"]
    assert killed == ["Stopping container main", "Stopping container sidecar"]


async def test_a_missing_image_backs_off(bench: Bench) -> None:
    """A failed pull is told first as an error, then as a back-off."""
    node = bench.node()
    worker = node.add(pod_of("true", image="nowhere/none"))
    seen: list[str] = []

    def backing_off() -> bool:
        seen.append(main_status(worker)["state"].get("waiting", {}).get("reason", ""))
        return seen[-1] == "ImagePullBackOff"

    await node.reports.until(backing_off)
    assert "ErrImagePull" in seen
    assert worker.status["phase"] == "Pending"


async def test_a_missing_program_is_a_run_error(bench: Bench) -> None:
    """A command that does not exist counts as a failed run with the shell's exit code."""
    node = bench.node()
    worker = node.add(pod_of("", command=["/no/such"]))
    await node.reports.until(
        lambda: main_status(worker)["state"].get("waiting", {}).get("reason") == "RunContainerError"
    )
    assert main_status(worker)["lastState"]["terminated"]["exitCode"] == 127


async def test_readiness_follows_its_probe(bench: Bench) -> None:
    """A pod is ready only while its probe passes."""
    node = bench.node()
    probe = {"exec": {"command": ["test", "-e", "/ok"]}, "periodSeconds": 1, "failureThreshold": 1}
    worker = node.add(pod_of("sleep 0.3; touch /ok; sleep 1; rm /ok; sleep 1000", readinessProbe=probe))
    await node.reports.until(lambda: is_ready(worker))
    await node.reports.until(lambda: not is_ready(worker))
    assert any(event.reason == "Unhealthy" for event in node.reports.events)


async def test_liveness_restarts(bench: Bench) -> None:
    """A container that fails its liveness probe is killed and runs again."""
    node = bench.node()
    probe = {"exec": {"command": ["test", "!", "-e", "/bad"]}, "periodSeconds": 1, "failureThreshold": 1}
    worker = node.add(
        pod_of("sleep 0.5; touch /bad; sleep 1000", livenessProbe=probe, spec={"terminationGracePeriodSeconds": 0})
    )
    await node.reports.until(lambda: main_status(worker)["restartCount"] == 1)
    messages = {event.message for event in node.reports.events if event.reason == "Killing"}
    assert messages == {"Container main failed liveness probe, will be restarted"}


async def test_hooks_run_around_the_container(bench: Bench) -> None:
    """postStart delays readiness, preStop runs before the signal."""
    node = bench.node()
    hooks = {
        "postStart": {"exec": {"command": ["touch", "/started"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo bye > /dev/termination-log"]}},
    }
    pod = pod_of("while ! test -e /started; do sleep 0.01; done; sleep 1000", lifecycle=hooks)
    worker = node.add(pod)
    await node.reports.until(lambda: is_ready(worker))
    worker.update(deleted(pod, 1))
    await node.reports.until(lambda: "uid-web" in node.reports.terminated)
    assert main_status(worker)["state"]["terminated"]["message"] == "bye\n"


async def test_a_restarted_agent_adopts_what_runs(bench: Bench) -> None:
    """The next agent finds the same process under the same container id and still hears of its end."""
    node = bench.node()
    worker = node.add(pod_of("sleep 1000"))
    await node.reports.until(lambda: is_ready(worker))
    before, pid = main_status(worker), pid_of(node, worker)
    await node.stop()
    second = bench.node()
    [adopted] = second.resume()
    await asyncio.sleep(0)
    assert main_status(adopted) == before
    os.kill(pid, signal.SIGKILL)
    await second.reports.until(lambda: main_status(adopted)["restartCount"] == 1)


async def test_a_half_made_container_is_made_anew(bench: Bench) -> None:
    """What an agent had created and not started when it died leaves no trace, not even in the restart count."""
    node = bench.node()
    pod = pod_of("sleep 1000", spec={"hostUsers": True})
    worker = node.add(pod)
    await node.reports.until(lambda: is_ready(worker))
    run = worker.state.container("main").record.run
    assert run is not None
    await node.stop()
    node.containers.open()
    half = replace(run, id=os.urandom(32).hex(), process=None, conmon=None, started_unix_s=0.0)
    config = node.containers.config(run.id)
    assert config is not None
    config["linux"]["cgroupsPath"] = bench.cgroups.container_path("uid-web", half.id)
    config["mounts"] = [mount for mount in config["mounts"] if mount["type"] != "bind"]
    await node.containers.purge([run.id])
    new = NewContainer(half.id, "uid-web", config, node.context.starter.log_path(pod, "main", 0))
    supervised = await node.containers.create(new)
    record = node.context.store.load()["uid-web"]
    node.context.store.save("uid-web", replace(record, containers={"main": ContainerRecord(run=half)}))
    second = bench.node()
    [adopted] = second.resume()
    await second.reports.until(lambda: main_status(adopted).get("started") and is_ready(adopted))
    assert main_status(adopted)["restartCount"] == 0
    await second.reports.until(lambda: not supervised.process.alive and half.id not in second.containers.known())


async def test_what_nobody_claims_is_cleared_away(bench: Bench) -> None:
    """Containers, mounts, cgroups and files of pods that no record names are gone; a recorded pod is left alone."""
    node = bench.node()
    kept, stray = node.add(pod_of("sleep 1000", name="kept")), node.add(pod_of("sleep 1000", name="stray"))
    await node.reports.until(lambda: is_ready(kept) and is_ready(stray))
    await node.stop()
    second = bench.node()
    store, starter = second.context.store, second.context.starter
    (bench.directory / "run/records/uid-stray.json").write_bytes(b"{")
    records = store.load()
    assert set(records) == {"uid-kept"}
    claims = Claims.of(records)
    await clear_containers(claims, second.containers)
    clear_node(
        claims,
        data_dir=bench.directory / "data",
        store=store,
        cgroups=bench.cgroups,
        sandboxes=second.context.sandboxes,
        volumes=NoVolumes(),
        network=None,
    )
    assert second.context.sandboxes.known() == {"uid-kept"}
    assert bench.cgroups.existing() == {"uid-kept"}
    assert store.known() == {"uid-kept"}
    run = kept.state.container("main").record.run
    assert run is not None and run.process is not None and run.process.alive
    assert [entry.name for entry in (bench.directory / "data/rootfs").iterdir()] == [run.id]
    assert not starter.log_directory(stray.pod).exists()
    assert starter.log_directory(kept.pod).exists()


async def test_an_end_without_an_agent_is_not_lost(bench: Bench) -> None:
    """A container that ended while no agent ran is found with its exit code."""
    node = bench.node()
    worker = node.add(pod_of("while ! test -e /tmp/go; do sleep 0.01; done; exit 9", spec={"restartPolicy": "Never"}))
    await node.reports.until(lambda: is_ready(worker))
    run = worker.state.container("main").record.run
    assert run is not None
    rootfs = node.context.starter.rootfs(run.id)
    await node.stop()
    (rootfs / "merged/tmp/go").touch()
    await node.reports.until(lambda: node.containers.exits.recorded(run.id) is not None)
    second = bench.node()
    [adopted] = second.resume()
    await second.reports.until(lambda: adopted.status.get("phase") == "Failed")
    assert main_status(adopted)["state"]["terminated"]["exitCode"] == 9


async def test_a_lost_supervisor_ends_the_container(bench: Bench) -> None:
    """A container whose conmon has died is killed, reported as unknown, and started again."""
    node = bench.node()
    worker = node.add(pod_of("sleep 1000"))
    await node.reports.until(lambda: is_ready(worker))
    run = worker.state.container("main").record.run
    assert run is not None and run.conmon is not None and run.process is not None
    run.conmon.send(signal.SIGKILL)
    await node.reports.until(lambda: main_status(worker)["restartCount"] == 1)
    assert main_status(worker)["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
    assert not run.process.alive


async def test_after_a_reboot_pods_start_again(bench: Bench) -> None:
    """Pids of another boot mean nothing: containers start again, counted as restarted."""
    node = bench.node()
    worker = node.add(pod_of("sleep 1000"))
    await node.reports.until(lambda: is_ready(worker))
    await node.stop()
    second = bench.node(boot_id="boot-2")
    await second.containers.purge(second.containers.known())
    [adopted] = second.resume()
    await second.reports.until(lambda: main_status(adopted)["restartCount"] == 1 and is_ready(adopted))
    assert main_status(adopted)["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"


async def test_a_restarted_agent_keeps_the_deadline_of_a_stop(bench: Bench) -> None:
    """A grace period that has begun goes on where it was when the agent died."""
    node = bench.node()
    pod = pod_of("sleep 1000")
    worker = node.add(pod)
    await node.reports.until(lambda: is_ready(worker))
    gone = deleted(pod, 600)
    worker.update(gone)
    await node.reports.until(lambda: "Killing" in {event.reason for event in node.reports.events})
    stop = worker.state.stop
    await node.stop()
    second = bench.node()
    [adopted] = second.resume()
    adopted.update(gone)
    await second.reports.until(lambda: "Killing" in {event.reason for event in second.reports.events})
    assert adopted.state.stop == stop
    adopted.update(deleted(pod, 0))
    await second.reports.until(lambda: "uid-web" in second.reports.terminated)


async def test_a_restarted_agent_removes_the_run_before(bench: Bench) -> None:
    """The container of a run that has been replaced goes, though the agent that replaced it died first."""
    node = bench.node()
    worker = node.add(pod_of("sleep 1000"))
    await node.reports.until(lambda: is_ready(worker))
    run = worker.state.container("main").record.run
    assert run is not None
    await node.stop()
    last = replace(run, id=os.urandom(32).hex(), attempt=0, ended=Ended(1, "Error", time.time()))
    bundle, rootfs = node.containers.bundle(last.id), node.context.starter.rootfs(last.id)
    bundle.mkdir()
    rootfs.mkdir()
    record = node.context.store.load()["uid-web"]
    replaced = ContainerRecord(run=replace(run, attempt=1), last=last, started=True, ready=True)
    node.context.store.save("uid-web", replace(record, containers={"main": replaced}))
    second = bench.node()
    [adopted] = second.resume()
    await second.reports.until(lambda: not bundle.exists() and not rootfs.exists())
    assert pid_of(second, adopted) == pid_of(node, worker)


async def test_a_failed_start_leaves_no_container(bench: Bench) -> None:
    """What the runtime had made of a run that could not be started goes at once, not with the next attempt."""
    node = bench.node()
    worker = node.add(pod_of("", command=["/no/such"]))
    await node.reports.until(
        lambda: main_status(worker)["state"].get("waiting", {}).get("reason") == "RunContainerError"
    )
    rootfs = bench.directory / "data/rootfs"
    await node.reports.until(lambda: not node.containers.known() and not list(rootfs.iterdir()))


async def test_failed_pulls_do_not_count_as_crashes(bench: Bench) -> None:
    """The first crash restarts at once, however often the image could not be had before."""
    node = bench.node()
    pod = pod_of("sleep 1000")
    store = node.context.store
    refused = ContainerRecord(refusals=5, waiting=Waiting("ErrImagePull", "", 0.0))
    store.save("uid-web", PodRecord(pod, "boot-1", time.time(), containers={"main": refused}))
    [worker] = node.resume()
    await node.reports.until(lambda: is_ready(worker))
    os.kill(pid_of(node, worker), signal.SIGKILL)
    await node.reports.until(lambda: main_status(worker)["restartCount"] == 1 and is_ready(worker))
    record = worker.state.container("main").record
    assert (record.failures, record.refusals) == (1, 0)


async def test_a_container_that_cannot_be_removed_keeps_its_pod(bench: Bench) -> None:
    """A pod is not reported gone while the runtime does not let go of its container; that is tried again."""
    node = bench.node()
    pod = pod_of("sleep 1000")
    worker = node.add(pod)
    await node.reports.until(lambda: is_ready(worker))
    runtimes = node.containers.runtimes
    node.containers.runtimes = Runtimes(OciRuntime("/bin/false", runtimes.default.root))
    worker.update(deleted(pod, 0))
    await node.reports.until(lambda: worker.state.sandbox_failures > 0)
    assert "uid-web" not in node.reports.terminated
    node.containers.runtimes = runtimes
    await node.reports.until(lambda: "uid-web" in node.reports.terminated)
