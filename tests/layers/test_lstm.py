"""LSTM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden
from tests.recurrent import Arrays, Case, cases, check_steps, differentiable_cases


@pytest.mark.parametrize("case", golden_cases("LSTM"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@settings(max_examples=15, deadline=None)
@given(case=differentiable_cases("LSTM"))
def test_gradient(case: Case) -> None:
    check_layer_gradient(case.text, case.bottoms, bottoms=case.differentiable)


def step(
    x: np.ndarray, static: np.ndarray | None, cont: float, states: Arrays, blobs: Arrays
) -> tuple[np.ndarray, Arrays]:
    """One step of one sequence, by the formula."""
    w_x, bias, *w_static, w_h = blobs
    h, c = states
    inner = w_x @ x + bias + w_h @ (cont * h)
    if static is not None:
        inner += w_static[0] @ static
    put, forget, output, new = np.split(inner, 4)
    put, forget, output = (1 / (1 + np.exp(-gate)) for gate in (put, forget, output))
    c = cont * forget * c + put * np.tanh(new)
    h = output * np.tanh(c)
    return h, [h, c]


@settings(max_examples=30, deadline=None)
@given(case=cases("LSTM"))
def test_each_step_follows_the_formula_over_several_passes(case: Case) -> None:
    check_steps(case, step)


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
