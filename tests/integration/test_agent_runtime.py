"""Real containers: conmon, an OCI runtime and the kernel, on a root file system made of busybox."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flotilla.api.objects import KubeObject
from nodeagent.cgroups import PodCgroups, detect
from nodeagent.cgroups.limits import container_limits, oci_resources
from nodeagent.cgroups.oom import OomWatch
from nodeagent.cgroups.stats import oom_kills
from nodeagent.runtime.containers import Containers, NewContainer
from nodeagent.runtime.exits import ContainerExit
from nodeagent.runtime.oci import ContainerRuntimeError
from nodeagent.runtime.runtimes import find_runtimes
from nodeagent.runtime.security import capabilities_of, masked_paths, readonly_paths, seccomp_of
from nodeagent.runtime.spec import BundleRequest, ImageDefaults, build_spec
from nodeagent.runtime.users import resolve_user
from nodeagent.volumes.mounts import unmount_below
from tests.integration.agent_lab import RUNTIME

pytestmark = pytest.mark.root
DEADLINE_S = 10.0


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    root = tmp_path / "rootfs"
    for name in ("bin", "dev", "proc", "sys", "tmp", "etc"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for name in ("sh", "sleep", "cat", "dd", "kill", "unshare", "id", "mount", "echo", "seq"):
        os.link(root / "bin/busybox", root / "bin" / name)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nweb:x:100:101:web:/home/web:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nweb:x:101:\nextra:x:200:web\n")
    return root


@pytest.fixture
def cgroups() -> Iterator[PodCgroups]:
    cgroups = PodCgroups(f"flotilla-test-{os.urandom(4).hex()}", detect())
    cgroups.ensure_parents()
    yield cgroups
    cgroups.purge()


@dataclass
class Bench:
    """One pod with a cgroup, and containers started in it."""

    containers: Containers
    cgroups: PodCgroups
    rootfs: Path
    logs: Path
    pod: KubeObject

    def config(self, container_id: str, container: KubeObject, image_user: str = "") -> KubeObject:
        context = container.get("securityContext") or {}
        capabilities = capabilities_of(context)
        limits = container_limits(container)
        request = BundleRequest(
            pod=self.pod,
            container=container,
            rootfs=self.rootfs,
            image=ImageDefaults(),
            environment=[("GREETING", "hello")],
            user=resolve_user(self.rootfs, image_user, {}, context),
            capabilities=capabilities,
            seccomp=seccomp_of({}, context, capabilities, profiles=self.rootfs),
            masked=masked_paths(context),
            readonly=readonly_paths(context),
            no_new_privileges=True,
            mounts=(),
            hostname="pod",
            cgroups_path=self.cgroups.container_path("pod-uid", container_id),
            resources=oci_resources(limits, version=self.cgroups.layout.version, swap_accounting=False),
            oom_score_adjust=0,
            network_namespace=None,
            cgroup_namespace=self.cgroups.layout.version == 2,
        )
        return build_spec(request)

    async def run(
        self, script: str, *, image_user: str = "", **fields: Any
    ) -> tuple[str, asyncio.Future[ContainerExit]]:
        container_id = os.urandom(32).hex()
        container: KubeObject = {"name": "c", "command": ["sh", "-c", script], **fields}
        config = self.config(container_id, container, image_user)
        new = NewContainer(container_id, "pod-uid", config, self.logs / f"{container_id}.log")
        supervised = await self.containers.create(new)
        ended: asyncio.Future[ContainerExit] = asyncio.get_running_loop().create_future()
        self.containers.exits.expect(container_id, supervised.conmon, ended.set_result)
        await self.containers.start(container_id)
        return container_id, ended

    async def output(self, script: str, **fields: Any) -> str:
        container_id, ended = await self.run(script, **fields)
        await asyncio.wait_for(ended, DEADLINE_S)
        lines = (self.logs / f"{container_id}.log").read_text().splitlines()
        return "\n".join(line.split(" ", 3)[3] for line in lines)


@pytest.fixture(autouse=True)
def private_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """conmon leaves a file where it is started when memory runs out."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=["runc", "crun"] if RUNTIME == "auto" else [RUNTIME])
async def bench(
    tmp_path: Path, rootfs: Path, cgroups: PodCgroups, request: pytest.FixtureRequest
) -> AsyncIterator[Bench]:
    run_dir = tmp_path / "run"
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    runtimes = find_runtimes(cgroups.layout, run_dir, wanted=request.param, directories=(tmp_path,))
    containers = Containers(run_dir, runtimes=runtimes, cgroups=cgroups, conmon="/usr/bin/conmon")
    containers.open()
    pod: KubeObject = {"metadata": {"name": "p", "namespace": "n", "uid": "pod-uid"}, "spec": {"containers": []}}
    cgroups.create_pod("pod-uid", pod["spec"])
    yield Bench(containers, cgroups, rootfs, tmp_path / "logs", pod)
    await containers.purge(containers.known())
    containers.close()
    unmount_below(tmp_path)


