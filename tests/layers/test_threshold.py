"""Threshold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError
from caffepy.engine.ops.base import Ops
from tests.harness import golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("Threshold"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def test_the_threshold_itself_is_not_above_it(ops: Ops) -> None:
    text = 'type: "Threshold" bottom: "x" top: "x" threshold_param { threshold: 0.7 }'
    x = np.float32([0.7, 0.70001, -1, np.nan])
    (top,) = make_layer(text, [x], ops=ops).forward()
    np.testing.assert_array_equal(top, [0, 1, 0, 0])


def test_a_gradient_is_refused() -> None:
    run = make_layer('type: "Threshold"', [np.ones(3)])
    with pytest.raises(NetError, match="bottom 'bottom_0' needs a gradient, but a threshold has"):
        run.layer.backward(run.top, [True], run.bottom)
    assert not run.layer.allow_force_backward(0)
