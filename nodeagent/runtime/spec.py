"""The OCI ``config.json`` of one container, as a pure function of what has been resolved before.

Source: OCI runtime specification 1.0.2. A pod's containers share its network namespace, which is pinned to a file;
process, mount, IPC and host name namespaces are each container's own, with the pod's host name in all of them. A pod's
users are its own or the node's; runc joins their namespace first, so that all others belong to them. Own is also,
on cgroup version 2, the cgroup namespace: a container finds its own limits at ``/sys/fs/cgroup`` and no one else's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flotilla.api.objects import KubeObject
from nodeagent.expansion import expand
from nodeagent.isolation.ranges import PodUsers
from nodeagent.runtime.errors import ContainerConfigError
from nodeagent.runtime.sysctls import dotted
from nodeagent.runtime.users import User

OCI_VERSION = "1.0.2"
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHARED_MEMORY = "/dev/shm"
SHARED_MEMORY_BYTES = 64 << 20
_PROPAGATION = {"HostToContainer": "rslave", "Bidirectional": "rshared"}


@dataclass(frozen=True, slots=True)
class Mount:
    """One bind mount into the container; ``propagation`` in Kubernetes' words, ``kept`` further mount options."""

    source: Path
    target: str
    readonly: bool = False
    propagation: str = "None"
    kept: Sequence[str] = ()

    def oci(self) -> KubeObject:
        options = ["rbind", _PROPAGATION.get(self.propagation, "rprivate"), "ro" if self.readonly else "rw"]
        options += self.kept
        return {"destination": self.target, "type": "bind", "source": str(self.source), "options": options}


@dataclass(frozen=True, slots=True)
class Device:
    """One device node of the host, for privileged containers."""

    path: str
    kind: str
    major: int
    minor: int
    mode: int


@dataclass(frozen=True, slots=True)
class ImageDefaults:
    """What the image says about running it, as far as the spec may override it."""

    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    working_dir: str = ""


@dataclass(frozen=True, slots=True)
class BundleRequest:
    """All that decides a container's configuration, resolved."""

    pod: KubeObject
    container: KubeObject
    rootfs: Path
    image: ImageDefaults
    environment: Sequence[tuple[str, str]]
    user: User
    capabilities: Sequence[str]
    seccomp: KubeObject | None
    masked: Sequence[str]
    readonly: Sequence[str]
    no_new_privileges: bool
    mounts: Sequence[Mount]
    hostname: str
    cgroups_path: str
    resources: KubeObject
    oom_score_adjust: int
    network_namespace: Path | None
    cgroup_namespace: bool
    process_namespace: Path | None = None
    devices: Sequence[Device] = field(default=())
    users: PodUsers | None = None
    apparmor: str = ""


