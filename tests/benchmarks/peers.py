"""The same work on Docker Swarm and Podman, beside Flotilla on the same machine. Prints one line a figure.

    python -m tests.benchmarks.peers --image-archive sample.oci.tar

Docker's daemon gets directories and a network namespace of its own, so that neither a daemon that is there nor the
host's firewall is touched; everything it made goes away at the end. A peer that is not installed is left out with a
line that says so.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

IMAGE = "flotilla.dev/sample:v1"
NAMESPACE = "flotilla-peers"
POLL_S = 0.01
POD = """
apiVersion: v1
kind: Pod
metadata: {name: peer}
spec:
  containers:
  - name: web
    image: flotilla.dev/sample:v1
    imagePullPolicy: Never
"""


def report(name: str, value: float, unit: str) -> None:
    print(f"{name:<48} {value:>9.1f} {unit}", flush=True)


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def _until(holds: Callable[[], bool], *, timeout_s: float = 120) -> float:
    """Seconds until ``holds``; the peers have no watch on the command line, so they are asked in short turns."""
    started = time.monotonic()
    while not holds():
        if time.monotonic() - started > timeout_s:
            raise TimeoutError
        time.sleep(POLL_S)
    return time.monotonic() - started


class Swarm:
    """A one-node swarm on a private Docker daemon."""

    def __init__(self, socket: str) -> None:
        self._docker = ["docker", "--host", f"unix://{socket}"]

    def docker(self, *arguments: str) -> str:
        return _output([*self._docker, *arguments])

    def containers(self) -> list[str]:
        """The ids of the containers that run now."""
        return self.docker("ps", "--quiet").split()

    def running(self) -> int:
        return len(self.containers())

    def create(self, replicas: int) -> float:
        started = time.monotonic()
        options = ["--detach", "--no-resolve-image", "--restart-delay", "0s", "--name", "peer"]
        self.docker("service", "create", *options, "--replicas", str(replicas), IMAGE)
        _until(lambda: self.running() == replicas)
        return time.monotonic() - started

    def scale(self, replicas: int) -> float:
        started = time.monotonic()
        self.docker("service", "scale", "--detach", f"peer={replicas}")
        _until(lambda: self.running() == replicas)
        return time.monotonic() - started

    def remove(self) -> float:
        started = time.monotonic()
        self.docker("service", "rm", "peer")
        _until(lambda: not self.docker("ps", "--all", "--quiet").split())
        return time.monotonic() - started

    def crash(self) -> float:
        container = self.containers()[0]
        pid = int(self.docker("inspect", "--format", "{{.State.Pid}}", container))
        started = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        _until(lambda: self.containers() not in ([], [container]))
        return time.monotonic() - started


@contextmanager
def _docker_daemon(directory: Path) -> Iterator[Swarm]:
    socket = f"{directory}/docker.sock"
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    subprocess.run(["ip", "-n", NAMESPACE, "link", "set", "lo", "up"], check=True)
    paths = ["--data-root", f"{directory}/data", "--exec-root", f"{directory}/exec", "--pidfile", f"{directory}/pid"]
    command = ["nsenter", f"--net=/run/netns/{NAMESPACE}", "dockerd", *paths, "--host", f"unix://{socket}"]
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as daemon:
        try:
            _until(Path(socket).exists, timeout_s=30)
            swarm = Swarm(socket)
            swarm.docker("swarm", "init", "--advertise-addr", "127.0.0.1")
            yield swarm
            swarm.docker("swarm", "leave", "--force")
        finally:
            daemon.terminate()
            daemon.wait(30)
            subprocess.run(["ip", "netns", "del", NAMESPACE], check=True)


def measure_swarm(archive: Path, repetitions: int) -> None:
    with tempfile.TemporaryDirectory() as name, _docker_daemon(Path(name)) as swarm:
        docker_archive = f"{name}/image.tar"
        _output(["skopeo", "copy", f"oci-archive:{archive}:{IMAGE}", f"docker-archive:{docker_archive}:{IMAGE}"])
        swarm.docker("load", "--input", docker_archive)
        times: dict[str, list[float]] = {key: [] for key in ("one", "crash", "fifty", "up", "delete")}
        for _ in range(repetitions):
            times["one"].append(swarm.create(1))
            times["crash"].append(swarm.crash())
            swarm.remove()
            times["fifty"].append(swarm.create(50))
            swarm.scale(10)
            times["up"].append(swarm.scale(30))
            times["delete"].append(swarm.remove())
        _report_swarm({key: statistics.median(values) for key, values in times.items()})


def _report_swarm(medians: dict[str, float]) -> None:
    report("Swarm: one replica running", medians["one"] * 1000, "ms")
    report("Swarm: kill -9 to running again (delay 0)", medians["crash"] * 1000, "ms")
    report("Swarm: 50 replicas, rate", 50 / medians["fifty"], "tasks/s")
    report("Swarm: scale 10 to 30", medians["up"] * 1000, "ms")
    report("Swarm: delete 30, containers gone", medians["delete"] * 1000, "ms")


def measure_podman(archive: Path, repetitions: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        settings = Path(name) / "containers.conf"  # its own default asks for more open files than every machine allows
        settings.write_text(
            '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n', encoding="utf-8"
        )
        podman = ["env", f"CONTAINERS_CONF={settings}", "podman", "--root", f"{name}/root", "--runroot", f"{name}/run"]
        podman += ["--cgroup-manager", "cgroupfs", "--runtime", "runc"]
        manifest = Path(name) / "pod.yaml"
        manifest.write_text(POD, encoding="utf-8")
        docker_archive = f"{name}/image.tar"
        _output(["skopeo", "copy", f"oci-archive:{archive}:{IMAGE}", f"docker-archive:{docker_archive}:{IMAGE}"])
        _output([*podman, "load", "--input", docker_archive])
        times = []
        try:
            for _ in range(repetitions):
                started = time.monotonic()
                _output([*podman, "play", "kube", "--network", "none", str(manifest)])
                times.append(time.monotonic() - started)
                _output([*podman, "play", "kube", "--down", str(manifest)])
            report("Podman: play kube of one pod, no network", statistics.median(times) * 1000, "ms")
        finally:
            subprocess.run([*podman, "system", "reset", "--force"], check=False, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-archive", type=Path, required=True)
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    _output(["skopeo", "inspect", f"oci-archive:{arguments.image_archive}:{IMAGE}"])
    for measure, needed in ((measure_swarm, ("dockerd",)), (measure_podman, ("podman", "catatonit"))):
        missing = [program for program in needed if not shutil.which(program)]
        if missing:
            print(f"{' and '.join(missing)} not installed: {needed[0]}'s figures are left out")
        else:
            measure(arguments.image_archive, arguments.repetitions)


if __name__ == "__main__":
    main()
