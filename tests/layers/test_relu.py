"""ReLU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, run_golden


@pytest.mark.parametrize("case", golden_cases("ReLU"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("slope", [0, 0.3])
def test_gradient(slope: float) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    check_layer_gradient(f'type: "ReLU" relu_param {{ negative_slope: {slope} }}', [x])
