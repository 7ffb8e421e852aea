"""AbsVal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("AbsVal"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def test_gradient() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    check_layer_gradient('type: "AbsVal"', [x])


def test_cannot_work_in_place() -> None:
    with pytest.raises(NetError, match="it cannot work in place: top 'x' is also a bottom"):
        make_layer('type: "AbsVal" bottom: "x" top: "x"', [np.ones(2)])
