"""Handlers of RuntimeClasses as options give them."""

from __future__ import annotations

import pytest

from flotilla.cli.failures import CommandError
from flotilla.cli.runtime_handlers import read_handlers
from nodeagent.runtime.runtimes import Handler


def test_a_program_and_its_options() -> None:
    """The program is looked up, options are split as a shell does."""
    assert read_handlers(["box=/bin/sh --platform=ptrace '--log=/a b'"]) == (
        Handler("box", "/bin/sh", ("--platform=ptrace", "--log=/a b")),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("box", "is not NAME=PROGRAM"),
        ("=/bin/sh", "is not NAME=PROGRAM"),
        ("box=/no/such", "/no/such is not installed"),
    ],
)
def test_what_is_no_handler(text: str, message: str) -> None:
    """The message says what is expected, or what is not there."""
    with pytest.raises(CommandError, match=message):
        read_handlers([text])
