"""What a pod's containers share: cgroup, network, volumes, shared memory, the files under ``/etc``, maybe processes.

``prepare`` may be repeated after a failure or by an agent started again; ``release`` removes all of it, in an order
that leaves nothing another pod could take for its own. Both block for some milliseconds and belong into a thread.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from flotilla.api.objects import KubeObject, uid_of
from nodeagent.cgroups import PodCgroups
from nodeagent.isolation.choice import Choice
from nodeagent.isolation.processes import ProcessNamespaces, shares_processes
from nodeagent.isolation.ranges import PodUsers
from nodeagent.network.pod_network import HostPort, PodAddress, host_ports_of
from nodeagent.pod_files import Resolver, hosts_text, kernel_host_name, parse_resolver, resolver_of, resolver_text
from nodeagent.pod_state import Sandbox
from nodeagent.runtime.runtimes import NAMES
from nodeagent.runtime.spec import SHARED_MEMORY_BYTES
from nodeagent.volumes.binds import ContainerBinds
from nodeagent.volumes.mounts import mount_tmpfs, unmount_below
from nodeagent.volumes.payload import VolumeObjects

_STUB_RESOLVER = "127.0.0.53"


class Network(Protocol):
    """Addresses and network namespaces by pod uid."""

    def setup(self, pod_uid: str, *, host_ports: Sequence[HostPort] = (), own_users: bool = False) -> PodAddress: ...

    def teardown(self, pod_uid: str) -> None: ...


class Users(Protocol):
    """Which pods get users of their own. Raises UserNamespaceError."""

    def choose(self, pod: KubeObject, volumes: Mapping[str, Path]) -> Choice: ...


class Handlers(Protocol):
    """Which runtime a pod's class asks for. Raises RuntimeClassError."""

    def choose(self, pod: KubeObject) -> str: ...


