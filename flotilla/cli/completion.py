"""``flotilla completion``: a script that teaches a shell to complete the program's words."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from flotilla.cli.main import COMPLETION_VARIABLE


def completion(shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(help="The shell.")]) -> None:
    """Print the completion script of a shell.

    Example: [bold]source <(flotilla completion bash)[/bold]
    """
    from typer.completion import get_completion_script

    print(get_completion_script(prog_name="flotilla", complete_var=COMPLETION_VARIABLE, shell=shell))
