"""RNN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden
from tests.recurrent import Arrays, Case, cases, check_steps, differentiable_cases, layer, sequences


@pytest.mark.parametrize("case", golden_cases("RNN"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@settings(max_examples=15, deadline=None)
@given(case=differentiable_cases("RNN"))
def test_gradient(case: Case) -> None:
    check_layer_gradient(case.text, case.bottoms, bottoms=case.differentiable)


def step(
    x: np.ndarray, static: np.ndarray | None, cont: float, states: Arrays, blobs: Arrays
) -> tuple[np.ndarray, Arrays]:
    """One step of one sequence, by the formula."""
    w_x, bias, *w_static, w_h, w_y, bias_y = blobs
    inner = w_x @ x + bias + w_h @ (cont * states[0])
    if static is not None:
        inner += w_static[0] @ static
    h = np.tanh(inner)
    return np.tanh(w_y @ h + bias_y), [h]


@settings(max_examples=30, deadline=None)
@given(case=cases("RNN"))
def test_each_step_follows_the_formula_over_several_passes(case: Case) -> None:
    check_steps(case, step)


def test_a_hand_written_case(ops: Ops) -> None:
    text = """type: "RNN" recurrent_param { num_output: 1 weight_filler { value: 2 }
    bias_filler { value: 0.5 } }"""
    run = make_layer(text, [np.array([[[1.0]], [[-1.0]]]), np.array([[0], [1]])], ops=ops)
    first = np.tanh(2 * 1 + 0.5)
    second = np.tanh(2 * -1 + 0.5 + 2 * first)
    expected = np.tanh(2 * np.array([first, second]) + 0.5)
    np.testing.assert_allclose(run.forward()[0].reshape(-1), expected, rtol=1e-6)


def test_a_layer_that_changes_its_output_in_place_does_not_spoil_the_gradient(ops: Ops) -> None:
    """As in Caffe, where each step has its own blob."""
    run = make_layer(layer("RNN", 4), sequences(3, 2, 3), ops=ops)
    run.forward()
    run.top[0].diff.write()[...] = 1
    run.backward([True, False])
    expected = [blob.diff.read().copy() for blob in (run.bottom[0], *run.layer.blobs)]
    run.top[0].data.write()[...] = 7
    run.top[0].diff.write()[...] = 1
    run.backward([True, False])
    for blob, gradient in zip((run.bottom[0], *run.layer.blobs), expected, strict=True):
        np.testing.assert_array_equal(blob.diff.read(), gradient)
