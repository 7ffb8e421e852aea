"""Commands, called as the command line calls them."""

from __future__ import annotations

from typing import Any

from click.testing import CliRunner

from caffepy.tools.arguments import normalise, option_table


def invoke(command: Any, *arguments: str) -> None:
    """Runs it; it has to succeed."""
    given = normalise([*arguments], option_table(command))
    done = CliRunner().invoke(command, given, catch_exceptions=False)
    assert done.exit_code == 0, done.output
