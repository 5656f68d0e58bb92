"""What this machine is, as a Node object says it: capacity, system information, addresses, labels, pressure.

Field by field what the kubelet reports, so that tools that look at nodes find what they know.
"""

from __future__ import annotations

import functools
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import flotilla
from flotilla.api.objects import KubeObject
from nodeagent.metrics.machine import memory_bytes

MAXIMUM_PODS = 110
MINIMUM_FREE_MEMORY_BYTES = 100 << 20
MINIMUM_FREE_DISK = 0.10
MINIMUM_FREE_PIDS = 0.05
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


def allocatable_of(machine: Machine) -> dict[str, int]:
    """What the machine has for pods: ``cpu`` in millis, ``memory`` in bytes."""
    return {"cpu": machine.cpus * 1000, "memory": machine.memory_bytes - MINIMUM_FREE_MEMORY_BYTES}


def node_object(
    name: str, *, machine: Machine, address: str, runtime: str, boot_id: str, data_dir: Path, pod_cidr: str = ""
) -> KubeObject:
    """The Node object of a session's hello; ``runtime`` is the OCI runtime's program."""
    architecture_name = architecture()
    capacity = {
        "cpu": str(machine.cpus),
        "memory": f"{machine.memory_bytes // 1024}Ki",
        "pods": str(MAXIMUM_PODS),
        "ephemeral-storage": f"{shutil.disk_usage(data_dir).total // 1024}Ki",
    }
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
            "capacity": capacity,
            "allocatable": {**capacity, "memory": f"{allocatable_of(machine)['memory'] // 1024}Ki"},
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "nodeInfo": _system_info(runtime, boot_id, architecture_name),
            "conditions": conditions(data_dir),
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


def conditions(data_dir: Path) -> list[KubeObject]:
    """The node's pressure conditions now. ``Ready`` is the control plane's to say."""
    figures = memory_bytes(Path("/proc/meminfo").read_text(encoding="ascii"))
    disk = shutil.disk_usage(data_dir)
    running, limit = int(_line("/proc/loadavg").split()[3].split("/")[1]), int(_line("/proc/sys/kernel/pid_max"))
    return [
        _pressure("Memory", figures["MemAvailable"] < MINIMUM_FREE_MEMORY_BYTES, "sufficient memory available"),
        _pressure("Disk", disk.free < disk.total * MINIMUM_FREE_DISK, "no disk pressure"),
        _pressure("PID", limit - running < limit * MINIMUM_FREE_PIDS, "sufficient PID available"),
    ]


def _pressure(what: str, pressed: bool, calm: str) -> KubeObject:
    reasons = {"Memory": "InsufficientMemory", "Disk": "DiskPressure", "PID": "InsufficientPID"}
    relaxed = {"Memory": "HasSufficientMemory", "Disk": "HasNoDiskPressure", "PID": "HasSufficientPID"}
    return {
        "type": f"{what}Pressure",
        "status": "True" if pressed else "False",
        "reason": f"Agent{(reasons if pressed else relaxed)[what]}",
        "message": f"the node is short of {what.lower()}" if pressed else f"the node has {calm}",
    }
