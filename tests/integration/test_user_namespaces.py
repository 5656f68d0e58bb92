"""Pods with users of their own, on a real kernel and a real runtime: what is inside, and what is outside."""

from __future__ import annotations

import base64
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from nodeagent.isolation.ranges import FIRST_ID, RANGE_SIZE
from nodeagent.leftovers import Claims, clear_node
from nodeagent.pod_worker import PodWorker
from nodeagent.volumes.fields import NodeResources
from nodeagent.volumes.volumes import Volumes
from tests.directories import passable_directory
from tests.integration.agent_lab import (
    Bench,
    Node,
    NoVolumes,
    deleted,
    is_ready,
    main_status,
    pid_of,
    pod_of,
    running_bench,
    shell,
)

pytestmark = pytest.mark.root

FSGROUP = {"securityContext": {"fsGroup": 2000}}


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    with passable_directory() as directory:
        monkeypatch.chdir(directory)
        async with running_bench(directory) as bench:
            yield bench


class Objects:
    """One ConfigMap, which changes, and one Secret."""

    def __init__(self) -> None:
        self.color = "red"

    def config_map(self, namespace: str, name: str) -> dict[str, Any] | None:
        return {"data": {"color": self.color}}

    def secret(self, namespace: str, name: str) -> dict[str, Any] | None:
        return {"data": {"password": base64.b64encode(b"hush").decode()}}

    def claim(self, namespace: str, name: str) -> dict[str, Any] | None:
        return None

    def volume(self, name: str) -> dict[str, Any] | None:
        return None


def with_volumes(bench: Bench, **arguments: Any) -> tuple[Node, Objects]:
    """A node whose pods have real volumes."""
    run_dir, data_dir, objects = bench.directory / "run", bench.directory / "data", Objects()
    volumes = Volumes(data_dir / "pods", files_dir=run_dir / "volumes", node=NodeResources(1000, 1 << 30))
    return bench.node(volumes=volumes, objects=objects, **arguments), objects


async def ready(node: Node, pod: dict[str, Any]) -> PodWorker:
    worker = node.add(pod)
    await node.reports.until(lambda: is_ready(worker))
    return worker


def first_id(worker: PodWorker) -> int:
    """Which id of the node the pod's root is; 0 for the node's own."""
    sandbox = worker.state.sandbox
    assert sandbox is not None
    return sandbox.users.first_id if sandbox.users else 0


