"""Follow a pod's log with each Python client: ``read_logs.py NAMESPACE POD`` prints ``client: line`` for each line."""

from __future__ import annotations

import sys

import kr8s
from kr8s.objects import Pod as Kr8sPod
from kubernetes import client, config, watch
from lightkube import Client


def with_kubernetes(namespace: str, pod: str) -> list[str]:
    config.load_kube_config()
    core = client.CoreV1Api()
    return list(watch.Watch().stream(core.read_namespaced_pod_log, pod, namespace, follow=True))


def with_kr8s(namespace: str, pod: str) -> list[str]:
    return list(Kr8sPod.get(pod, namespace=namespace, api=kr8s.api()).logs(follow=True))


def with_lightkube(namespace: str, pod: str) -> list[str]:
    return [line.rstrip("\n") for line in Client().log(pod, namespace=namespace, follow=True)]


def main() -> None:
    for read in (with_kubernetes, with_kr8s, with_lightkube):
        for line in read(*sys.argv[1:]):
            print(f"{read.__name__.removeprefix('with_')}: {line}", flush=True)


if __name__ == "__main__":
    main()
