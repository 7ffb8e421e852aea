"""BatchNorm, Scale and ReLU in place as one primitive of oneDNN: nobody can tell."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from caffepy.engine.core.value import Value
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.ops.onednn.scale import OneDnnScale
from tests.conftest import onednn_ops
from tests.nets import make_net

SHAPE = (3, 6, 7, 5)
CHANNELS = 18
CONVOLUTION = f"""layer {{ name: "conv" type: "Convolution" bottom: "x" top: "y"
  convolution_param {{ num_output: {CHANNELS} kernel_size: 3 pad: 1 bias_term: false
    weight_filler {{ type: "gaussian" std: 0.3 }} }} }}"""
TWO = CONVOLUTION.replace('"conv"', '"a"').replace('"y"', '"a"')
PRODUCERS = {
    "convolution": CONVOLUTION,
    "sum": f"""{TWO} {TWO.replace('"a"', '"b"')}
      layer {{ name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "y" }}""",
    "pooling": f"""{TWO} layer {{ name: "pool" type: "Pooling" bottom: "a" top: "y"
      pooling_param {{ kernel_size: 2 }} }}""",
    "change in place": f"""{CONVOLUTION}
      layer {{ name: "tanh" type: "TanH" bottom: "y" top: "y" }}""",
}
MERGED = "OneDnnBatchNorm.forward_train and Scale and Relu"
GRADIENT = "OneDnnRelu.backward and Scale and BatchNorm"


def net_of(
    ops: Ops,
    producer: str = CONVOLUTION,
    bias: bool = True,
    relu: bool = True,
    own_top: bool = False,
    after: str = "",
) -> Net:
    """The layers work in place, but BatchNorm where it has a top of its own.  after: a layer of
    this type in place behind them."""
    top = "norm" if own_top else "y"
    rectify = f'layer {{ name: "relu" type: "ReLU" bottom: "{top}" top: "{top}" }}' * relu
    if after:
        rectify += f'layer {{ name: "after" bottom: "{top}" top: "{top}" type: {after} }}'
    net = make_net(
        f"""layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{
          {" ".join(f"dim: {size}" for size in SHAPE)} }} }} }}
        {producer}
        layer {{ name: "norm" type: "BatchNorm" bottom: "y" top: "{top}" }}
        layer {{ name: "scale" type: "Scale" bottom: "{top}" top: "{top}" scale_param {{
          filler {{ type: "gaussian" }} bias_term: {str(bias).lower()}
          bias_filler {{ type: "gaussian" }} }} }}
        {rectify}
        layer {{ name: "last" type: "Convolution" bottom: "{top}" top: "last" convolution_param {{
          num_output: 4 kernel_size: 3 weight_filler {{ type: "gaussian" }} }} }}
        layer {{ name: "loss" type: "Reduction" bottom: "last" top: "loss" loss_weight: 0.01
          reduction_param {{ operation: SUMSQ }} }}
        force_backward: true""",
        ops,
        seed=3,
    )
    net.blobs["x"].data.write()[...] = np.random.default_rng(0).standard_normal(SHAPE)
    return net


def step_names(net: Net, which: str = "forward") -> list[str]:
    program = net._whole.programs[which]
    assert program is not None
    return [step.name for _, step in program.steps]


def left_by(net: Net) -> list[np.ndarray]:
    """The loss, all gradients and statistics, and the blobs' data."""
    values = [net.loss, *(blob.data for blob in net.blobs.values())]
    values += [blob.diff for blob in net.blobs.values()]
    for layer in net.layers:
        values += [blob.data for blob in layer.blobs] + [blob.diff for blob in layer.blobs]
    return [value.read().copy() for value in values]


def run(net: Net) -> list[np.ndarray]:
    net.parameters.clear_diffs()
    net.forward_backward()
    return left_by(net)


def one_by_one(net: Net) -> list[np.ndarray]:
    """The same, layer by layer."""
    net.parameters.clear_diffs()
    forward_one_by_one(net)
    net.repeat_backward()
    return left_by(net)


