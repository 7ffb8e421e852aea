"""Convolution and the ReLU in place of it as one primitive of oneDNN: nobody can tell."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.net import Net
from tests.conftest import onednn_ops
from tests.nets import make_net

SLOPES = [0.0, 0.25]


def net_of(slope: float = 0.0, top: str = "conv", bias: bool = True, group: int = 1) -> Net:
    return make_net(
        f"""layer {{ name: "in" type: "Input" top: "x" input_param {{
          shape {{ dim: 2 dim: 6 dim: 7 dim: 5 }} }} }}
        layer {{ name: "conv" type: "Convolution" bottom: "x" top: "conv" convolution_param {{
          num_output: 18 kernel_size: 3 pad: 1 group: {group} bias_term: {str(bias).lower()}
          weight_filler {{ type: "gaussian" }} bias_filler {{ type: "gaussian" }} }} }}
        layer {{ name: "relu" type: "ReLU" bottom: "conv" top: "{top}"
          relu_param {{ negative_slope: {slope} }} }}
        layer {{ name: "loss" type: "Reduction" bottom: "{top}" top: "loss" loss_weight: 1
          reduction_param {{ operation: SUMSQ }} }}
        force_backward: true""",
        onednn_ops(),
        seed=3,
    )


def step_names(net: Net) -> list[str]:
    program = net._whole.programs["forward"]
    assert program is not None
    return [step.name for _, step in program.steps]


def run(net: Net, x: np.ndarray) -> list[np.ndarray]:
    """The loss and all gradients."""
    net.blobs["x"].data.write()[...] = x
    net.parameters.clear_diffs()
    net.forward_backward()
    values = [net.loss, net.blobs["x"].diff, *(one.blob.diff for one in net.parameters.learnable)]
    return [value.read().copy() for value in values]


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("group", [1, 2, 6])
def test_one_step_gives_the_numbers_of_two(slope: float, bias: bool, group: int) -> None:
    net = net_of(slope, bias=bias, group=group)
    x = np.random.default_rng(0).standard_normal((2, 6, 7, 5))
    direct = run(net, x)
    y = net.blobs["conv"].data.read().copy()
    assert step_names(net)[0] == "OneDnnConvolution.forward and ReLU"
    for found, expected in zip(run(net, x), direct, strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(net.blobs["conv"].data.read(), y)


@pytest.mark.parametrize("slope", SLOPES)
def test_nan_stays_nan(slope: float) -> None:
    net = net_of(slope)
    x = np.zeros((2, 6, 7, 5))
    run(net, x)
    x[1, 2, 3, 3] = np.nan
    run(net, x)
    y = net.blobs["conv"].data.read()
    assert np.isnan(y[1, :, 2:5, 2:5]).all()
    assert np.isfinite(y[0]).all()


def test_what_is_cut_off_becomes_zero_without_a_sign() -> None:
    net = net_of()
    for _ in range(2):
        run(net, np.random.default_rng(0).standard_normal((2, 6, 7, 5)))
    y = net.blobs["conv"].data.read()
    assert (y == 0).any()
    assert not np.signbit(y).any()


def test_an_array_that_python_holds_gets_zeros_without_a_sign() -> None:
    net = net_of()
    for blob in net.parameters.learnable[1:]:
        blob.blob.data.write()[...] = 0  # the bias
    held = net.blobs["conv"].data.lease()
    for _ in range(3):
        run(net, np.zeros((2, 6, 7, 5)))
        assert (held == 0).all()
        assert not np.signbit(held).any()


def test_a_relu_with_a_top_of_its_own_stays_a_step() -> None:
    net = net_of(top="relu")
    run(net, np.zeros((2, 6, 7, 5)))
    assert "OneDnnRelu.forward" in step_names(net)
