"""``flotilla describe``: everything about an object on one sheet, with the events that explain it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from flotilla.api.objects import KubeObject
from flotilla.cli import options
from flotilla.cli.client import Client
from flotilla.cli.describing import cluster, generic, pods, workloads
from flotilla.cli.describing.sheet import Sheet
from flotilla.cli.discovery import Discovery
from flotilla.cli.failures import CommandError
from flotilla.cli.targets import Target, parse_targets

DESCRIBERS: dict[str, Callable[[Sheet, Client, KubeObject], None]] = {
    "Pod": pods.describe_pod,
    "Deployment": workloads.describe_deployment,
    "ReplicaSet": workloads.describe_replica_set,
    "HorizontalPodAutoscaler": workloads.describe_autoscaler,
    "Node": cluster.describe_node,
    "Service": cluster.describe_service,
}


def describe(
    words: Annotated[list[str], typer.Argument(metavar="TYPE [NAME...] | TYPE/NAME...", help="What to describe.")],
    namespace: options.Namespace = None,
    all_namespaces: options.AllNamespaces = False,
    selector: options.Selector = "",
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Show everything about objects, events included.

    Examples: [bold]flotilla describe pod web-abc[/bold], [bold]flotilla describe hpa web[/bold],
    [bold]flotilla describe nodes[/bold]
    """
    with options.connect(kubeconfig, context, namespace) as client:
        scope = None if all_namespaces else client.namespace
        found = [
            obj for each in parse_targets(words, Discovery(client)) for obj in _objects(client, each, scope, selector)
        ]
        if not found:
            raise CommandError(f"nothing found in namespace {scope}" if scope else "nothing found")
        for number, obj in enumerate(found):
            if number:
                print("\n")
            print("\n".join(sheet_of(client, obj).lines()))


def sheet_of(client: Client, obj: KubeObject) -> Sheet:
    """The description of ``obj`` by its kind, then its events."""
    sheet = Sheet()
    DESCRIBERS.get(obj["kind"], generic.describe)(sheet, client, obj)
    generic.events(sheet, client, obj)
    return sheet


def _objects(client: Client, target: Target, namespace: str | None, selector: str) -> list[KubeObject]:
    path = target.kind.path(namespace, target.name)
    if target.name:
        return [client.get(path)]
    listed = client.get(path, {"labelSelector": selector}).get("items") or []
    return [{"apiVersion": target.kind.api_version, "kind": target.kind.kind} | each for each in listed]
