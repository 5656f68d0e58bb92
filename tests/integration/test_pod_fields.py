"""What a pod's spec says of its containers' world, seen from inside on a real runtime."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from flotilla.api.objects import KubeObject, encode
from nodeagent.assigned import CONFIG_MAPS, SECRETS, Assignments, Held, Moment, ObjectKey
from nodeagent.pod_environment import PodEnvironment
from nodeagent.pod_worker import PodWorker
from nodeagent.runtime.processes import lowest_oom_score
from nodeagent.volumes.fields import NodeResources
from tests.directories import passable_directory
from tests.integration.agent_lab import Bench, Node, is_ready, main_status, pid_of, pod_of, running_bench, shell

pytestmark = pytest.mark.root


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    with passable_directory() as directory:
        monkeypatch.chdir(directory)
        async with running_bench(directory) as bench:
            (bench.layer / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nweb:x:1000:1000::/srv:/bin/sh\n")
            (bench.layer / "etc/group").write_text("web:x:1000:\nextra:x:5000:web\n")
            yield bench


async def ready(node: Node, pod: KubeObject) -> PodWorker:
    worker = node.add(pod)
    await node.reports.until(lambda: is_ready(worker))
    return worker


async def status_fields(node: Node, worker: PodWorker) -> dict[str, str]:
    """/proc/self/status of the container's first process."""
    return dict(line.split(":\t", 1) for line in (await shell(node, worker, "cat /proc/1/status")).splitlines())


async def refusal(node: Node, pod: KubeObject) -> tuple[str, str]:
    """Reason and message of a container that can't be made."""
    worker = node.add(pod)
    await node.reports.until(lambda: "Create" in main_status(worker)["state"].get("waiting", {}).get("reason", ""))
    waiting = main_status(worker)["state"]["waiting"]
    return waiting["reason"], waiting["message"]


def assigned() -> Assignments:
    """A ConfigMap ``settings`` and a Secret ``keys``."""
    objects = {
        (CONFIG_MAPS, "settings"): {"data": {"COLOR": "red", "not a name": "x"}},
        (SECRETS, "keys"): {"data": {"TOKEN": base64.b64encode(b"hush").decode()}},
    }
    held = {
        ObjectKey(kind, "default", name): Held(1, encode({"metadata": {"name": name, "namespace": "default"}, **data}))
        for (kind, name), data in objects.items()
    }
    return Assignments.restored(Moment("h", 1), held)


def environment_pod() -> KubeObject:
    """A pod whose variables come from everywhere."""

    def field(name: str, path: str) -> dict[str, Any]:
        return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}

    def amount(name: str, resource: str, divisor: str) -> dict[str, Any]:
        selector = {"resource": resource, "divisor": divisor}
        return {"name": name, "valueFrom": {"resourceFieldRef": selector}}

    pod = pod_of(
        "",
        env=[
            {"name": "PLAIN", "value": "a"},
            {"name": "TWICE", "value": "$(PLAIN)-$(P_COLOR)-$$(PLAIN)-$(NOPE)"},
            {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "TOKEN"}}},
            {"name": "ABSENT", "valueFrom": {"configMapKeyRef": {"name": "gone", "key": "k", "optional": True}}},
            field("NAME", "metadata.name"),
            field("NAMESPACE", "metadata.namespace"),
            field("UID_", "metadata.uid"),
            field("LABEL", "metadata.labels['app']"),
            field("NOTE", "metadata.annotations['note']"),
            field("NODE", "spec.nodeName"),
            field("ACCOUNT", "spec.serviceAccountName"),
            field("HOST_IP", "status.hostIP"),
            field("HOST_IPS", "status.hostIPs"),
            field("POD_IP", "status.podIP"),
            field("POD_IPS", "status.podIPs"),
            amount("CPU", "limits.cpu", "1m"),
            amount("REQUEST", "requests.memory", "1Mi"),
            amount("NODES", "limits.memory", "1Mi"),
        ],
    )
    container = pod["spec"]["containers"][0]
    container |= {
        "command": ["sh", "-c"],
        "args": ["echo '$(TWICE)' > /tmp/args; exec sleep 1000"],
        "workingDir": "/tmp",
        "resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "3Mi"}},
        "envFrom": [
            {"prefix": "P_", "configMapRef": {"name": "settings"}},
            {"secretRef": {"name": "gone", "optional": True}},
        ],
    }
    pod["metadata"] |= {"labels": {"app": "shop"}, "annotations": {"note": "hello"}}
    pod["spec"]["nodeName"] = "n1"
    return pod