def forward_one_by_one(net: Net) -> None:
    last = len(net.layers) - 1
    net.forward(0, last - 1)
    net.forward(last, last)


def place(net: Net, name: str) -> int:
    return [layer.name for layer in net.layers].index(name)


def parameter(net: Net, layer: str, index: int = 0) -> Value:
    return net.layers[place(net, layer)].blobs[index].data


def compare(found: list[np.ndarray], expected: list[np.ndarray], tolerance: float = 1e-4) -> None:
    assert len(found) == len(expected)
    for ours, reference in zip(found, expected, strict=True):
        finite = np.abs(reference[np.isfinite(reference)])
        size = max(1.0, float(finite.max(initial=0)))
        np.testing.assert_allclose(ours, reference, rtol=tolerance, atol=tolerance * size)


@pytest.mark.parametrize("own_top", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("producer", PRODUCERS)
def test_one_step_gives_the_numbers_of_all(
    producer: str, bias: bool, relu: bool, own_top: bool
) -> None:
    options = (PRODUCERS[producer], bias, relu, own_top)
    net = net_of(onednn_ops(), *options)
    reference = net_of(NumpyOps(np.float64), *options)
    for _ in range(3):
        compare(run(net), one_by_one(reference))
    assert any(name.startswith(MERGED.removesuffix(" and Relu")) for name in step_names(net))
    assert (MERGED in step_names(net)) is relu


@pytest.mark.usefixtures("wide_vectors")
def test_neither_x_nor_what_scale_reads_is_copied_and_the_gradient_is_one_step() -> None:
    net = net_of(onednn_ops())
    run(net)
    assert step_names(net)[:2] == ["OneDnnConvolution.forward", MERGED]
    assert GRADIENT in step_names(net, "backward")
    scale = net.layers[place(net, "scale")].op
    assert isinstance(scale, OneDnnScale)
    assert scale._kept._value is None


@pytest.mark.parametrize(
    ("relu", "after"), [(False, '"ReLU" relu_param { negative_slope: 0.1 }'), (True, '"TanH"')]
)
@pytest.mark.usefixtures("wide_vectors")
def test_what_changes_the_result_in_place_costs_no_memory_in_each_pass(
    relu: bool, after: str
) -> None:
    net = net_of(onednn_ops(), relu=relu, after=after)
    reference = net_of(NumpyOps(np.float64), relu=relu, after=after)
    scale = net.layers[place(net, "scale")].op
    assert isinstance(scale, OneDnnScale)
    kept = []
    for _ in range(3):
        compare(run(net), one_by_one(reference))
        kept.append(scale._kept._value)
    assert kept[1] is kept[0] is kept[2]
    assert (kept[0] is None) is not relu  # for its ReLU reads what the other layer has changed


def test_the_first_run_is_as_all_others_to_the_bit() -> None:
    first, second = net_of(onednn_ops()), net_of(onednn_ops())
    run(first)
    for index in range(3):  # what a pass adds to
        parameter(first, "norm", index).write()[...] = 0
    for found, expected in zip(run(first), run(second), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("own_top", [False, True])
def test_passes_layer_by_layer_go_together_with_merged_ones(own_top: bool, relu: bool) -> None:
    options = {"own_top": own_top, "relu": relu}
    net = net_of(onednn_ops(), **options)
    reference = net_of(NumpyOps(np.float64), **options)
    merged: list[Callable[[Net], None]] = [Net.forward, Net.backward]
    single: list[Callable[[Net], None]] = [forward_one_by_one, Net.repeat_backward]
    for passes in (merged, [merged[0], single[1]], [single[0], merged[1]], single, merged):
        for each in (net, reference):
            each.parameters.clear_diffs()
        for one in passes:
            one(net)
        one_by_one(reference)
        compare(left_by(net), left_by(reference))
    net.repeat_backward()  # adds to gradients again
    reference.repeat_backward()
    compare(left_by(net), left_by(reference))


def test_gradients_are_added_to_where_there_are_some() -> None:
    net = net_of(onednn_ops())
    expected = run(net)
    once = [one.blob.diff.read().copy() for one in net.parameters.learnable]
    net.backward()
    for one, gradient in zip(net.parameters.learnable, once, strict=True):
        np.testing.assert_allclose(one.blob.diff.read(), 2 * gradient, rtol=1e-5)
    compare(run(net)[:1], expected[:1])


def test_parameters_that_do_not_learn_get_no_gradient() -> None:
    net, reference = net_of(onednn_ops()), net_of(NumpyOps(np.float64))
    for each in (net, reference):
        each.layers[place(each, "scale")].param_propagate_down[0] = False
    for _ in range(2):
        compare(run(net), one_by_one(reference))
    assert GRADIENT in step_names(net, "backward")
    assert not net.layers[place(net, "scale")].blobs[0].diff.read().any()


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf, 1e25])
@pytest.mark.parametrize("where", ["x", "factor", "bias"])
def test_what_is_not_finite_comes_out_as_from_the_layers_one_by_one(
    where: str, special: float
) -> None:
    net, reference = net_of(onednn_ops()), net_of(NumpyOps())
    for each in (net, reference):
        each.forward_backward()
    for each in (net, reference):
        if where == "x":
            each.blobs["x"].data.modify()[1, 2, 3, 3] = special
        else:
            parameter(each, "scale", ["factor", "bias"].index(where)).modify()[4] = special
    for _ in range(2):
        found, expected = run(net), one_by_one(reference)
        names = list(net.blobs)
        for name in names[: names.index("y") + 1]:
            index = 1 + names.index(name)
            np.testing.assert_array_equal(np.isnan(found[index]), np.isnan(expected[index]))
        for index in range(3):  # the sums of statistics
            np.testing.assert_allclose(
                parameter(net, "norm", index).read(),
                parameter(reference, "norm", index).read(),
                rtol=1e-4,
                atol=1e-5,
            )
    if where == "x" and np.isnan(special):
        assert np.isnan(net.blobs["y"].data.read()).all(axis=(0, 2, 3)).all()


