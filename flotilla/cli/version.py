"""``flotilla version``: of the program, and of the server where one answers."""

from __future__ import annotations

from typing import Annotated

import typer

from flotilla import __version__
from flotilla.cli import options


def version(
    client: Annotated[bool, typer.Option("--client", help="Ask no server.")] = False,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Print the version of the program and of the server.

    Example: [bold]flotilla version[/bold]
    """
    print(f"Program: flotilla {__version__}")
    if client:
        return
    with options.connect(kubeconfig, context) as connection:
        print(f"Server:  {connection.get('/version')['gitVersion']} at {connection.server}")
