"""Fixtures for the tests of pycaffe's interface."""

from __future__ import annotations

import pytest

from caffepy.engine import pymode


@pytest.fixture(autouse=True)
def process_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes back what pycaffe's functions set for the process."""
    monkeypatch.setattr(pymode, "_process", type(pymode._process)())
