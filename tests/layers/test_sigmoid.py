"""Sigmoid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, compare, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("Sigmoid"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("names", ["", 'bottom: "x" top: "x"'])
def test_gradient(names: str) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    check_layer_gradient(f'type: "Sigmoid" {names}', [x])


def test_large_inputs_neither_overflow_nor_become_nan(ops: Ops) -> None:
    (top,) = make_layer('type: "Sigmoid"', [np.array([-1e30, 0, 1e30])], ops=ops).forward()
    compare(top, [0, 0.5, 1], "limits")
