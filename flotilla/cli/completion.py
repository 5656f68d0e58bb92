"""``flotilla completion``: a script that teaches a shell to complete the program's words."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Literal

import typer

from flotilla.cli.main import COMPLETION_VARIABLE


def completion(shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(help="The shell.")]) -> None:
    """Print the completion script of a shell.

    Example: [bold]source <(flotilla completion bash)[/bold]
    """
    script = import_module("typer.completion").get_completion_script(
        prog_name="flotilla", complete_var=COMPLETION_VARIABLE, shell=shell
    )
    print(script)