async def test_the_environment(bench: Bench) -> None:
    """Sources, references, the downward API and expansion all reach command line and environment."""
    assignments = assigned()
    node = bench.node(objects=assignments, environment=PodEnvironment(assignments, NodeResources(2000, 1 << 30)))

    worker = await ready(node, environment_pod())
    shown = dict(line.split("=", 1) for line in (await shell(node, worker, "env")).splitlines())
    sandbox = worker.state.sandbox
    assert sandbox is not None
    wanted = {
        "PLAIN": "a",
        "TWICE": "a-red-$(PLAIN)-$(NOPE)",
        "P_COLOR": "red",
        "SECRET": "hush",
        "NAME": "web",
        "NAMESPACE": "default",
        "UID_": "uid-web",
        "LABEL": "shop",
        "NOTE": "hello",
        "NODE": "n1",
        "ACCOUNT": "default",
        "HOST_IP": "127.0.0.1",
        "HOST_IPS": "127.0.0.1",
        "POD_IP": sandbox.ip,
        "POD_IPS": sandbox.ip,
        "CPU": "1500",
        "REQUEST": "3",
        "NODES": "1024",
        "HOSTNAME": "web",
    }
    assert {name: shown.get(name) for name in wanted} == wanted
    assert "ABSENT" not in shown and not any(name.startswith("P_not") for name in shown)
    assert await shell(node, worker, "pwd; cat /tmp/args") == "/tmp\na-red-$(PLAIN)-$(NOPE)\n"


async def test_users_and_groups(bench: Bench) -> None:
    """Ids of pod and container, the image's groups by policy, and root refused where it is not wanted."""
    node = bench.node()
    context = {"runAsUser": 1000, "runAsGroup": 3000, "supplementalGroups": [4000], "fsGroup": 2000}
    merged = await ready(node, pod_of("sleep 1000", spec={"securityContext": context}))
    assert (await shell(node, merged, "id -u; id -g; id -G")).split() == [
        "1000",
        "3000",
        "3000",
        "2000",
        "4000",
        "5000",
    ]
    strict = pod_of("sleep 1000", name="strict", securityContext={"runAsUser": 1000, "runAsGroup": 3001})
    strict["spec"]["securityContext"] = {**context, "supplementalGroupsPolicy": "Strict"}
    worker = await ready(node, strict)
    assert (await shell(node, worker, "id -G")).split() == ["3001", "2000", "4000"]
    root = pod_of("true", name="root", spec={"securityContext": {"runAsNonRoot": True}})
    whose = '(pod: "{0}_default(uid-{0})", container: main)'
    reason = "CreateContainerConfigError"
    message = f"container has runAsNonRoot and image will run as root {whose.format('root')}"
    assert await refusal(node, root) == (reason, message)
    asked = pod_of("true", name="asked", securityContext={"runAsNonRoot": True, "runAsUser": 0})
    message = f"container's runAsUser breaks non-root policy {whose.format('asked')}"
    assert await refusal(node, asked) == (reason, message)


