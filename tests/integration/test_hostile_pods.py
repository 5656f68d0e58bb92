"""What a hostile container tries with nothing but the defaults: each attempt on a real kernel, and each denied.

The container's program is Python, running as root, so that it can make any system call. Some attempts are also made as
if the container had already got out: by a process on the node that has the container's user.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nodeagent.cgroups import CgroupStats
from nodeagent.pod_worker import PodWorker
from nodeagent.volumes.fields import NodeResources
from nodeagent.volumes.payload import VolumeError
from nodeagent.volumes.subpath import open_subpath
from nodeagent.volumes.volumes import Volumes
from tests.directories import passable_directory
from tests.integration.agent_lab import (
    Bench,
    Node,
    is_ready,
    main_status,
    pid_of,
    pod_of,
    running_bench,
    shell,
)
from tests.integration.python_image import PythonImage, add_python

pytestmark = pytest.mark.root

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of renameat2(2)
SYSTEM_CALL = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    result = libc.syscall(number, *arguments)
    return errno.errorcode[ctypes.get_errno()] if result < 0 else "done"
"""
# Numbers of x86-64; those from 424 on are the same everywhere.
CALLS: dict[str, str] = {
    "mount": "call(165, b'none', b'/tmp', b'tmpfs', 0, None)",
    "mount the node's disk": "call(165, b'/dev/vda', b'/tmp', b'ext4', 0, None)",
    "remount": "call(165, None, b'/proc/sys', None, 0x1020, None)",
    "umount": "call(166, b'/proc/sys', 2)",
    "pivot_root": "call(155, b'/tmp', b'/tmp')",
    "open_tree": "call(428, -100, b'/', 1)",
    "move_mount": "call(429, -100, b'/tmp', -100, b'/mnt', 0)",
    "fsopen": "call(430, b'tmpfs', 0)",
    "mount_setattr": "call(442, -100, b'/proc/sys', 0, None, 0)",
    "unshare users": "call(272, 0x10000000)",
    "unshare mounts": "call(272, 0x00020000)",
    "setns": "call(308, 0, 0)",
    "init_module": "call(175, b'x', 1, b'')",
    "finit_module": "call(313, 0, b'', 0)",
    "delete_module": "call(176, b'overlay', 0)",
    "kexec_load": "call(246, 0, 0, None, 0)",
    "bpf": "call(321, 0, None, 0)",
    "perf_event_open": "call(298, None, 0, -1, -1, 0)",
    "userfaultfd": "call(323, 0)",
    "keyctl": "call(250, 0, 0, 0)",
    "open_by_handle_at": "call(304, -100, None, 0)",
    "iopl": "call(172, 3)",
    "reboot": "call(169, 0xfee1dead, 0x28121969, 0)",
    "settimeofday": "call(164, None, None)",
    "sethostname": "call(170, b'x', 1)",
    "swapon": "call(167, b'/tmp', 0)",
    "syslog": "call(103, 3, None, 0)",
    "quotactl": "call(179, 0, None, 0, None)",
    "nfsservctl": "call(180, 0, None, None)",
    "acct": "call(163, b'/tmp')",
}


@dataclass
class Attack:
    """A hostile pod and the node that it is on."""

    bench: Bench
    node: Node
    worker: PodWorker

    async def run(self, code: str) -> str:
        """What a Python program prints in the hostile container."""
        quoted = code.replace("'", "'\\''")
        return (await shell(self.node, self.worker, f"/python -I -S -c '{SYSTEM_CALL}{quoted}'")).strip()

    async def shell(self, script: str) -> str:
        return (await shell(self.node, self.worker, script)).strip()

    @property
    def user(self) -> int:
        """Who the hostile pod's root is on the node."""
        sandbox = self.worker.state.sandbox
        assert sandbox is not None and sandbox.users is not None
        return sandbox.users.first_id

    def outside(self, script: str) -> str:
        """What a shell prints that the container would have if it got out of all but its user."""
        done = subprocess.run(
            ["sh", "-c", script],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            user=self.user,
            group=self.user,
            extra_groups=[],
        )
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def python_layer() -> Any:
    with passable_directory() as directory:
        yield add_python(directory / "base")