async def test_exit_code_and_log_arrive(bench: Bench) -> None:
    """A container's exit code is known once it has ended, and its output is in CRI format."""
    container_id, ended = await bench.run("echo $GREETING; exit 7")
    assert (await asyncio.wait_for(ended, DEADLINE_S)).code == 7
    line = (bench.logs / f"{container_id}.log").read_text()
    assert line.split(" ", 1)[1] == "stdout F hello\n"


async def test_kill_is_heard_within_milliseconds(bench: Bench) -> None:
    """A killed first process is reported as 128 + 9, long before anyone would have polled."""
    container_id, ended = await bench.run("sleep 1000")
    pid = int((bench.containers.bundle(container_id) / "container.pid").read_text())
    killed_at = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    assert (await asyncio.wait_for(ended, DEADLINE_S)).code == 137
    assert time.monotonic() - killed_at < 0.5


async def test_an_exit_before_the_watch_is_found(bench: Bench) -> None:
    """A container that ended while nobody listened is reported as soon as someone does."""
    container_id, ended = await bench.run("exit 3")
    await asyncio.wait_for(ended, DEADLINE_S)
    late: asyncio.Future[ContainerExit] = asyncio.get_running_loop().create_future()
    recorded = bench.containers.exits.recorded(container_id)
    assert recorded is not None and recorded.code == 3
    gone = (await bench.containers.create(bench_new(bench))).conmon
    bench.containers.exits.expect(container_id, gone, late.set_result)
    assert (await asyncio.wait_for(late, DEADLINE_S)).code == 3


def bench_new(bench: Bench) -> NewContainer:
    container_id = os.urandom(32).hex()
    config = bench.config(container_id, {"name": "c", "command": ["sleep", "1000"]})
    return NewContainer(container_id, "pod-uid", config, bench.logs / f"{container_id}.log")


async def test_conmons_death_is_reported_without_a_code(bench: Bench) -> None:
    """When conmon dies its container's exit code is lost; the loss itself is an event."""
    new = bench_new(bench)
    supervised = await bench.containers.create(new)
    ended: asyncio.Future[ContainerExit] = asyncio.get_running_loop().create_future()
    bench.containers.exits.expect(new.container_id, supervised.conmon, ended.set_result)
    await bench.containers.start(new.container_id)
    assert supervised.conmon.send(signal.SIGKILL)
    assert (await asyncio.wait_for(ended, DEADLINE_S)).code is None
    assert supervised.process.alive


async def test_conmon_stays_out_of_the_pods_cgroup(bench: Bench) -> None:
    """The supervisor's memory is not the pod's, and an out-of-memory pod cannot kill it."""
    new = bench_new(bench)
    supervised = await bench.containers.create(new)
    await bench.containers.supervise("pod-uid", supervised.conmon)
    pod_path = bench.cgroups.container_path("pod-uid", "")
    assert supervised.conmon.pid not in bench.cgroups.processes(pod_path)
    assert supervised.conmon.pid in bench.cgroups.processes(f"{bench.cgroups.parent}/supervise/pod-uid")
    assert supervised.process.pid in bench.cgroups.processes(pod_path)


async def test_a_missing_program_is_explained(bench: Bench) -> None:
    """The reason is the runtime's own sentence, and the code is the shell's."""
    new = bench_new(bench)
    new.config["process"]["args"] = ["no-such-program"]
    with pytest.raises(ContainerRuntimeError, match=r"executable file .*not found") as failure:
        await bench.containers.create(new)
    assert failure.value.exit_code == 127


async def test_delete_leaves_nothing(bench: Bench) -> None:
    """After delete no file, runtime state or cgroup of the container is left."""
    container_id, ended = await bench.run("true")
    await asyncio.wait_for(ended, DEADLINE_S)
    await bench.containers.delete(container_id)
    assert bench.containers.known() == set()
    for directory in bench.cgroups.layout.directories(bench.cgroups.container_path("pod-uid", container_id)):
        assert not directory.exists()


async def test_a_half_created_container_is_removed(bench: Bench) -> None:
    """A container that was created and never started, its agent gone, is cleaned up with its conmon."""
    new = bench_new(bench)
    supervised = await bench.containers.create(new)
    await bench.containers.purge([new.container_id])
    assert not supervised.process.alive
    assert not supervised.conmon.alive
    assert bench.containers.known() == set()


async def test_secure_defaults_hold(bench: Bench) -> None:
    """Default capabilities only, no new privileges, and a system call filter that forbids namespaces and mounts."""
    status = await bench.output("cat /proc/self/status; unshare -n true 2>/dev/null || echo refused")
    fields = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
    assert fields["CapBnd"] == "00000000a80425fb"
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"
    assert status.splitlines()[-1] == "refused"


