"""Small whole nets: every blob and gradient of a forward and a backward pass of Caffe."""

from __future__ import annotations

import pytest

from caffepy.engine.ops.base import Ops
from tests.net_cases import NETS, run_net


@pytest.mark.parametrize("case", sorted(path.name for path in NETS.iterdir()))
def test_a_whole_net_equals_caffe(case: str, ops: Ops) -> None:
    run_net(NETS / case, ops)
