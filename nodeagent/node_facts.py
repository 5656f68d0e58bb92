"""What this machine is, as a Node object says it: capacity, system information, addresses, labels, pressure.

Field by field what the kubelet reports, so that tools that look at nodes find what they know.
"""

from __future__ import annotations

import functools
import os
import platform
import socket
import subprocess
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import flotilla
from flotilla.api.objects import KubeObject
from nodeagent.disk.filesystems import filesystem_of
from nodeagent.metrics.machine import memory_bytes, process_counts
from nodeagent.reserves import Capacity

IMAGES_SHOWN = 50
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Machine:
    """Sizes of the machine, read once."""

    cpus: int
    memory_bytes: int
    swap: bool


def read_machine() -> Machine:
    """The machine's sizes."""
    figures = memory_bytes(Path("/proc/meminfo").read_text(encoding="ascii"))
    return Machine(os.cpu_count() or 1, figures["MemTotal"], figures.get("SwapTotal", 0) > 0)


def own_address(servers: Iterable[str]) -> str:
    """The address by which others reach this node: the one it reaches a server from, else that of its default route.

    No packet is sent: connecting a UDP socket only asks the routing table.
    """
    hosts = [server.rpartition(":")[0].strip("[]") for server in servers]
    for host in (*hosts, "192.0.2.1"):
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.connect((host, 9))
                address: str = probe.getsockname()[0]
        except OSError:
            continue
        if not address.startswith("127."):
            return address
    return "127.0.0.1"


def architecture() -> str:
    """The machine's architecture in the words of images and nodes."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


@functools.cache
def runtime_version(program: str) -> str:
    """The OCI runtime's version, ``unknown`` if it does not tell."""
    try:
        output = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    words = output.split()
    return words[2] if len(words) > 2 else "unknown"


def capacity_of(machine: Machine, data_dir: Path) -> Capacity:
    """What the machine has, and the file system of its data directory."""
    storage_bytes = filesystem_of(data_dir).capacity_bytes
    return Capacity(machine.cpus * 1000, machine.memory_bytes, storage_bytes, process_counts()[1])


@dataclass(frozen=True, slots=True)
class NodeResources:
    """``capacity``, ``allocatable`` and pressure ``conditions`` as the Node's status says them."""

    capacity: KubeObject
    allocatable: KubeObject
    conditions: list[KubeObject]


def node_object(
    name: str, *, resources: NodeResources, address: str, runtime: str, boot_id: str, pod_cidr: str = ""
) -> KubeObject:
    """The Node object of a session's hello; ``runtime`` is the OCI runtime's program."""
    architecture_name = architecture()
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture_name,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": architecture_name,
    }
    spec = {"podCIDR": pod_cidr, "podCIDRs": [pod_cidr]} if pod_cidr else {}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {
            "capacity": resources.capacity,
            "allocatable": resources.allocatable,
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "nodeInfo": _system_info(runtime, boot_id, architecture_name),
            "conditions": resources.conditions,
        },
    }


def _system_info(runtime: str, boot_id: str, architecture_name: str) -> KubeObject:
    version = f"v1.35.0+flotilla-{flotilla.__version__}"
    return {
        "machineID": _line("/etc/machine-id"),
        "systemUUID": _line("/sys/class/dmi/id/product_uuid") or _line("/etc/machine-id"),
        "bootID": boot_id,
        "kernelVersion": platform.release(),
        "osImage": _os_image(),
        "containerRuntimeVersion": f"{Path(runtime).name}://{runtime_version(runtime)}",
        "kubeletVersion": version,
        "kubeProxyVersion": version,
        "operatingSystem": "linux",
        "architecture": architecture_name,
    }


def _line(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _os_image() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


def pressure_conditions(holding: Collection[str]) -> list[KubeObject]:
    """The node's pressure conditions, of which those in ``holding`` are true (``MemoryPressure`` and so on)."""
    calm = {
        "Memory": "sufficient memory available",
        "Disk": "no disk pressure",
        "PID": "sufficient PID available",
    }
    return [_pressure(what, f"{what}Pressure" in holding, text) for what, text in calm.items()]


def _pressure(what: str, pressed: bool, calm: str) -> KubeObject:
    reasons = {"Memory": "InsufficientMemory", "Disk": "DiskPressure", "PID": "InsufficientPID"}
    relaxed = {"Memory": "HasSufficientMemory", "Disk": "HasNoDiskPressure", "PID": "HasSufficientPID"}
    return {
        "type": f"{what}Pressure",
        "status": "True" if pressed else "False",
        "reason": f"Agent{(reasons if pressed else relaxed)[what]}",
        "message": f"the node is short of {what.lower()}" if pressed else f"the node has {calm}",
    }