def security_context(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """The security context of a container or of a pod's spec, empty if it has none."""
    return part.get("securityContext") or {}


def arguments_of(container: Mapping[str, Any], image: ImageDefaults, environment: Mapping[str, str]) -> list[str]:
    """The command line: ``command`` replaces entrypoint and cmd, ``args`` replaces cmd; ``$(NAME)`` is expanded.

    Raises ContainerConfigError when nothing is left to run.
    """
    command = [expand(word, environment) for word in container.get("command") or ()]
    words = [expand(word, environment) for word in container.get("args") or ()]
    if not command:
        command = list(image.entrypoint)
        words = words or list(image.command)
    if not command + words:
        raise ContainerConfigError("no command specified: neither the container nor its image names one")
    return command + words


def build_spec(request: BundleRequest) -> KubeObject:
    """The ``config.json`` of one container. Raises ContainerConfigError."""
    context = security_context(request.container)
    return {
        "ociVersion": OCI_VERSION,
        "process": process_of(request),
        "root": {"path": str(request.rootfs), "readonly": bool(context.get("readOnlyRootFilesystem"))},
        "hostname": request.hostname,
        "mounts": _mounts(request),
        "linux": _linux(request),
        "annotations": {
            "io.kubernetes.pod.namespace": request.pod["metadata"].get("namespace", ""),
            "io.kubernetes.pod.name": request.pod["metadata"]["name"],
            "io.kubernetes.pod.uid": request.pod["metadata"]["uid"],
            "io.kubernetes.container.name": request.container["name"],
        },
    }


def process_of(request: BundleRequest) -> KubeObject:
    """The process object: also the pattern for what ``exec`` runs in the container."""
    environment = dict(request.environment)
    capabilities = list(request.capabilities)
    user: KubeObject = {"uid": request.user.uid, "gid": request.user.gid}
    if request.user.additional_gids:
        user["additionalGids"] = list(request.user.additional_gids)
    process: KubeObject = {
        "terminal": bool(request.container.get("tty")),
        "user": user,
        "args": arguments_of(request.container, request.image, environment),
        "env": _environment(request, environment),
        "cwd": request.container.get("workingDir") or request.image.working_dir or "/",
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
        "noNewPrivileges": request.no_new_privileges,
        "oomScoreAdj": request.oom_score_adjust,
    }
    return process | {"apparmorProfile": request.apparmor} if request.apparmor else process


def _environment(request: BundleRequest, environment: Mapping[str, str]) -> list[str]:
    listed = [f"{name}={value}" for name, value in environment.items()]
    defaults = {
        "PATH": f"PATH={SEARCH_PATH}",
        "HOSTNAME": f"HOSTNAME={request.hostname}",
        "HOME": f"HOME={request.user.home}",
    }
    if request.container.get("tty"):
        defaults["TERM"] = "TERM=xterm"
    return [line for name, line in defaults.items() if name not in environment] + listed


def _mounts(request: BundleRequest) -> list[KubeObject]:
    privileged = bool(security_context(request.container).get("privileged"))
    access = "rw" if privileged else "ro"
    quiet = ["nosuid", "noexec", "nodev"]
    system: list[KubeObject] = [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": quiet},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": quiet},
        # A sysfs of its own shows the network namespace that it is mounted in, the node's on the node's network; the
        # node's own /sys would bring along what is mounted below it, debugfs and all cgroups, writable.
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*quiet, access]},
        *_shared_memory(request),
        {
            "destination": "/sys/fs/cgroup",
            "type": "cgroup",
            "source": "cgroup",
            "options": [*quiet, "relatime", access],
        },
    ]
    asked = [mount.oci() for mount in request.mounts]
    return system + sorted(asked, key=lambda mount: str(mount["destination"]).count("/"))


def _shared_memory(request: BundleRequest) -> list[KubeObject]:
    if any(mount.target == SHARED_MEMORY for mount in request.mounts):
        return []
    options = ["nosuid", "noexec", "nodev", "mode=1777", f"size={SHARED_MEMORY_BYTES}"]
    return [{"destination": SHARED_MEMORY, "type": "tmpfs", "source": "shm", "options": options}]


def _linux(request: BundleRequest) -> KubeObject:
    privileged = bool(security_context(request.container).get("privileged"))
    devices: list[KubeObject] = [{"allow": privileged, "access": "rwm"}]
    linux: KubeObject = {
        "cgroupsPath": request.cgroups_path,
        "resources": {**request.resources, "devices": devices},
        "namespaces": _namespaces(request),
        "maskedPaths": list(request.masked),
        "readonlyPaths": list(request.readonly),
    }
    if request.users is not None:
        linux["uidMappings"] = linux["gidMappings"] = request.users.mappings()
    if request.devices:
        linux["devices"] = [_device(device) for device in request.devices]
    if request.seccomp is not None:
        linux["seccomp"] = request.seccomp
    sysctls = security_context(request.pod["spec"]).get("sysctls") or ()
    if sysctls:
        linux["sysctl"] = {dotted(each["name"]): each["value"] for each in sysctls}
    propagations = {_PROPAGATION.get(mount.propagation) for mount in request.mounts}
    if found := [each for each in ("rshared", "rslave") if each in propagations]:
        # What is mounted in the container reaches the node only from mounts that were never made slaves.
        linux["rootfsPropagation"] = found[0]
    return linux


def _device(device: Device) -> KubeObject:
    return {
        "path": device.path,
        "type": device.kind,
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode,
    }


def _namespaces(request: BundleRequest) -> list[KubeObject]:
    spec = request.pod["spec"]
    namespaces: list[KubeObject] = [{"type": "mount"}, {"type": "uts"}]
    if request.process_namespace is not None:
        namespaces.append({"type": "pid", "path": str(request.process_namespace)})
    elif not spec.get("hostPID"):
        namespaces.append({"type": "pid"})
    if not spec.get("hostIPC"):
        namespaces.append({"type": "ipc"})
    if request.cgroup_namespace:
        namespaces.append({"type": "cgroup"})
    if request.users is not None:
        namespaces.append({"type": "user", "path": request.users.namespace})
    if request.network_namespace is not None:
        namespaces.append({"type": "network", "path": str(request.network_namespace)})
    return namespaces