def text_of(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def user_of(pid: int) -> int:
    """The node's id of the user that a process runs as."""
    return Path(f"/proc/{pid}").stat().st_uid


def user_namespace_of(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/user").readlink())


def warnings(node: Node) -> list[str]:
    return [event.message for event in node.reports.events if event.type == "Warning"]


def upper(bench: Bench, worker: PodWorker) -> Path:
    """Where the files are that the pod's container has written."""
    run = worker.state.container("main").record.run
    assert run is not None
    return bench.directory / "data/rootfs" / run.id / "upper"


async def test_root_inside_is_nobody_outside(bench: Bench) -> None:
    """A container's root is an id of a range that nobody else has on the node, and so are the files it makes."""
    node = bench.node()
    worker = await ready(node, pod_of("touch /made; sleep 1000"))
    first = first_id(worker)
    assert FIRST_ID <= first < 1 << 31
    pid = pid_of(node, worker)
    assert text_of(f"/proc/{pid}/uid_map").split() == ["0", str(first), str(RANGE_SIZE)]
    assert text_of(f"/proc/{pid}/gid_map").split() == ["0", str(first), str(RANGE_SIZE)]
    assert user_of(pid) == first
    made = upper(bench, worker) / "made"
    await node.reports.until(made.exists)
    assert (made.stat().st_uid, made.stat().st_gid) == (first, first)
    assert await shell(node, worker, "id -u; stat -c %u /made") == "0\n0\n"


async def test_pods_have_ranges_of_their_own_and_containers_share_them(bench: Bench) -> None:
    """Two pods never have an id in common; the containers of one pod are in one user namespace."""
    node = bench.node()
    second = {"name": "second", "image": "busybox", "command": ["sleep", "1000"]}
    one = pod_of("sleep 1000", name="one")
    one["spec"]["containers"].append(second)
    workers = [await ready(node, one), await ready(node, pod_of("sleep 1000", name="other"))]
    assert abs(first_id(workers[0]) - first_id(workers[1])) >= RANGE_SIZE
    runs = [workers[0].state.container(name).record.run for name in ("main", "second")]
    namespaces = {user_namespace_of(run.process.pid) for run in runs if run and run.process}
    assert len(namespaces) == 1
    assert namespaces != {user_namespace_of(os.getpid())}


async def test_layers_stay_shared_and_keep_their_owners(bench: Bench) -> None:
    """Owners in an image are the container's, also of what it changes, and the layer on disk is not touched."""
    owned = bench.layer / "home" / "file"
    owned.parent.mkdir()
    owned.write_text("from the image")
    os.chown(owned, 1000, 1001)
    os.chown(owned.parent, 1000, 1001)
    node = bench.node()
    worker = await ready(node, pod_of("sleep 1000"))
    script = "stat -c %u:%g /home/file /bin/busybox; echo more >>/home/file; stat -c %u:%g /home/file"
    assert await shell(node, worker, script) == "1000:1001\n0:0\n1000:1001\n"
    first = first_id(worker)
    copied, kept = (upper(bench, worker) / "home" / "file").stat(), owned.stat()
    assert (copied.st_uid, copied.st_gid) == (first + 1000, first + 1001)
    assert (kept.st_uid, kept.st_gid, owned.read_text()) == (1000, 1001, "from the image")


async def test_other_users_of_the_image(bench: Bench) -> None:
    """A container that does not run as root writes as itself, and can't write what is root's."""
    node = bench.node()
    worker = await ready(node, pod_of("sleep 1000", securityContext={"runAsUser": 1234, "runAsGroup": 99}))
    printed = await shell(node, worker, "id -u; id -g; touch /x; echo said >/dev/stdout")
    assert set(printed.splitlines()) == {"1234", "99", "touch: /x: Permission denied", "said"}
    assert user_of(pid_of(node, worker)) == first_id(worker) + 1234


async def test_a_restarted_agent_keeps_the_range(bench: Bench) -> None:
    """The next agent restarts a container in the same user namespace and gives the range to no one else."""
    node = bench.node()
    worker = await ready(node, pod_of("sleep 1000"))
    first, namespace = first_id(worker), user_namespace_of(pid_of(node, worker))
    await node.stop()
    second = bench.node()
    [adopted] = second.resume()
    other = await ready(second, pod_of("sleep 1000", name="other"))
    os.kill(pid_of(second, adopted), signal.SIGKILL)
    await second.reports.until(lambda: main_status(adopted)["restartCount"] == 1 and is_ready(adopted))
    assert first_id(adopted) == first != first_id(other)
    assert user_namespace_of(pid_of(second, adopted)) == namespace


async def test_a_restarted_agent_gives_new_pods_users_too(bench: Bench) -> None:
    """What running pods have mounted below the node's directories says nothing against users of a new pod's own."""
    first = bench.node()
    await ready(first, pod_of("sleep 1000"))
    await first.stop()
    second = bench.node()
    worker = await ready(second, pod_of("sleep 1000", name="later"))
    assert first_id(worker) and warnings(second) == []


async def test_volumes_have_the_owners_that_the_container_sees(bench: Bench) -> None:
    """Files of objects are root's and the fsGroup's, what is written has container ids on disk, updates arrive."""
    node, objects = with_volumes(bench)
    names = ("config", "secret", "projected", "plain", "memory")
    sources: list[dict[str, Any]] = [
        {"configMap": {"name": "settings"}},
        {"secret": {"secretName": "login", "defaultMode": 0o400}},
        {"projected": {"sources": [{"downwardAPI": {"items": [{"path": "name", "fieldRef": NAME}]}}]}},
        {"emptyDir": {}},
        {"emptyDir": {"medium": "Memory"}},
    ]
    volumes = [{"name": name, **source} for name, source in zip(names, sources, strict=True)]
    spec = {**FSGROUP, "volumes": volumes}
    mounts = [{"name": name, "mountPath": f"/v/{name}"} for name in names]
    user = {"runAsUser": 1000, "runAsGroup": 1000}
    worker = await ready(node, pod_of("sleep 1000", spec=spec, volumeMounts=mounts, securityContext=user))
    assert first_id(worker) and not warnings(node)
    listing = await shell(node, worker, "cd /v; stat -L -c '%u:%g %a %n' */color */password */name plain memory")
    assert listing.splitlines() == [
        "0:2000 644 config/color",
        "0:2000 440 secret/password",
        "0:2000 644 projected/name",
        "0:2000 2777 plain",
        "0:2000 2777 memory",
    ]
    written = "cat /v/secret/password; for each in plain memory; do touch /v/$each/f; stat -c %u:%g /v/$each/f; done"
    assert await shell(node, worker, written) == "hush1000:2000\n1000:2000\n"
    for name in ("plain", "memory"):
        status = (bench.directory / "data/pods/uid-web/volumes" / name / "f").stat()
        assert (status.st_uid, status.st_gid) == (1000, 2000)
    objects.color = "blue"
    worker.objects_changed()
    while await shell(node, worker, "cat /v/config/color") != "blue":
        pass


NAME = {"fieldPath": "metadata.name"}


async def test_subpaths_are_mapped_too(bench: Bench) -> None:
    """A directory and a file at a subPath are the container's, a missing directory is made as its root's."""
    node, _ = with_volumes(bench)
    volumes = [{"name": "config", "configMap": {"name": "settings"}}, {"name": "plain", "emptyDir": {}}]
    mounts = [
        {"name": "config", "mountPath": "/etc/color", "subPath": "color"},
        {"name": "plain", "mountPath": "/deep", "subPath": "a/b"},
    ]
    worker = await ready(node, pod_of("sleep 1000", spec={"volumes": volumes}, volumeMounts=mounts))
    script = "cat /etc/color; stat -c ' %u:%g %a' /deep; touch /deep/f; stat -c %u /deep/f"
    assert await shell(node, worker, script) == "red 0:0 777\n0\n"
    assert (bench.directory / "data/pods/uid-web/volumes/plain/a/b/f").stat().st_uid == 0


async def test_what_every_container_has(bench: Bench) -> None:
    """Root owns /etc/hosts, shared memory is the pod's, last words and output by name arrive, /sys shows the pod."""
    node = bench.node()
    second = {"name": "second", "image": "busybox", "command": ["sleep", "1000"]}
    script = "echo hello >/dev/stdout; echo oops >/dev/stderr; echo bye >/dev/termination-log; sleep 1000"
    pod = pod_of(script)
    pod["spec"]["containers"].append(second)
    worker = await ready(node, pod)
    log = node.context.starter.log_path(worker.pod, "main", 0)
    await node.reports.until(lambda: "stdout F hello" in log.read_text() and "stderr F oops" in log.read_text())
    printed = await shell(node, worker, "echo 1.2.3.4 x >>/etc/hosts && tail -n 1 /etc/hosts; echo held >/dev/shm/f")
    assert printed == "1.2.3.4 x\n"
    assert await shell(node, worker, "cat /dev/shm/f; stat -c %u /dev/shm", container="second") == "held\n0\n"
    assert await shell(node, worker, "ls /sys/class/net; ls /proc/1/ns | wc -l") == "lo\n10\n"
    os.kill(pid_of(node, worker), signal.SIGTERM)
    worker.update(deleted(worker.pod))
    await node.reports.until(lambda: "terminated" in main_status(worker)["state"])
    assert main_status(worker)["state"]["terminated"]["message"] == "bye\n"


async def test_probes_and_memory_limits(bench: Bench) -> None:
    """A probe's command runs among the pod's users; a container over its memory limit is OOMKilled."""
    node = bench.node()
    probe = {"exec": {"command": ["sh", "-c", "test $(id -u) = 0 && touch /probed"]}, "periodSeconds": 1}
    script = "while ! test -e /probed; do sleep 0.1; done; exec tail /dev/zero"
    limits = {"limits": {"memory": "32Mi"}}
    spec = {"restartPolicy": "Never"}
    worker = node.add(pod_of(script, spec=spec, readinessProbe=probe, resources=limits))
    await node.reports.until(lambda: "terminated" in main_status(worker)["state"])
    assert first_id(worker)
    assert main_status(worker)["state"]["terminated"]["reason"] == "OOMKilled"


async def test_the_pod_and_the_node_can_say_no(bench: Bench) -> None:
    """``hostUsers: true`` and a node told to do without give a pod the node's users, without a warning."""
    node = bench.node()
    assert first_id(await ready(node, pod_of("sleep 1000", name="a", spec={"hostUsers": True}))) == 0
    off = bench.node(user_namespaces="off")
    assert first_id(await ready(off, pod_of("sleep 1000", name="b"))) == 0
    assert warnings(node) + warnings(off) == []


async def test_demanded_and_not_to_be_had(bench: Bench) -> None:
    """A pod that demands users of its own where there are none does not start, and an event says why."""
    node = bench.node(user_namespaces="off")
    worker = node.add(pod_of("sleep 1000", spec={"hostUsers": False}))
    await node.reports.until(lambda: warnings(node))
    event = node.reports.events[0]
    assert event.reason == "FailedCreatePodSandBox"
    assert event.message.endswith("(hostUsers: false): user namespaces are turned off on this node")
    assert worker.status["phase"] == "Pending"
    assert node.containers.known() == set()


class ProcVolumes(NoVolumes):
    """A volume on a file system whose owners can't be translated."""

    def prepare(self, pod: dict[str, Any], objects: object) -> dict[str, Path]:
        return {"data": Path("/proc/sys")}


async def test_a_file_system_that_can_not(bench: Bench) -> None:
    """A pod with a volume that can't be had by its users runs with the node's, and an event says which and why."""
    node = bench.node(volumes=ProcVolumes())
    assert first_id(await ready(node, pod_of("sleep 1000", spec={"volumes": [{"name": "data"}]}))) == 0
    [warning] = warnings(node)
    assert warning.startswith("The pod's users are the node's: volume \"data\": kernel ")
    assert warning.endswith("can't translate owners in the file system of /proc/sys")


async def test_a_directory_that_nobody_may_pass(bench: Bench) -> None:
    """Where the way to the root file systems is closed to other users, pods run with the node's and are told."""
    bench.directory.chmod(0o700)
    node = bench.node()
    assert first_id(await ready(node, pod_of("sleep 1000"))) == 0
    expected = f"directory {bench.directory} can't be passed by other users (chmod o+x)"
    assert warnings(node) == [f"The pod's users are the node's: {expected}"]


@pytest.mark.parametrize("field", ["runAsUser", "runAsGroup"])
async def test_ids_that_no_range_holds(bench: Bench, field: str) -> None:
    """A pod that asks for an id over 65535 gets it, on the node, with a warning."""
    node = bench.node()
    worker = await ready(node, pod_of("sleep 1000", securityContext={field: 1000680000}))
    assert first_id(worker) == 0
    flag = "-u" if field == "runAsUser" else "-g"
    assert await shell(node, worker, f"id {flag}") == "1000680000\n"
    assert warnings(node) == [f"The pod's users are the node's: {field} 1000680000 is not below 65536"]


async def test_paths_of_the_node_by_demand(bench: Bench) -> None:
    """A pod that demands users of its own has them with a hostPath too, whose owners are then the container's."""
    node, _ = with_volumes(bench)
    shared = bench.directory / "shared"
    shared.mkdir()
    (shared / "of-user").touch()
    os.chown(shared / "of-user", 1000, 1000)
    spec = {"hostUsers": False, "volumes": [{"name": "node", "hostPath": {"path": str(shared)}}]}
    worker = await ready(node, pod_of("sleep 1000", spec=spec, volumeMounts=[{"name": "node", "mountPath": "/node"}]))
    assert first_id(worker)
    assert await shell(node, worker, "touch /node/made; stat -c %u /node/of-user /node/made") == "1000\n0\n"
    assert (shared / "made").stat().st_uid == 0


async def test_nothing_is_left(bench: Bench) -> None:
    """While a pod runs only its root file system and its namespaces are mounted; after it, nothing is."""
    node, _ = with_volumes(bench)
    spec = {"volumes": [{"name": "config", "configMap": {"name": "settings"}}, {"name": "plain", "emptyDir": {}}]}
    mounts = [
        {"name": "config", "mountPath": "/config"},
        {"name": "plain", "mountPath": "/plain", "subPath": "below"},
    ]

    def mounted() -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        points = [line.split()[4].partition(f"{bench.directory}/")[2] for line in lines]
        return sorted(filter(None, points))

    worker = await ready(node, pod_of("sleep 1000", spec=spec, volumeMounts=mounts))
    kinds = [point.partition("/")[2].split("/")[0] for point in mounted()]
    assert kinds == ["rootfs", "netns", "userns", "volumes"]
    worker.update(deleted(worker.pod, 0))
    await node.reports.until(lambda: worker.over)
    assert mounted() == ["run/volumes"]
    assert list((bench.directory / "run/userns").iterdir()) == []


async def test_mounts_of_a_start_that_was_cut_off(bench: Bench) -> None:
    """What an agent that died while it started a container had mounted for that is gone after the next one's start."""
    node, _ = with_volumes(bench)
    spec = {"volumes": [{"name": "plain", "emptyDir": {}}]}
    worker = await ready(node, pod_of("sleep 1000", spec=spec))
    users = worker.state.sandbox.users if worker.state.sandbox else None
    place = node.context.sandboxes.binds("uid-web", "half", users).place(bench.directory / "data/pods")
    assert str(place) in text_of("/proc/self/mountinfo")
    await node.stop()
    second, _ = with_volumes(bench)
    context = second.context
    clear: Callable[..., None] = clear_node
    clear(
        Claims.of(context.store.load()),
        data_dir=bench.directory / "data",
        store=context.store,
        cgroups=context.cgroups,
        sandboxes=context.sandboxes,
        volumes=NoVolumes(),
        network=None,
    )
    assert not place.exists()
    [adopted] = second.resume()
    await second.reports.until(lambda: is_ready(adopted))
