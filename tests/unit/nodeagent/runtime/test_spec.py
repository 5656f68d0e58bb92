"""The OCI configuration as a function of what was resolved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flotilla.api.objects import KubeObject
from nodeagent.isolation.ranges import PodUsers
from nodeagent.runtime.errors import ContainerConfigError
from nodeagent.runtime.spec import BundleRequest, ImageDefaults, Mount, arguments_of, build_spec
from nodeagent.runtime.users import User


def request_of(container: KubeObject | None = None, spec: KubeObject | None = None, **fields: Any) -> BundleRequest:
    request = BundleRequest(
        pod={"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec or {}},
        container={"name": "c", "command": ["run"], **(container or {})},
        rootfs=Path("/rootfs"),
        image=ImageDefaults(),
        environment=[("GREETING", "hello")],
        user=User(100, 101, (200,), "/srv"),
        capabilities=["CAP_CHOWN"],
        seccomp={"defaultAction": "SCMP_ACT_ERRNO"},
        masked=["/proc/kcore"],
        readonly=["/proc/sys"],
        no_new_privileges=True,
        mounts=(),
        hostname="p",
        cgroups_path="/f/podu/id",
        resources={"cpu": {"shares": 2}},
        oom_score_adjust=1000,
        network_namespace=Path("/run/netns/u"),
        cgroup_namespace=True,
    )
    return replace(request, **fields)


def mounts(config: KubeObject) -> dict[str, KubeObject]:
    return {mount["destination"]: mount for mount in config["mounts"]}


def test_users_of_the_pods_own() -> None:
    """The pod's user namespace is joined and mapped; a pod with the node's users names none."""
    linux = build_spec(request_of(users=PodUsers(1879048192, "/run/userns/u")))["linux"]
    assert {"type": "user", "path": "/run/userns/u"} in linux["namespaces"]
    mapping = {"containerID": 0, "hostID": 1879048192, "size": 65536}
    assert linux["uidMappings"] == linux["gidMappings"] == [mapping]
    plain = build_spec(request_of())["linux"]
    assert "uidMappings" not in plain
    assert "user" not in {each["type"] for each in plain["namespaces"]}


def test_the_process() -> None:
    """User, capabilities without inheritable ones, environment with sensible defaults."""
    process = build_spec(request_of())["process"]
    assert process["user"] == {"uid": 100, "gid": 101, "additionalGids": [200]}
    assert set(process["capabilities"]) == {"bounding", "effective", "permitted"}
    assert process["noNewPrivileges"] is True
    assert {"GREETING=hello", "HOME=/srv", "HOSTNAME=p"} < set(process["env"])
    assert process["cwd"] == "/"


@pytest.mark.parametrize(
    ("container", "image", "expected"),
    [
        ({}, ImageDefaults(["e"], ["c"]), ["e", "c"]),
        ({"args": ["a"]}, ImageDefaults(["e"], ["c"]), ["e", "a"]),
        ({"command": ["x"]}, ImageDefaults(["e"], ["c"]), ["x"]),
        ({"command": ["x"], "args": ["a"]}, ImageDefaults(["e"], ["c"]), ["x", "a"]),
    ],
)
def test_command_and_args(container: KubeObject, image: ImageDefaults, expected: list[str]) -> None:
    """Kubernetes' table of command and args against entrypoint and cmd."""
    assert arguments_of(container, image, {}) == expected


def test_nothing_to_run_is_an_error() -> None:
    """The message says where a command could have come from."""
    with pytest.raises(ContainerConfigError, match="no command specified"):
        arguments_of({}, ImageDefaults(), {})


def test_namespaces_are_the_containers_own_but_the_network() -> None:
    """The pod's network namespace is joined, the others are new; the host's only when asked for."""
    namespaces = build_spec(request_of())["linux"]["namespaces"]
    assert {each["type"] for each in namespaces} == {"mount", "uts", "pid", "ipc", "network", "cgroup"}
    assert {"type": "network", "path": "/run/netns/u"} in namespaces
    host = request_of(spec={"hostPID": True, "hostIPC": True}, network_namespace=None, cgroup_namespace=False)
    assert {each["type"] for each in build_spec(host)["linux"]["namespaces"]} == {"mount", "uts"}


def test_devices_are_closed_by_default() -> None:
    """No device but the runtime's standard ones; all for a privileged container."""
    assert build_spec(request_of())["linux"]["resources"]["devices"] == [{"allow": False, "access": "rwm"}]
    privileged = request_of({"securityContext": {"privileged": True}})
    assert build_spec(privileged)["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]


def test_system_directories_are_read_only() -> None:
    """Only a privileged container writes to /sys; the root file system on request."""
    config = build_spec(request_of({"securityContext": {"readOnlyRootFilesystem": True}}))
    assert config["root"] == {"path": "/rootfs", "readonly": True}
    assert "ro" in mounts(config)["/sys"]["options"]
    privileged = build_spec(request_of({"securityContext": {"privileged": True}}))
    assert "rw" in mounts(privileged)["/sys"]["options"]
    on_host = build_spec(request_of(network_namespace=None))
    assert mounts(on_host)["/sys"] == mounts(config)["/sys"]


def test_mounts_come_in_the_order_of_their_depth() -> None:
    """A mount inside another volume is not hidden by it."""
    asked = (Mount(Path("/b"), "/data/deep/er"), Mount(Path("/a"), "/data", readonly=True))
    config = build_spec(request_of(mounts=asked))
    targets = [mount["destination"] for mount in config["mounts"]]
    assert targets.index("/data") < targets.index("/data/deep/er")
    assert mounts(config)["/data"]["options"] == ["rbind", "rprivate", "ro"]


def test_shared_memory_is_bounded_unless_the_pod_brings_its_own() -> None:
    """64 MiB by default, as in every container engine."""
    assert "size=67108864" in mounts(build_spec(request_of()))["/dev/shm"]["options"]
    own = (Mount(Path("/big"), "/dev/shm"),)
    assert mounts(build_spec(request_of(mounts=own)))["/dev/shm"]["source"] == "/big"


def test_sysctls_and_propagation() -> None:
    """What the pod's security context and its mounts ask for is passed on."""
    spec = {"securityContext": {"sysctls": [{"name": "net.core.somaxconn", "value": "1024"}]}}
    shared = (Mount(Path("/m"), "/m", propagation="HostToContainer"),)
    linux = build_spec(request_of(spec=spec, mounts=shared))["linux"]
    assert linux["sysctl"] == {"net.core.somaxconn": "1024"}
    assert linux["rootfsPropagation"] == "rslave"
    both = (*shared, Mount(Path("/n"), "/n", propagation="Bidirectional"))
    assert build_spec(request_of(mounts=both))["linux"]["rootfsPropagation"] == "rshared"
