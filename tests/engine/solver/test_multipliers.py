"""lr_mult: negative ones, and frozen parameters that get a gradient nonetheless."""

from __future__ import annotations

import numpy as np
import pytest

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.errors import NetError
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.solver.solver import Solver
from tests.engine.solver.running import filled, gradients, parameters, text_settings

NET = """
layer { name: "data" type: "Input" top: "x" top: "y"
  input_param { shape { dim: 4 dim: 3 } shape { dim: 4 dim: 3 } } }
layer { name: "first" type: "InnerProduct" bottom: "x" top: "h" param { %s }
  inner_product_param { num_output: 3 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "second" type: "InnerProduct" bottom: "h" top: "z" param { %s }
  inner_product_param { num_output: 3 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "z" bottom: "y" top: "loss" }
"""
RULES = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam", "AdamW", "LARS")


def solver(rule: str, first: str, second: str = "", more: str = "") -> Solver:
    momentum = "" if rule in ("AdaGrad", "RMSProp") else "momentum: 0.5"
    text = f"""type: "{rule}" {momentum} base_lr: 0.1 lr_policy: "fixed" random_seed: 1 delta: 1e-3
    snapshot_diff: true net_param {{ {more} {NET % (first, second)} }}"""
    return filled(Solver(text_settings(text), ops=NumpyOps(np.float64), registry=LAYERS))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("first", "second", "more"),
    [
        ("lr_mult: 0", "", "force_backward: true"),
        ('lr_mult: 0 name: "w"', 'name: "w"', ""),  # the second layer adds to the gradient
    ],
)
def test_a_frozen_parameter_with_a_gradient_keeps_its_weights_and_has_a_history(
    rule: str, first: str, second: str, more: str
) -> None:
    """As in Caffe: the update, 0, is left in the diff; the history is that of the gradient where
    the rate is no factor of it."""
    trained = solver(rule, first, second, more)
    weights, gradient = parameters(trained)[0], gradients(trained)[0]
    assert gradient.any()
    trained.step(1)
    frozen = trained.net.parameters.learnable[0].blob
    np.testing.assert_array_equal(frozen.data.read(), weights)
    assert not frozen.diff.read().any()
    expected = {
        "AdaGrad": gradient**2,
        "RMSProp": (1 - float(np.float32(0.99))) * gradient**2,
        "AdaDelta": 0.5 * gradient**2,
        "Adam": 0.5 * gradient,
        "AdamW": 0.5 * gradient,
    }
    np.testing.assert_allclose(trained.rule.past(0, 0).read(), expected.get(rule, 0 * gradient))


@pytest.mark.parametrize("rule", RULES)
def test_a_negative_lr_mult_climbs(rule: str) -> None:
    moves = []
    for mult in (2, -2):
        trained = solver(rule, f"lr_mult: {mult}")
        before = parameters(trained)[0]
        trained.step(1)
        moves.append(parameters(trained)[0] - before)
    assert moves[0].any()
    np.testing.assert_allclose(moves[0], -moves[1])


@pytest.mark.parametrize("field", ["larc: true", "local_lr_auto: true"])
def test_a_negative_lr_mult_is_refused_where_it_would_be_replaced(field: str) -> None:
    text = f"""base_lr: 0.1 lr_policy: "fixed" {field}
    net_param {{ {NET % ("lr_mult: -1", "")} }}"""
    with pytest.raises(NetError, match=r"'first' .*parameter 0: expected lr_mult from 0 up .*-1"):
        Solver(text_settings(text), ops=NumpyOps(), registry=LAYERS)
