"""Whether the tests that need a GPU can run."""

from __future__ import annotations

import pytest

from caffepy.engine.ops.cuda import runtime


def test_a_gpu_is_there_for_the_tests_that_need_one() -> None:
    if (reason := runtime.available()) is not None:
        pytest.skip(f"tests marked gpu are left out: {reason}")
    assert runtime.count() > 0
