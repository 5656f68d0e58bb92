"""The command line program: which commands there are, and what their failures look like.

A command is a function in a module of its own that is imported only when the command is asked for: the start of
``flotilla get`` pays for nothing but itself. Only ``--help`` and shell completion load every module. The long-running
processes don't even load the command line library.

Failures go to standard error with exit code 1, a wrong use of the command line included, as users of kubectl expect.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from flotilla.cli.failures import CommandError

if TYPE_CHECKING:
    import typer

COMPLETION_VARIABLE = "_FLOTILLA_COMPLETE"

PROCESSES = ("server", "agent", "dns")

COMMANDS: dict[str, str] = {
    "up": "flotilla.cli.cluster:up",
    "down": "flotilla.cli.cluster:down",
    "apply": "flotilla.cli.apply:apply",
    "get": "flotilla.cli.get:get",
    "describe": "flotilla.cli.describe:describe",
    "logs": "flotilla.cli.logs:logs",
    "scale": "flotilla.cli.scale:scale",
    "delete": "flotilla.cli.delete:delete",
    "top": "flotilla.cli.top:top",
    "autoscale": "flotilla.cli.autoscale:app",
    "version": "flotilla.cli.version:version",
    "image": "flotilla.cli.image:app",
    "node": "flotilla.cli.node:app",
    "token": "flotilla.cli.token:app",
    "completion": "flotilla.cli.completion:completion",
}

PANELS = {
    "up": "Cluster",
    "down": "Cluster",
    "image": "Cluster",
    "node": "Cluster",
    "token": "Cluster",
    "version": "Other",
    "completion": "Other",
}


def main() -> None:
    """Run the program on ``sys.argv``."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in PROCESSES:
        from flotilla.cli.processes import run_process

        run_process(arguments)
        return
    try:
        build_app(_wanted(arguments))(args=arguments, prog_name="flotilla", standalone_mode=True)
    except CommandError as error:
        fail(str(error), code=error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except SystemExit as stop:
        sys.exit(1 if stop.code == 2 else stop.code)


def fail(message: str, *, code: int = 1) -> None:
    """Print ``message`` on standard error, in red where that is a terminal, and leave with ``code``."""
    prefix = "\033[1;31merror:\033[0m" if sys.stderr.isatty() else "error:"
    print(message if message.startswith("Error ") else f"{prefix} {message}", file=sys.stderr)
    sys.exit(code)


def build_app(names: list[str]) -> typer.Typer:
    """The program with the commands ``names`` only."""
    import typer

    app = typer.Typer(
        name="flotilla",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        epilog=f"Processes that up starts: {', '.join(PROCESSES)} (see flotilla server --help).",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(program)
    for name in names:
        _register(app, name)
    if COMPLETION_VARIABLE in os.environ:
        import_module("typer.completion").completion_init()
    return app


def program() -> None:
    """Run containers on one machine or many: Kubernetes' API, in one small process for each role.

    Example: [bold]sudo flotilla up[/bold], then [bold]flotilla apply -f manifests/service.yaml[/bold]
    """


def _wanted(arguments: list[str]) -> list[str]:
    """The one command that the first word names, or all of them for help, completion and mistakes."""
    first = arguments[0] if arguments else ""
    if first in COMMANDS and COMPLETION_VARIABLE not in os.environ:
        return [first]
    return list(COMMANDS)


def _register(app: typer.Typer, name: str) -> None:
    module, attribute = COMMANDS[name].split(":")
    target: Any = getattr(import_module(module), attribute)
    panel = PANELS.get(name, "Objects")
    if attribute == "app":
        app.add_typer(target, name=name, rich_help_panel=panel)
    else:
        app.command(name, rich_help_panel=panel)(target)
