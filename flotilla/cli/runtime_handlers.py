"""Handlers of RuntimeClasses as the agent's options give them."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flotilla.cli.failures import CommandError

if TYPE_CHECKING:
    from nodeagent.runtime.runtimes import Handler


def read_handlers(texts: Sequence[str]) -> tuple[Handler, ...]:
    """Handlers from ``NAME=PROGRAM OPTION ...``. Raises CommandError."""
    return tuple(_handler(text) for text in texts)


def _handler(text: str) -> Handler:
    from nodeagent.runtime.runtimes import Handler

    name, _, command = text.partition("=")
    words = shlex.split(command)
    if not name or not words:
        raise CommandError(f"--runtime-handler: {text!r} is not NAME=PROGRAM, such as runsc=/usr/bin/runsc")
    program = shutil.which(words[0])
    if program is None:
        raise CommandError(f"--runtime-handler {name}: {words[0]} is not installed")
    return Handler(name, program, tuple(words[1:]))