async def test_nothing_of_the_nodes_sys_is_writable(bench: Bench) -> None:
    """A container on the node's network gets none of what the node has mounted below its own /sys."""
    lines = [line.split() for line in (await bench.output("cat /proc/mounts")).splitlines()]
    below = {fields[1]: fields for fields in lines if f"{fields[1]}/".startswith("/sys/")}
    assert "/sys" in below
    # The runtime hangs version 1's hierarchies into an empty tmpfs of the container's own.
    writable = {path for path, fields in below.items() if "ro" not in fields[3].split(",") and fields[2] != "tmpfs"}
    assert not writable
    assert not {path for path in below if path.startswith(("/sys/kernel", "/sys/fs/bpf"))}


async def test_a_container_sees_its_own_cgroup(bench: Bench) -> None:
    """On version 2 the limits are where every runtime looks for them, and no other pod shows."""
    if bench.cgroups.layout.version == 1:
        pytest.skip("version 1 shows its hierarchies as they are, as in Kubernetes")
    limits = {"limits": {"memory": "32Mi"}}
    shown = await bench.output("cat /proc/self/cgroup /sys/fs/cgroup/memory.max", resources=limits)
    assert shown.splitlines() == ["0::/", str(32 << 20)]


async def test_the_images_user_is_looked_up_in_the_image(bench: Bench) -> None:
    """A user name brings its group and its memberships."""
    assert await bench.output("id", image_user="web") == "uid=100(web) gid=101(web) groups=200(extra)"


async def test_exec_runs_as_the_containers_user(bench: Bench) -> None:
    """A command in a container sees the container's environment and ends with its own code."""
    container_id, _ = await bench.run("sleep 1000", image_user="web")
    completed = await bench.containers.execute(container_id, ["sh", "-c", "id -u; echo $GREETING; exit 4"], timeout_s=5)
    assert (completed.code, completed.output) == (4, "100\nhello\n")


async def test_exec_past_its_time_is_killed(bench: Bench) -> None:
    """A probe command that hangs leaves no process behind in the container."""
    container_id, _ = await bench.run("sleep 1000")
    path = bench.cgroups.container_path("pod-uid", container_id)
    completed = await bench.containers.execute(container_id, ["sleep", "999"], timeout_s=0.2)
    assert completed.timed_out
    deadline = time.monotonic() + DEADLINE_S
    while len(bench.cgroups.processes(path)) > 1:
        assert time.monotonic() < deadline, "the command still runs"
        await asyncio.sleep(0.005)


async def test_logs_reopen_after_a_rename(bench: Bench) -> None:
    """After rotation new lines go to a new file and none is lost."""
    container_id, ended = await bench.run("i=0; while [ $i -lt 50 ]; do echo $i; sleep 0.01; i=$((i+1)); done")
    log = bench.logs / f"{container_id}.log"
    log.rename(log.with_suffix(".1"))
    bench.containers.reopen_log(container_id)
    await asyncio.wait_for(ended, DEADLINE_S)
    lines = log.with_suffix(".1").read_text().splitlines() + log.read_text().splitlines()
    assert [line.rsplit(" ", 1)[1] for line in lines] == [str(number) for number in range(50)]


GROW = "x=$(dd if=/dev/zero bs=1M count=64 2>/dev/null | cat -A)"


async def test_memory_over_the_limit_is_counted(bench: Bench) -> None:
    """The kernel's own counter tells an out-of-memory kill, whoever of the container was killed."""
    limits: KubeObject = {"resources": {"limits": {"memory": "16Mi"}}}
    container_id, ended = await bench.run(f"sh -c '{GROW}'; exit 5", **limits)
    code = (await asyncio.wait_for(ended, DEADLINE_S)).code
    assert oom_kills(bench.cgroups.layout, bench.cgroups.container_path("pod-uid", container_id)) > 0
    assert code in (5, 137)


async def test_a_killed_child_wakes_the_agent(bench: Bench) -> None:
    """On version 1 the kernel kills one process; the agent hears of it while the first one lives."""
    if bench.cgroups.layout.version == 2:
        pytest.skip("memory.oom.group kills the whole container")
    limits: KubeObject = {"resources": {"limits": {"memory": "16Mi"}}}
    container_id, _ = await bench.run(f"sleep 0.2; sh -c '{GROW}'; sleep 1000", **limits)
    heard = asyncio.Event()
    path = bench.cgroups.container_path("pod-uid", container_id)
    watch = OomWatch(bench.cgroups.layout, path, heard.set)
    try:
        await asyncio.wait_for(heard.wait(), DEADLINE_S)
    finally:
        watch.close()


async def test_the_pids_limit_stops_a_fork_bomb(bench: Bench) -> None:
    """A pod cannot have more processes than its limit."""
    files = bench.cgroups.layout.directory("pids", bench.cgroups.container_path("pod-uid", "")) / "pids.max"
    files.write_text("12")
    output = await bench.output("for i in $(seq 40); do sleep 1000 & done")
    assert "can't fork" in output
