"""``flotilla scale``: how many copies a workload has."""

from __future__ import annotations

from typing import Annotated

import typer

from flotilla.cli import options
from flotilla.cli.discovery import Discovery
from flotilla.cli.failures import CommandError
from flotilla.cli.targets import parse_targets


def scale(
    words: Annotated[list[str], typer.Argument(metavar="TYPE NAME... | TYPE/NAME...", help="What to scale.")],
    replicas: Annotated[int, typer.Option(help="How many copies there shall be.", min=0)],
    namespace: options.Namespace = None,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Set the number of copies of a Deployment or ReplicaSet.

    Example: [bold]flotilla scale deploy/web --replicas 5[/bold]
    """
    with options.connect(kubeconfig, context, namespace) as client:
        for target in parse_targets(words, Discovery(client)):
            if not target.name:
                raise CommandError("name what to scale: flotilla scale deploy/web --replicas 5")
            path = target.kind.path(client.namespace, target.name, subresource="scale")
            patch = {"spec": {"replicas": replicas}}
            client.patch(path, patch, content_type="application/merge-patch+json")
            print(f"{target.kind.prefix}/{target.name} scaled")
