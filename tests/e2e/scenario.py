"""One cluster, one kubectl, one namespace: what the end-to-end stories of a user are told with."""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from flotilla.api.objects import KubeObject
from flotilla.local.supervision import SupervisorPaths, read_state
from tests.e2e.cluster import ROOT, Cluster, Kubectl

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
CLIENT = """
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: client
    image: flotilla.dev/sample:v1
    command:
    - /bin/sh
    - -c
    - |
      n=0
      while :; do
        timeout 3 wget -q -O /dev/null http://web.$NAMESPACE.svc.cluster.local/ || echo "FAILED $(date +%T) after $n"
        n=$((n + 1))
        [ $((n % 50)) = 0 ] && echo "asked $n"
        usleep 15000
      done
    env: [{name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}]
"""


@dataclass
class Scenario:
    """Commands go to ``namespace`` with ``kubectl``; failures show what was printed."""

    cluster: Cluster
    kubectl_program: Kubectl
    namespace: str

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self._kubectl(*arguments, stdin=stdin, check=True).stdout

    def try_kubectl(self, *arguments: str) -> bool:
        return self._kubectl(*arguments, stdin=None, check=False).returncode == 0

    def kubectl_fails(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl prints on stderr while it fails."""
        return _failure(self._kubectl(*arguments, stdin=stdin, check=False))

    def flotilla_fails(self, *arguments: str, stdin: str | None = None) -> str:
        """What flotilla prints on stderr while it fails."""
        return _failure(self.cluster.flotilla(*arguments, "-n", self.namespace, stdin=stdin, check=False))

    def _kubectl(self, *arguments: str, stdin: str | None, check: bool) -> subprocess.CompletedProcess[str]:
        return self.kubectl_program(*arguments, f"--namespace={self.namespace}", stdin=stdin, check=check)

    def object(self, kind: str, name: str) -> KubeObject:
        found: KubeObject = json.loads(self.kubectl("get", kind, name, "-o", "json"))
        return found

    def items(self, kind: str) -> list[KubeObject]:
        found: list[KubeObject] = json.loads(self.kubectl("get", kind, "-o", "json"))["items"]
        return found

    def container_status(self, pod: str) -> KubeObject:
        """The status of the pod's first container, empty while there is none."""
        statuses = self.object("pod", pod)["status"].get("containerStatuses") or [{}]
        found: KubeObject = statuses[0]
        return found

    def until(self, what: str, condition: Callable[[], T | None], *, timeout_s: float) -> T:
        """The first true value of ``condition``, asked again and again; fails by name when none comes in time."""
        deadline = time.monotonic() + timeout_s
        while True:
            value = condition()
            if value:
                return value
            assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
            time.sleep(0.05)

    def apply_sample(self) -> None:
        """The sample service, without its fixed node port so that it may run in several namespaces."""
        manifest = (ROOT / "manifests" / "service.yaml").read_text(encoding="utf-8")
        self.kubectl("apply", "-f", "-", stdin=re.sub(r"\n\s+nodePort: \d+", "", manifest))
        self.until("two replicas are ready", lambda: self.ready_replicas("web") >= 2, timeout_s=30)

    @property
    def config_maps(self) -> str:
        """The path of the namespace's ConfigMaps."""
        return f"/api/v1/namespaces/{self.namespace}/configmaps"

    def ready_replicas(self, deployment: str) -> int:
        return int(self.object("deploy", deployment)["status"].get("readyReplicas", 0))

    def pid(self, role: str) -> int:
        """The process that plays a role now; waits for its replacement if it was just killed."""
        paths = SupervisorPaths(self.cluster.run_dir / "supervisor")
        return self.until(
            f"{role} runs",
            lambda: (
                r.identity.pid
                if (r := read_state(paths.state).get(role)) and Path(f"/proc/{r.identity.pid}").exists()
                else 0
            ),
            timeout_s=10,
        )

    @contextmanager
    def held_down(self, *roles: str) -> Iterator[None]:
        """Killed, and not started again until the end: the supervisor is stopped meanwhile."""
        supervisor = int(SupervisorPaths(self.cluster.run_dir / "supervisor").lock.read_text().split()[0])
        os.kill(supervisor, signal.SIGSTOP)
        try:
            for role in roles:
                os.kill(self.pid(role), signal.SIGKILL)
            yield
        finally:
            os.kill(supervisor, signal.SIGCONT)

    def raw(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """One HTTPS request from a thread inside the cluster's network; status and answer. Raises OSError."""
        result: list[tuple[int, bytes] | BaseException] = []

        def run() -> None:
            try:
                self.enter_network()
                result.append(self.raw_here(method, path, body))
            except OSError as error:
                result.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if isinstance(result[0], BaseException):
            raise result[0]
        return result[0]

    def raw_here(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """The same from a thread that has already entered the network."""
        pki = self.cluster.data_dir / "pki"
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        connection = http.client.HTTPSConnection("127.0.0.1", 6443, context=context, timeout=5)
        try:
            connection.request(method, path, body=body, headers={"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def enter_network(self) -> None:
        """Move the calling thread, which must end afterwards, into the cluster's network namespace."""
        with Path(f"/run/netns/{self.cluster.network.name}").open("rb") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    @contextmanager
    def asking_client(self) -> Iterator[AskingClient]:
        """A pod that resolves the service ``web`` and asks it about 50 times a second until the end."""
        self.kubectl("apply", "-f", "-", stdin=CLIENT)
        client = AskingClient(self)
        client.wait_for_more(50)
        assert client.failures() == []
        yield client
        self.kubectl("delete", "pod", "client")


class AskingClient:
    """The client pod's own account: a count every 50 requests and a line for each request that failed."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario

    def asked(self) -> int:
        counts = re.findall(r"asked (\d+)", self._log("--tail=20"))
        return int(counts[-1]) if counts else 0

    def failures(self) -> list[str]:
        return re.findall(r"FAILED.*", self._log())

    def wait_for_more(self, requests: int) -> None:
        wanted = self.asked() + requests
        self._scenario.until(f"{wanted} requests are made", lambda: self.asked() >= wanted, timeout_s=30)

    def _log(self, *options: str) -> str:
        if not self._scenario.try_kubectl("logs", "client", *options):
            return ""
        return self._scenario.kubectl("logs", "client", *options)


def _failure(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode != 0, f"succeeded: {result.stdout}"
    return result.stderr
