"""Options that several commands share, spelled once, and the client that they lead to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flotilla.cli.client import Client
from flotilla.cli.kubeconfig import load_cluster

Kubeconfig = Annotated[
    Path | None, typer.Option("--kubeconfig", help="Kubeconfig file.", show_default="$KUBECONFIG or the local cluster")
]
Context = Annotated[str | None, typer.Option("--context", help="Context of the kubeconfig.")]
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace.", show_default="default")]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="Every namespace.")]
Selector = Annotated[str, typer.Option("--selector", "-l", help="Label selector, like app=web,tier!=db.")]
FieldSelector = Annotated[str, typer.Option("--field-selector", help="Field selector, like status.phase=Running.")]
Files = Annotated[
    list[str] | None,
    typer.Option("--filename", "-f", help="File, directory, URL, or - for standard input; may be repeated."),
]


def connect(kubeconfig: Path | None, context: str | None, namespace: str | None = None) -> Client:
    """A client of the cluster that the options name, with ``namespace`` as its default one when given."""
    client = Client(load_cluster(kubeconfig, context=context))
    if namespace:
        client.namespace = namespace
    return client