class PodVolumes(Protocol):
    """A pod's volumes as directories on this node, by volume name."""

    def prepare(self, pod: KubeObject, objects: VolumeObjects) -> dict[str, Path]: ...

    def update(self, pod: KubeObject, objects: VolumeObjects) -> None: ...

    def teardown(self, pod_uid: str) -> None: ...


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What the server's welcome says of the cluster's networks; kept in the checkpoint."""

    cluster_domain: str = "cluster.local"
    dns_address: str = ""
    pod_cidr: str = ""
    service_cidr: str = ""
    cluster_cidr: str = ""


def shares_memory(pod: Mapping[str, Any]) -> bool:
    """Whether the pod has containers that share ``/dev/shm`` with each other (and not with the host)."""
    spec = pod["spec"]
    return not spec.get("hostIPC") and len(spec["containers"]) + len(spec.get("initContainers") or ()) > 1


def read_host_resolver() -> Resolver:
    """The node's own resolvers, never a stub that only listens on the host's loopback."""
    try:
        found = parse_resolver(Path("/etc/resolv.conf").read_text(encoding="utf-8", errors="replace"))
        if list(found.nameservers) == [_STUB_RESOLVER]:
            found = parse_resolver(Path("/run/systemd/resolve/resolv.conf").read_text(encoding="utf-8"))
    except OSError:
        return Resolver()
    return found


class Sandboxes:
    """The sandboxes of one node. ``run_dir`` is on a tmpfs; the network is known once the server has named the CIDR.

    ``bind_all``: the OCI runtime can't be relied on to see what is mounted outside of the agent's own directories.
    """

    def __init__(
        self,
        *,
        run_dir: Path,
        host_ip: str,
        cgroups: PodCgroups,
        volumes: PodVolumes,
        users: Users,
        bind_all: bool = False,
    ) -> None:
        self._run_dir, self._host_ip, self._bind_all = run_dir, host_ip, bind_all
        self._cgroups, self._volumes, self._users = cgroups, volumes, users
        self._handlers: Handlers | None = None
        self.network: Network | None = None
        self.facts = ClusterFacts()
        self._processes = ProcessNamespaces(self._first_process, supervise=cgroups.supervise)

    def prepare(self, pod: KubeObject, objects: VolumeObjects) -> Sandbox:
        """Make everything.

        Raises RuntimeClassError, CgroupError, PodNetworkError, VolumeError, UserNamespaceError, HostNameError, OSError.
        """
        handler = self._handlers.choose(pod) if self._handlers is not None else ""
        self._cgroups.create_pod(uid_of(pod), pod["spec"])
        volumes = self.volumes(pod, objects)
        known = handler in ("", *NAMES)
        choice = self._users.choose(pod, volumes) if known else Choice(own=False)
        sandbox = replace(self._connect(pod, choice), handler=handler)
        self._write_files(pod, sandbox)
        if shares_memory(pod):
            owner = sandbox.users.first_id if sandbox.users else 0
            shared = self.shared_memory(uid_of(pod))
            mount_tmpfs(shared, mode=0o1777, size_bytes=SHARED_MEMORY_BYTES, owner=owner)
        return sandbox

    def use_handlers(self, handlers: Handlers) -> None:
        """Let pods choose their runtime by RuntimeClasses; without this all get the node's default."""
        self._handlers = handlers

    def adopt(self, pod: KubeObject) -> None:
        """Learn of a sandbox that an earlier agent made, without touching it."""
        self._cgroups.adopt_pod(uid_of(pod), pod["spec"])

    def volumes(self, pod: KubeObject, objects: VolumeObjects) -> dict[str, Path]:
        """The pod's volumes, prepared now if they were not. Raises VolumeError."""
        return self._volumes.prepare(pod, objects)

    def update(self, pod: KubeObject, objects: VolumeObjects) -> None:
        """Bring mounted ConfigMaps, Secrets and downward API files up to date."""
        self._volumes.update(pod, objects)

    def release(self, pod: KubeObject) -> None:
        """Remove everything; repeatable. Raises CgroupError, PodNetworkError, OSError."""
        uid = uid_of(pod)
        self._processes.end(uid)
        self._volumes.teardown(uid)
        if self.network is not None and not pod["spec"].get("hostNetwork"):
            self.network.teardown(uid)
        elif (self._run_dir / "netns" / uid).exists():
            raise OSError("the pod's network can't be taken away: the node has no pod network yet")
        self._cgroups.remove_pod(uid, pod["spec"])
        self.remove_files(uid)

    def remove_files(self, uid: str) -> None:
        """Remove the pod's own files and shared memory, and its first process; repeatable."""
        self._processes.end(uid)
        unmount_below(self._run_dir / "pods" / uid)
        shutil.rmtree(self._run_dir / "pods" / uid, ignore_errors=True)

    def remove_binds(self, uid: str) -> None:
        """Remove what an agent that died while it started a container of the pod had mounted for that; repeatable."""
        directory = self._run_dir / "pods" / uid / "binds"
        if directory.exists():
            unmount_below(directory)
            shutil.rmtree(directory)

    def known(self) -> set[str]:
        """Uids of all pods that have files here."""
        directory = self._run_dir / "pods"
        return {entry.name for entry in directory.iterdir()} if directory.is_dir() else set()

    def directory(self, uid: str) -> Path:
        """Where the pod's files under ``/etc`` are kept on this node."""
        return self._run_dir / "pods" / uid / "etc"

    def shared_memory(self, uid: str) -> Path:
        """Where the ``/dev/shm`` of a pod of several containers is mounted on this node."""
        return self._run_dir / "pods" / uid / "shm"

    def host_name(self, pod: KubeObject) -> str:
        """The host name that the pod's containers see. Raises HostNameError."""
        return kernel_host_name(pod, cluster_domain=self.facts.cluster_domain, node=socket.gethostname())

    def process_namespace(self, pod: KubeObject, sandbox: Sandbox) -> Path | None:
        """The process namespace that the pod's containers share, None if each has its own. Raises OSError."""
        if not shares_processes(pod):
            return None
        return self._processes.ensure(uid_of(pod), users=sandbox.users, netns=sandbox.netns)

    def _first_process(self, uid: str) -> Path:
        return self._run_dir / "pods" / uid / "first-process"

    def binds(self, uid: str, run_id: str, users: PodUsers | None, *, apart: bool = False) -> ContainerBinds:
        """The places for the mounts of one container's start, which may be made ``apart`` from the agent's mounts."""
        return ContainerBinds(self._run_dir / "pods" / uid / "binds" / run_id, users, always=self._bind_all or apart)

    def _connect(self, pod: KubeObject, choice: Choice) -> Sandbox:
        if pod["spec"].get("hostNetwork"):
            return Sandbox(self._host_ip, warning=choice.warning)
        if self.network is None:
            raise OSError("the node has no pod network yet")
        address = self.network.setup(uid_of(pod), host_ports=host_ports_of(pod), own_users=choice.own)
        return Sandbox(address.ip, str(address.netns_path), address.users, choice.warning)

    def _write_files(self, pod: KubeObject, sandbox: Sandbox) -> None:
        (self._run_dir / "pods").mkdir(mode=0o700, exist_ok=True)
        directory = self.directory(uid_of(pod))
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        host_text = Path("/etc/hosts").read_text(encoding="utf-8") if pod["spec"].get("hostNetwork") else ""
        domain = self.facts.cluster_domain
        resolver = resolver_of(
            pod, dns_address=self.facts.dns_address, cluster_domain=domain, host=read_host_resolver()
        )
        texts = {
            "hosts": hosts_text(pod, sandbox.ip, cluster_domain=domain, host_text=host_text),
            "resolv.conf": resolver_text(resolver),
            "hostname": self.host_name(pod) + "\n",
        }
        for name, text in texts.items():
            (directory / name).write_text(text, encoding="utf-8")


def with_address(pod: Mapping[str, Any], sandbox: Sandbox | None, host_ip: str) -> KubeObject:
    """The pod with its addresses in its status, as the downward API reads them."""
    status = {**(pod.get("status") or {}), "hostIP": host_ip, "hostIPs": [{"ip": host_ip}]}
    if sandbox is not None:
        status |= {"podIP": sandbox.ip, "podIPs": [{"ip": sandbox.ip}]}
    return {**pod, "status": status}