@pytest.fixture
async def bench(python_layer: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    with passable_directory() as directory:
        monkeypatch.chdir(directory)
        async with running_bench(directory) as bench:
            shutil.copytree(python_layer, bench.layer.with_name("1"), symlinks=True, copy_function=os.link)
            yield bench


def node_of(bench: Bench) -> Node:
    """A node whose pods have real volumes and may run Python."""
    run_dir, data_dir = bench.directory / "run", bench.directory / "data"
    volumes = Volumes(data_dir / "pods", files_dir=run_dir / "volumes", node=NodeResources(1000, 1 << 30))
    return bench.node(volumes=volumes, images=PythonImage((bench.layer, bench.layer.with_name("1"))))


def waiting_process() -> subprocess.Popen[bytes]:
    """A process of the node's root that is there until it is killed."""
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


def text_of(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


async def add(node: Node, pod: dict[str, Any]) -> PodWorker:
    worker = node.add(pod)
    await node.reports.until(lambda: is_ready(worker))
    return worker


@pytest.fixture
async def attack(bench: Bench) -> Attack:
    node = node_of(bench)
    return Attack(bench, node, await add(node, pod_of("sleep 1000", name="hostile")))


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers of the system calls are those of x86-64")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
async def test_system_calls_of_the_nodes_root(attack: Attack, call: str) -> None:
    """What only the node's root may do is refused, whatever the arguments."""
    assert await attack.run(f"print({call})") in ("EPERM", "ENOSYS")


async def test_no_new_user_namespace(attack: Attack) -> None:
    """A container can't get more rights by a user namespace of its own: no clone makes one, clone3 does not exist."""
    assert await attack.run("print(call(56, 0x10000000 | 17, 0, 0, 0, 0), call(435, None, 0))") == "EPERM ENOSYS"


@pytest.mark.parametrize(("kind", "major", "minor"), [("b", 254, 0), ("b", 8, 0), ("c", 1, 1), ("c", 10, 200)])
async def test_no_device_node(attack: Attack, kind: str, major: int, minor: int) -> None:
    """Disks, memory and tunnels can't be had by making a node for them, although the capability is there."""
    script = f"grep -c 'CapEff.*8' /proc/self/status; mknod /dev/made {kind} {major} {minor}; ls /dev/made"
    printed = await attack.shell(script)
    assert "Operation not permitted" in printed
    assert "No such file" in printed


async def test_only_harmless_devices(attack: Attack) -> None:
    """The devices in a container are the ones that everybody may use."""
    listed = await attack.shell("cd /dev && find . -type b -o -type c | sort")
    allowed = {"./full", "./null", "./random", "./tty", "./urandom", "./zero", "./pts/ptmx", "./ptmx"}
    assert set(listed.split()) <= allowed


@pytest.mark.parametrize(
    "path",
    [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/panic",
        "/proc/sys/vm/panic_on_oom",
        "/proc/sysrq-trigger",
        "/sys/kernel/uevent_helper",
        "/sys/power/state",
        "/sys/module/overlay/parameters/metacopy",
        "/proc/1/oom_score_adj",
    ],
)
async def test_no_write_outside_of_the_root_file_system(attack: Attack, path: str) -> None:
    """Files of the kernel that reach the whole node can't be written; a process may not spare itself from the OOM."""
    before = text_of(path) if path.startswith("/proc/sys/") else ""
    text = "-1000" if path.endswith("adj") else "x"
    printed = await attack.shell(f"echo {text} > {path} && echo written")
    assert "written" not in printed
    assert not before or text_of(path) == before


async def test_no_way_up_from_the_root(attack: Attack) -> None:
    """Leaving the root by a change of root, which the container may make, ends at its own root."""
    code = """
import os
os.makedirs("/jail", exist_ok=True)
top = os.open("/", os.O_RDONLY)
os.chroot("/jail")
os.fchdir(top)
for _ in range(50): os.chdir("..")
os.chroot(".")
print(sorted(os.listdir("/"))[:3], os.path.exists("/var/tmp"))
"""
    assert await attack.run(code) == "['bin', 'dev', 'etc'] False"


async def test_no_write_to_cgroups(attack: Attack) -> None:
    """A container can neither write its limits, nor leave its cgroup, nor make another."""
    script = """
    cd /sys/fs/cgroup
    for file in $(find . -maxdepth 3 -name cgroup.procs -o -maxdepth 3 -name 'memory.*limit_in_bytes' \
        -o -maxdepth 3 -name memory.max -o -maxdepth 3 -name release_agent -o -maxdepth 3 -name devices.allow); do
        echo 1 > $file && echo written
    done
    for file in $(find . -name cgroup.procs); do mkdir ${file%/*}/made && echo written; done
    true
    """
    printed = await attack.shell(script)
    assert "written" not in printed
    assert "Read-only file system" in printed or "Permission denied" in printed


async def test_no_process_of_the_node(attack: Attack) -> None:
    """A container sees its own processes only, and can't signal, trace or read one of the node."""
    assert int(await attack.shell("ls /proc | grep -c '^[0-9]'")) < 10
    process = waiting_process()
    try:
        assert "No such process" in await attack.shell(f"kill -9 {process.pid}")
        assert await attack.run(f"print(call(101, 16, {process.pid}, 0, 0))") in ("ESRCH", "EPERM")
        assert "Operation not permitted" in attack.outside(f"kill -9 {process.pid}")
        assert "Permission denied" in attack.outside(f"cat /proc/{process.pid}/environ; cat /proc/{process.pid}/maps")
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


async def test_no_files_of_another_pod(attack: Attack) -> None:
    """Another pod's files are not there to be read, and a container that got out would be denied them."""
    spec = {"volumes": [{"name": "plain", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory"}}]}
    mounts = [{"name": "plain", "mountPath": "/plain"}, {"name": "memory", "mountPath": "/memory"}]
    script = "for each in / /plain /memory /dev/shm; do echo hush > $each/secret; done; sleep 1000"
    victim = await add(attack.node, pod_of(script, name="victim", spec=spec, volumeMounts=mounts))
    found = "find / -xdev -name secret; find /proc -maxdepth 3 -name root -exec ls {}/secret ';' 2>/dev/null"
    assert await attack.shell(found) == ""
    run = victim.state.container("main").record.run
    assert run is not None
    data = attack.bench.directory / "data"
    (data / "pods").chmod(0o700)
    places = [
        data / "rootfs" / run.id / "upper",
        data / "rootfs" / run.id / "merged",
        data / "pods/uid-victim/volumes/plain",
    ]
    for place in places:
        assert (place / "secret").read_text() == "hush\n"
        assert await attack.shell(f"cat {place}/secret 2>&1 | grep -c 'No such file'") == "1"
        assert "Permission denied" in attack.outside(f"cat {place}/secret")
    inside = Path(f"/proc/{pid_of(attack.node, victim)}/root/secret")
    assert "Permission denied" in attack.outside(f"cat {inside}")


async def test_the_agents_sockets_are_out_of_reach(attack: Attack) -> None:
    """Neither from inside nor with the container's user can anything be had of what the agent keeps for containers."""
    bundles = attack.bench.directory / "run/private/bundles"
    bundles.parent.chmod(0o700)
    run = attack.worker.state.container("main").record.run
    assert run is not None
    state = attack.node.containers.runtimes.default.root / run.id
    for path in (bundles / run.id / "attach", bundles / run.id / "ctl", state):
        assert path.exists()
        assert "No such file" in await attack.shell(f"ls {path}")
        assert "Permission denied" in attack.outside(f"ls {path}")
    assert await attack.shell("cat /proc/net/unix | grep -c @") in ("0", "1")


async def test_root_is_nobody_on_the_node(attack: Attack) -> None:
    """With the container's user nothing of the node can be written, and nothing private be read."""
    assert attack.outside("id -u; id -G") == f"{attack.user}\n{attack.user}\n"
    assert "Permission denied" in attack.outside("cat /etc/shadow")
    assert "Permission denied" in attack.outside("echo >/etc/passwd")
    assert "Permission denied" in attack.outside("echo >/etc/made")
    assert "Operation not permitted" in attack.outside("chown 0 /tmp; mount -t tmpfs none /mnt 2>&1 || id")


async def test_a_program_that_would_raise_privileges(attack: Attack) -> None:
    """A set-user-id program that a container leaves behind is not the node's root's, and raises nothing inside."""
    await attack.shell("cp /bin/busybox /raise; chmod 4755 /raise")
    run = attack.worker.state.container("main").record.run
    assert run is not None
    left = (attack.bench.directory / "data/rootfs" / run.id / "upper" / "raise").stat()
    assert (left.st_uid, left.st_mode & 0o4000) == (attack.user, 0o4000)
    assert await attack.shell("grep NoNewPrivs /proc/self/status") == "NoNewPrivs:\t1"


async def test_memory_beyond_the_limit(bench: Bench) -> None:
    """Memory beyond the limit ends the container, also memory in files of its own and of the pod."""
    node = node_of(bench)
    script = "dd if=/dev/zero of=/dev/shm/big bs=1M count=50; exec tail /dev/zero"
    limits = {"limits": {"memory": "32Mi"}}
    worker = node.add(pod_of(script, spec={"restartPolicy": "Never"}, resources=limits))
    await node.reports.until(lambda: "terminated" in main_status(worker)["state"])
    assert main_status(worker)["state"]["terminated"]["reason"] == "OOMKilled"


async def stats_of(bench: Bench, worker: PodWorker) -> CgroupStats:
    run = worker.state.container("main").record.run
    assert run is not None
    return bench.cgroups.read_stats(bench.cgroups.container_path(worker.pod["metadata"]["uid"], run.id))


async def test_processes_beyond_the_limit(bench: Bench) -> None:
    """A fork bomb fills its own pod's share of processes and no more."""
    node = node_of(bench)
    worker = await add(node, pod_of("(while :; do sleep 1000 & done) 2>/dev/null; sleep 1000"))
    cgroup = bench.cgroups.container_path("uid-web", worker.state.container("main").record.run.id)  # type: ignore[union-attr]
    await node.reports.until(lambda: len(bench.cgroups.processes(cgroup)) > 1000)
    assert len(bench.cgroups.processes(cgroup)) <= 1024


async def test_processor_time_beyond_the_limit(bench: Bench) -> None:
    """Four busy loops get no more of the processors than the limit says."""
    node = node_of(bench)
    script = "for i in 1 2 3 4; do while :; do :; done & done; wait"
    worker = await add(node, pod_of(script, resources={"limits": {"cpu": "200m"}}))
    before, began = await stats_of(bench, worker), os.times().elapsed
    await node.reports.until(lambda: os.times().elapsed - began > 2)
    used_s = ((await stats_of(bench, worker)).cpu_usage_ns - before.cpu_usage_ns) / 1e9 / (os.times().elapsed - began)
    assert used_s < 0.3


async def test_a_link_out_of_a_volume(bench: Bench) -> None:
    """A container that puts a link into a volume does not make another mount what the link names by a subPath."""
    node = node_of(bench)
    second: dict[str, Any] = {"name": "second", "image": "busybox", "command": ["sleep", "1000"]}
    second["volumeMounts"] = [{"name": "plain", "mountPath": "/stolen", "subPath": "way"}]
    first: dict[str, Any] = {"name": "first", "image": "busybox", "command": ["ln", "-s", "/etc", "/plain/way"]}
    first["volumeMounts"] = [{"name": "plain", "mountPath": "/plain"}]
    pod = pod_of("sleep 1000", spec={"volumes": [{"name": "plain", "emptyDir": {}}], "initContainers": [first]})
    pod["spec"]["containers"].append(second)
    worker = node.add(pod)
    await node.reports.until(lambda: any("leads out of its volume" in event.message for event in node.reports.events))
    await node.reports.until(lambda: worker.state.container("second").record.waiting)
    record = worker.state.container("second").record
    assert record.run is None and record.waiting is not None
    assert record.waiting.reason == "CreateContainerConfigError"


def test_a_link_put_in_while_it_is_looked_at(tmp_path: Path) -> None:
    """However often a directory and a link take turns, what a subPath leads to is always in its volume."""
    volume, outside = tmp_path / "volume", tmp_path / "outside"
    (volume / "way" / "deep").mkdir(parents=True)
    (outside / "deep").mkdir(parents=True)
    (volume / "link").symlink_to("../outside")
    exchange = ctypes.CDLL(None).renameat2
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            assert exchange(_HERE, os.fsencode(volume / "way"), _HERE, os.fsencode(volume / "link"), _EXCHANGE) == 0

    thread = threading.Thread(target=swap)
    thread.start()
    led = set()
    try:
        for _ in range(3000):
            try:
                descriptor = open_subpath(volume, "way/deep")
            except (VolumeError, OSError):
                continue
            led.add(Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(volume))
            os.close(descriptor)
    finally:
        over.set()
        thread.join()
    assert led == {True}


@pytest.mark.parametrize("name", ["passwd", "group"])
async def test_an_image_whose_users_are_the_nodes(bench: Bench, name: str) -> None:
    """An image whose user files are links to the node's does not make the agent read those."""
    (bench.layer / "etc" / name).symlink_to(f"/../../../../../../../../etc/{name}")
    node = node_of(bench)
    context = {"runAsUser": 33} if name == "passwd" else {}
    worker = await add(node, pod_of("sleep 1000", securityContext=context))
    assert "/var/www" not in await shell(node, worker, "echo $HOME")


@pytest.mark.parametrize("path", ["proc", "sys", "dev"])
async def test_an_image_that_has_a_link_for_a_system_directory(bench: Bench, path: str) -> None:
    """What is mounted for an image's own link lands in the container's root, or the container does not start."""
    target = bench.directory / "outside"
    target.mkdir()
    shutil.rmtree(bench.layer / path)
    (bench.layer / path).symlink_to(f"../../../../../../../../..{target}")
    node = node_of(bench)
    worker = node.add(pod_of("sleep 1000"))
    await node.reports.until(lambda: is_ready(worker) or any(each.type == "Warning" for each in node.reports.events))
    assert list(target.iterdir()) == []
    assert str(target) not in text_of("/proc/self/mountinfo")


async def test_an_image_that_has_a_link_where_a_volume_goes(bench: Bench) -> None:
    """A volume mounted at a link of the image is mounted inside, and nothing is written where the link points."""
    target = bench.directory / "outside"
    target.mkdir()
    (bench.layer / "data").symlink_to(f"../../../../../..{target}")
    node = node_of(bench)
    spec = {"volumes": [{"name": "plain", "emptyDir": {}}]}
    pod = pod_of("echo x > /data/made; sleep 1000", spec=spec, volumeMounts=[{"name": "plain", "mountPath": "/data"}])
    worker = await add(node, pod)
    assert await shell(node, worker, "cat /data/made") == "x\n"
    assert list(target.iterdir()) == []
