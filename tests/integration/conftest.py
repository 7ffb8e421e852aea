"""Fixtures of the tests that run commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffepy.tools import cli
from tests.integration.refusals import Run


@pytest.fixture
def run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    log_as_before: None,
) -> Run:
    """Runs a command line in tmp_path: its status, and what it printed but for log lines."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> tuple[int, str]:
        status = cli._run(list(arguments), debug=False)
        printed = capsys.readouterr()
        text = printed.out + printed.err
        start = max(text.rfind("\ncaffepy: "), 0)
        return status, text[start:].strip()

    return command
