"""A pod with some of everything that an agent makes for pods, which ends in two ways and counts its beginnings."""

from __future__ import annotations

import signal

from flotilla.api.objects import KubeObject
from flotilla.api.resources import CONFIG_MAPS, SECRETS
from tests.integration.dispatcher_lab import new_object
from tests.integration.faults.node_lab import Lab, pod_of

CRASH_SIGNAL, CRASH_CODE, STOP_CODE = signal.SIGUSR1, 9, 7
SCRIPT = f"""
echo begun >>/data/begun
trap 'exit {STOP_CODE}' TERM
trap 'exit {CRASH_CODE}' USR1
touch /data/up
while :; do sleep 100 & wait $!; done
"""


def subject(name: str = "web", *, host_port: int = 8080) -> KubeObject:
    """Needs what ``create_objects`` makes."""
    probe = {"exec": {"command": ["test", "-e", "/data/up"]}, "periodSeconds": 60}
    mounts = [{"name": volume, "mountPath": f"/{volume}"} for volume in ("data", "memory", "config", "secret")]
    volumes = [
        {"name": "data", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "config", "configMap": {"name": "web"}},
        {"name": "secret", "secret": {"secretName": "web"}},
    ]
    resources = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}}
    return pod_of(
        SCRIPT,
        name=name,
        spec={"volumes": volumes},
        volumeMounts=mounts,
        readinessProbe=probe,
        resources=resources,
        ports=[{"containerPort": 80, "hostPort": host_port}],
    )


async def create_objects(lab: Lab) -> None:
    """The ConfigMap and the Secret of all subjects."""
    await lab.objects.create(CONFIG_MAPS, new_object("ConfigMap", "web", data={"a": "1"}), manager="test")
    await lab.objects.create(SECRETS, new_object("Secret", "web", stringData={"b": "2"}), manager="test")


def begun(lab: Lab, uid: str) -> int:
    """How often the program has begun in this pod."""
    [file] = (lab.data_dir / "pods" / uid / "volumes").rglob("begun")
    return len(file.read_text().splitlines())
