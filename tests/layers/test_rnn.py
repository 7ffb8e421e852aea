"""RNN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("RNN"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@settings(max_examples=15, deadline=None)
@given(
    steps=st.integers(1, 4),
    samples=st.integers(1, 3),
    features=st.lists(st.integers(1, 2), min_size=1, max_size=2),
    size=st.integers(1, 3),
    static=st.booleans(),
)
def test_gradient(steps: int, samples: int, features: list[int], size: int, static: bool) -> None:
    random = np.random.default_rng(0)
    cont = random.integers(0, 2, (steps, samples))
    cont[0] = 0  # the state before the first pass would differ from that before the next ones
    bottoms = [random.standard_normal((steps, samples, *features)), cont]
    if static:
        bottoms.append(random.standard_normal((samples, 2)))
    text = f"""type: "RNN" recurrent_param {{ num_output: {size}
    weight_filler {{ type: "uniform" min: -0.5 max: 0.5 }} bias_filler {{ value: 0.1 }} }}"""
    check_layer_gradient(text, bottoms, bottoms=[0, 2] if static else [0])


def test_a_hand_written_case(ops: Ops) -> None:
    text = """type: "RNN" recurrent_param { num_output: 1 weight_filler { value: 2 }
    bias_filler { value: 0.5 } }"""
    run = make_layer(text, [np.array([[[1.0]], [[-1.0]]]), np.array([[0], [1]])], ops=ops)
    first = np.tanh(2 * 1 + 0.5)
    second = np.tanh(2 * -1 + 0.5 + 2 * first)
    expected = np.tanh(2 * np.array([first, second]) + 0.5)
    np.testing.assert_allclose(run.forward()[0].reshape(-1), expected, rtol=1e-6)
