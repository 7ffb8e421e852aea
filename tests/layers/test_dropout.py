"""Dropout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError
from caffepy.engine.ops.base import Ops
from caffepy.proto.caffe_pb2 import TEST
from tests.harness import (
    LayerRun,
    check_layer_gradient,
    compare,
    golden_cases,
    make_layer,
    run_golden,
)

IN_PLACE = 'bottom: "x" top: "x"'


def layer(fields: str, names: str = "") -> str:
    return f'type: "Dropout" {names} dropout_param {{ {fields} }}'


def stays(run: LayerRun) -> np.ndarray:
    """Which elements of an input of ones come through."""
    run.bottom[0].data.write()[...] = 1
    return run.forward()[0] != 0


@pytest.mark.parametrize("case", golden_cases("Dropout"), ids=lambda case: case.name)
def test_equals_caffe_in_phase_test(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("ratio", [0.5, 0.3])
@pytest.mark.parametrize("names", ["", IN_PLACE])
def test_values_and_gradients_are_those_of_caffe(
    ratio: float, names: str, ops: Ops, golden: Path
) -> None:
    recorded = json.loads((golden / "stochastic" / "stochastic.json").read_text())
    expected = recorded[f"dropout_train_{ratio}"]
    run = make_layer(layer(f"dropout_ratio: {ratio}", names), [np.ones((100, 100))], ops=ops)
    (top,) = run.forward()
    compare(np.unique(top), expected["distinct_outputs"], "outputs")
    assert abs((top == 0).mean() - expected["zero_fraction"]) < 0.02
    run.top[0].diff.write()[...] = 2
    run.backward()
    gradient = run.bottom[0].diff.read()
    compare(np.unique(gradient), expected["distinct_grads"], "gradients")
    np.testing.assert_array_equal(gradient == 0, top == 0)


def test_the_mask_is_a_function_of_seed_pass_and_layer(ops: Ops) -> None:
    param, x = layer("dropout_ratio: 0.4"), np.ones((7, 31))
    run = make_layer(param, [x], ops=ops)
    first = stays(run)
    run.layer.context.passes.value = 1
    second = stays(run)
    run.layer.context.passes.value = 0
    np.testing.assert_array_equal(stays(run), first)
    assert (first != second).any()
    np.testing.assert_array_equal(stays(make_layer(param, [x])), first)
    assert (stays(make_layer(param, [x], seed=2)) != first).any()
    assert (stays(make_layer(f'name: "other" {param}', [x])) != first).any()


@pytest.mark.parametrize("names", ["", IN_PLACE])
def test_gradient(names: str) -> None:
    check_layer_gradient(layer("", names), [np.random.default_rng(0).standard_normal((3, 5))])


@pytest.mark.parametrize("names", ["", IN_PLACE])
def test_gradient_in_phase_test(names: str) -> None:
    x = np.random.default_rng(0).standard_normal((3, 5))
    check_layer_gradient(layer("", names), [x], phase=TEST)
    check_layer_gradient(layer("scale_train: false", names), [x], phase=TEST)


def test_ratio_0_changes_nothing(ops: Ops) -> None:
    (top,) = make_layer(layer("dropout_ratio: 0"), [np.arange(9)], ops=ops).forward()
    np.testing.assert_array_equal(top, np.arange(9))


def test_scale_train_false_scales_in_phase_test_instead(ops: Ops) -> None:
    param = layer("dropout_ratio: 0.25 scale_train: false")
    (top,) = make_layer(param, [np.ones(99)], ops=ops).forward()
    np.testing.assert_array_equal(np.unique(top), [0, 1])
    (top,) = make_layer(param, [np.ones(99)], ops=ops, phase=TEST).forward()
    np.testing.assert_array_equal(np.unique(top), [0.75])


@pytest.mark.parametrize("ratio", [-0.1, 1, 1.5])
def test_a_ratio_that_is_no_part_is_refused(ratio: float) -> None:
    with pytest.raises(NetError, match="dropout_ratio: expected at least 0 and less than 1"):
        make_layer(layer(f"dropout_ratio: {ratio}"), [np.ones(3)])


def test_other_fields_of_forks_are_refused() -> None:
    with pytest.raises(NetError, match="sqrt_scale: expected it to be left out or at its default"):
        make_layer(layer("sqrt_scale: true"), [np.ones(3)])
