"""Small whole nets: every blob and gradient of a forward and a backward pass of Caffe, or a fork of
it."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffepy.engine.ops.base import Ops
from tests.net_cases import NETS, run_net


@pytest.mark.parametrize("case", NETS, ids=lambda case: case.name)
def test_a_whole_net_equals_caffe(case: Path, ops: Ops) -> None:
    run_net(case, ops)
