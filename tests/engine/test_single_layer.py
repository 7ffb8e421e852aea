"""One layer on its own, as authors of layers check theirs."""

from __future__ import annotations

import numpy as np
import pytest

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.errors import NetError, PrototxtError
from caffepy.engine.gradient_check import GradientError, check_layer
from caffepy.engine.single_layer import make_layer


def test_a_layer_runs_both_ways_without_a_net() -> None:
    run = make_layer('type: "Power" power_param { scale: 3 }', [[[1.0, 2.0]]])
    np.testing.assert_allclose(run.forward()[0], [[3, 6]])
    np.testing.assert_allclose(run.backward([[1.0, 10.0]])[0], [[3, 30]])


def test_gradients_of_parameters_do_not_pile_up() -> None:
    run = make_layer('type: "Bias"', [np.zeros((2, 3))])
    for _ in range(2):
        run.forward()
        run.backward(np.ones((2, 3)))
    np.testing.assert_allclose(run.layer.blobs[0].diff.read(), [2, 2, 2])


def test_an_unknown_type_and_an_unread_block_are_refused() -> None:
    with pytest.raises(NetError, match=r"type 'ReLu' does not exist. Did you mean 'ReLU'"):
        make_layer('type: "ReLu"', [[1.0]])
    with pytest.raises(PrototxtError, match=r"type has no block 'rely_param'. Did you mean"):
        make_layer('type: "ReLU" rely_param { negative_slope: 1 }', [[1.0]])


def test_a_check_that_compares_nothing_fails() -> None:
    assert check_layer('type: "ReLU"', [[1.0, 0.0]]) == 1
    with pytest.raises(GradientError, match="expected elements to compare, got none, or only"):
        check_layer('type: "ReLU"', [[0.0]])
