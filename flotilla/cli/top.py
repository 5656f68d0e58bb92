"""``flotilla top``: what nodes and pods use now, from ``metrics.k8s.io``; live where nothing is named."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flotilla.api.objects import KubeObject
from flotilla.api.quantities import bytes_of, cpu_millis
from flotilla.cli import options
from flotilla.cli.client import Client
from flotilla.cli.failures import CommandError
from flotilla.cli.tables import TableWriter

METRICS = "/apis/metrics.k8s.io/v1beta1"
MEBIBYTE = 1024**2


def top(
    what: Annotated[
        str, typer.Argument(metavar="nodes | pods", help="What to measure; all of it, live, if empty.")
    ] = "",
    name: Annotated[str, typer.Argument(help="Only this one.")] = "",
    namespace: options.Namespace = None,
    all_namespaces: options.AllNamespaces = False,
    selector: options.Selector = "",
    containers: Annotated[bool, typer.Option(help="Each container of the pods.")] = False,
    frames: Annotated[int, typer.Option(help="Live: end after so many seconds.", min=0)] = 0,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Show the CPU and memory that nodes or pods use; nodes, pods and autoscalers live where nothing is named.

    Examples: [bold]flotilla top[/bold], [bold]flotilla top nodes[/bold], [bold]flotilla top pods -A[/bold],
    [bold]flotilla top pods --containers[/bold]
    """
    with options.connect(kubeconfig, context, namespace) as client:
        if not what:
            from flotilla.cli.dashboard import show

            show(client, all_namespaces=all_namespaces, frames=frames)
        elif what in {"node", "nodes", "no"}:
            _nodes(client, name, selector)
        elif what in {"pod", "pods", "po"}:
            scope = "" if all_namespaces else f"/namespaces/{client.namespace}"
            found = _fetch(client, f"{METRICS}{scope}/pods", name, selector)
            _pods(found, with_namespace=all_namespaces, containers=containers)
        else:
            raise CommandError(f"top shows nodes or pods, not {what}")


def _fetch(client: Client, path: str, name: str, selector: str) -> list[KubeObject]:
    if name:
        return [client.get(f"{path}/{name}")]
    return list(client.get(path, {"labelSelector": selector}).get("items") or ())


def _nodes(client: Client, name: str, selector: str) -> None:
    rows = []
    for metrics in _fetch(client, f"{METRICS}/nodes", name, selector):
        node = client.get(f"/api/v1/nodes/{metrics['metadata']['name']}")
        allocatable = node["status"].get("allocatable") or {}
        cpu, memory = cpu_millis(metrics["usage"]["cpu"]), bytes_of(metrics["usage"]["memory"])
        rows.append(
            [
                metrics["metadata"]["name"],
                f"{cpu}m",
                _percent(cpu, cpu_millis(allocatable.get("cpu", 0))),
                f"{memory // MEBIBYTE}Mi",
                _percent(memory, bytes_of(allocatable.get("memory", 0))),
            ]
        )
    TableWriter(["name", "cpu(cores)", "cpu%", "memory(bytes)", "memory%"]).write(rows)


def _percent(used: int, available: int) -> str:
    return f"{100 * used // available}%" if available else "<unknown>"


def _pods(found: list[KubeObject], *, with_namespace: bool, containers: bool) -> None:
    columns = ["namespace"] if with_namespace else []
    columns += ["pod" if containers else "name", *(["name"] if containers else []), "cpu(cores)", "memory(bytes)"]
    rows: list[list[Any]] = []
    for pod in found:
        leading = ([pod["metadata"]["namespace"]] if with_namespace else []) + [pod["metadata"]["name"]]
        measured = [(each["name"], *_usage(each)) for each in pod.get("containers") or ()]
        if containers:
            rows += [[*leading, name, *_shown(cpu, memory)] for name, cpu, memory in measured]
        else:
            totals = sum(cpu for _, cpu, _ in measured), sum(memory for _, _, memory in measured)
            rows.append([*leading, *_shown(*totals)])
    TableWriter(columns).write(sorted(rows))


def _usage(container: KubeObject) -> tuple[int, int]:
    return cpu_millis(container["usage"]["cpu"]), bytes_of(container["usage"]["memory"])


def _shown(cpu: int, memory: int) -> tuple[str, str]:
    return f"{cpu}m", f"{memory // MEBIBYTE}Mi"
