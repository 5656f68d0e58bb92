"""What a command raises when it can't do what was asked."""

from __future__ import annotations


class CommandError(Exception):
    """A failure with a message for the user; ``exit_code`` is the program's exit code."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
