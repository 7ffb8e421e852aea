"""Silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.ops.base import Ops
from tests.harness import golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("Silence"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def test_gradient_is_zero_where_one_is_asked_for(ops: Ops) -> None:
    run = make_layer('type: "Silence"', [np.ones((2, 3)), np.ones(4)], ops=ops)
    for blob in run.bottom:
        blob.diff.write()[...] = 7
    run.forward()
    run.backward([True, False])
    np.testing.assert_array_equal(run.bottom[0].diff.read(), np.zeros((2, 3)))
    np.testing.assert_array_equal(run.bottom[1].diff.read(), np.full(4, 7))