def test_a_net_recovers_from_what_was_not_finite() -> None:
    net, reference = net_of(onednn_ops()), net_of(onednn_ops())
    run(net)
    x = net.blobs["x"].data.read().copy()
    net.blobs["x"].data.write()[...] = np.nan
    run(net)
    net.blobs["x"].data.write()[...] = x
    for index in range(3):
        parameter(net, "norm", index).write()[...] = 0
    for found, expected in zip(run(net), run(reference), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("what", ["data", "diff", "factor", "gradient", "mean"])
def test_arrays_that_python_holds_are_right_at_any_time(what: str) -> None:
    net, reference = net_of(onednn_ops()), net_of(NumpyOps(np.float64))
    values = [
        {
            "data": each.blobs["y"].data,
            "diff": each.blobs["y"].diff,
            "factor": parameter(each, "scale"),
            "gradient": each.layers[place(each, "scale")].blobs[0].diff,
            "mean": parameter(each, "norm"),
        }[what]
        for each in (net, reference)
    ]
    run(net), one_by_one(reference)
    held, expected = (value.lease() for value in values)
    for _ in range(2):
        compare(run(net), one_by_one(reference))
        compare([held], [expected])
    del held
    for _ in range(2):
        compare(run(net), one_by_one(reference))


def test_what_python_writes_between_forward_and_backward_counts() -> None:
    net, reference = net_of(onednn_ops()), net_of(NumpyOps(np.float64))
    run(net), one_by_one(reference)
    for each in (net, reference):
        each.parameters.clear_diffs()
    net.forward()
    forward_one_by_one(reference)
    for each in (net, reference):
        each.blobs["y"].data.modify()[:, ::2] *= -1
        parameter(each, "scale").modify()[:] *= 2
    net.backward()
    reference.repeat_backward()
    compare(left_by(net), left_by(reference))