async def test_privileges(bench: Bench) -> None:
    """Capabilities, escalation, the root file system and privileged containers, as the kernel shows them."""
    node = bench.node()
    few = {"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}, "readOnlyRootFilesystem": True}
    worker = await ready(node, pod_of("sleep 1000", securityContext=few))
    fields = await status_fields(node, worker)
    assert (fields["CapBnd"], fields["CapEff"], fields["NoNewPrivs"]) == (*["0000000000000400"] * 2, "1")
    assert "Read-only file system" in await shell(node, worker, "touch /tmp/x 2>&1; true")
    more = {"capabilities": {"add": ["SYS_TIME"], "drop": ["CHOWN"]}, "allowPrivilegeEscalation": True}
    worker = await ready(node, pod_of("sleep 1000", name="more", securityContext=more))
    fields = await status_fields(node, worker)
    assert (int(fields["CapEff"], 16) >> 25 & 1, int(fields["CapEff"], 16) & 1, fields["NoNewPrivs"]) == (1, 0, "0")
    worker = await ready(node, pod_of("sleep 1000", name="all", securityContext={"privileged": True}))
    fields = await status_fields(node, worker)
    own = dict(line.split(":\t", 1) for line in text_of("/proc/self/status").splitlines())
    assert (fields["CapEff"], fields["Seccomp"]) == (own["CapBnd"], "0")
    assert await shell(
        node, worker, "test -c /dev/fuse || test -c /dev/kmsg; mount -t tmpfs none /tmp && echo mounted"
    ) == ("mounted\n")


def text_of(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def profile_on(node: Node, name: str, *refused: str) -> None:
    """A seccomp profile of the node's administrator."""
    rules = [{"names": list(refused), "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]
    (node.data_dir / name).write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))


async def test_seccomp(bench: Bench) -> None:
    """The default filter, none, and one of the node's own; one that is not there is named."""
    node = bench.node()
    profile_on(node, "no-mkdir.json", "mkdir", "mkdirat")
    for number, (profile, mode) in enumerate([(None, "2"), ("RuntimeDefault", "2"), ("Unconfined", "0")]):
        context = {"seccompProfile": {"type": profile}} if profile else {}
        worker = await ready(node, pod_of("sleep 1000", name=f"p{number}", spec={"securityContext": context}))
        assert (await status_fields(node, worker))["Seccomp"] == mode
    own = {"seccompProfile": {"type": "Localhost", "localhostProfile": "no-mkdir.json"}}
    worker = await ready(node, pod_of("sleep 1000", name="own", securityContext=own))
    assert "not permitted" in await shell(node, worker, "mkdir /tmp/x 2>&1; true")
    gone = {"seccompProfile": {"type": "Localhost", "localhostProfile": "gone.json"}}
    reason, message = await refusal(node, pod_of("true", name="gone", securityContext=gone))
    assert reason == "CreateContainerConfigError" and "cannot load seccomp profile 'gone.json'" in message


@pytest.mark.parametrize("host_users", [None, True])
async def test_sysctls(bench: Bench, host_users: bool | None) -> None:
    """Settings are the pod's own, with users of its own and without; the node's stay."""
    sysctls = [
        {"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"},
        {"name": "kernel/shm_rmid_forced", "value": "1"},
    ]
    node = bench.node()
    before = text_of("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    spec = {"securityContext": {"sysctls": sysctls}, "hostUsers": host_users}
    worker = await ready(node, pod_of("sleep 1000", spec=spec))
    files = "/proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced"
    assert await shell(node, worker, f"cat {files}") == "80\n1\n"
    assert text_of("/proc/sys/net/ipv4/ip_unprivileged_port_start") == before


async def test_names(bench: Bench) -> None:
    """Host name, domain, aliases and resolver are what the spec says, and the node's on the node's network."""
    node = bench.node()
    spec = {
        "hostname": "db",
        "subdomain": "data",
        "setHostnameAsFQDN": True,
        "hostAliases": [{"ip": "192.0.2.7", "hostnames": ["one.example", "two.example"]}],
        "dnsPolicy": "None",
        "dnsConfig": {
            "nameservers": ["192.0.2.1"],
            "searches": ["example"],
            "options": [{"name": "ndots", "value": "2"}],
        },
    }
    worker = await ready(node, pod_of("sleep 1000", spec=spec))
    name = "db.data.default.svc.cluster.local"
    assert await shell(node, worker, "hostname; cat /etc/hostname; echo $HOSTNAME") == f"{name}\n" * 3
    hosts = await shell(node, worker, "cat /etc/hosts")
    sandbox = worker.state.sandbox
    assert sandbox is not None and f"{sandbox.ip}\t{name}\tdb\n" in hosts
    assert "192.0.2.7\tone.example\ttwo.example\n" in hosts
    assert await shell(node, worker, "cat /etc/resolv.conf") == (
        "search example\nnameserver 192.0.2.1\noptions ndots:2\n"
    )
    host = await ready(node, pod_of("sleep 1000", name="host", spec={"hostNetwork": True}))
    assert (await shell(node, host, "hostname")).strip() == socket.gethostname()


async def test_last_words(bench: Bench) -> None:
    """The message is read from its own path, or from the end of the log after a failure without one."""
    node = bench.node()
    once = {"restartPolicy": "Never"}
    said = node.add(pod_of("echo bye > /tmp/last; exit 3", spec=once, terminationMessagePath="/tmp/last"))
    policy = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    failed = node.add(pod_of("echo from the log; exit 4", name="failed", spec=once, **policy))
    good = node.add(pod_of("echo from the log", name="good", spec=once, **policy))

    def ended(worker: PodWorker) -> KubeObject:
        found: KubeObject = main_status(worker)["state"].get("terminated") or {}
        return found

    await node.reports.until(lambda: ended(said) and ended(failed) and ended(good))
    assert (ended(said)["exitCode"], ended(said)["message"]) == (3, "bye\n")
    assert (ended(failed)["exitCode"], ended(failed)["message"]) == (4, "from the log")
    assert "message" not in ended(good)


async def test_classes_of_service(bench: Bench) -> None:
    """Each class has its cgroup, and the kernel's order of whom to kill first."""
    node = bench.node()
    same = {"cpu": "10m", "memory": "16Mi"}
    kinds = {
        "besteffort": ({}, "BestEffort"),
        "burstable": ({"requests": {"memory": "512Mi"}}, "Burstable"),
        "guaranteed": ({"requests": same, "limits": same}, "Guaranteed"),
    }
    scores = {}
    for name, (resources, wanted) in kinds.items():
        worker = await ready(node, pod_of("sleep 1000", name=name, resources=resources))
        assert worker.status["qosClass"] == wanted
        scores[name] = int(text_of(f"/proc/{pid_of(node, worker)}/oom_score_adj"))
        below = "" if name == "guaranteed" else f"/{name}"
        assert f"{bench.cgroups.parent}{below}/poduid-{name}/" in text_of(f"/proc/{pid_of(node, worker)}/cgroup")
    assert scores["besteffort"] == 1000 and scores["burstable"] == 500
    assert scores["guaranteed"] == max(-997, lowest_oom_score())
