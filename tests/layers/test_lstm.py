"""LSTM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("LSTM"), ids=lambda case: case.name)
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
    text = f"""type: "LSTM" recurrent_param {{ num_output: {size}
    weight_filler {{ type: "uniform" min: -0.5 max: 0.5 }} bias_filler {{ value: 0.1 }} }}"""
    check_layer_gradient(text, bottoms, bottoms=[0, 2] if static else [0])


def test_a_hand_written_case(ops: Ops) -> None:
    text = """type: "LSTM" recurrent_param { num_output: 1 weight_filler { value: 1 }
    bias_filler { value: 0.5 } }"""
    run = make_layer(text, [np.array([[[1.0]], [[-1.0]]]), np.array([[0], [1]])], ops=ops)

    def step(x: float, h: float, c: float) -> tuple[float, float]:
        gate = 1 / (1 + np.exp(-(x + h + 0.5)))
        c = gate * c + gate * np.tanh(x + h + 0.5)
        return gate * np.tanh(c), c

    first = step(1, 0, 0)
    second = step(-1, *first)
    np.testing.assert_allclose(run.forward()[0].reshape(-1), [first[0], second[0]], rtol=1e-6)
