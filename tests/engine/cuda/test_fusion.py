"""Layers that run as one kernel on the GPU engine: nobody can tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.scale import CudaScale
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.passes import lifetimes, trace
from caffepy.engine.passes.capture import WARM_UP
from caffepy.proto.caffe_pb2 import TEST, TRAIN
from tests.host_runtime import HostRuntime
from tests.nets import make_net

RELU = 'layer { name: "relu" type: "ReLU" bottom: "y" top: "y" }'
LEAKY = RELU.replace('"ReLU"', '"ReLU" relu_param { negative_slope: 0.1 }')
MIRRORED = RELU.replace('"ReLU"', '"ReLU" relu_param { negative_slope: -0.1 }')


def convolution(name: str, fields: str = "", bias: bool = True, bottom: str = "x") -> str:
    return f"""layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}"
      convolution_param {{ num_output: 4 kernel_size: 3 pad: 1 bias_term: {str(bias).lower()}
        weight_filler {{ type: "gaussian" std: 0.3 }} bias_filler {{ type: "gaussian" }}
        {fields} }} }}"""


PLAIN = convolution("y")
POINTWISE = PLAIN.replace("kernel_size: 3 pad: 1", "kernel_size: 1")
SUM = f"""{convolution("a")} {convolution("b")}
  layer {{ name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "y" }}"""
NORM = 'layer { name: "norm" type: "BatchNorm" bottom: "y" top: "y" }'
OTHER_NORM = f"""{PLAIN.replace('"y"', '"z"')}
  layer {{ name: "norm" type: "BatchNorm" bottom: "z" top: "y" }}"""
SCALE = """layer { name: "scale" type: "Scale" bottom: "y" top: "y" scale_param {
  filler { type: "gaussian" mean: 1 } bias_term: true bias_filler { type: "gaussian" } } }"""
FACTOR = SCALE.replace("bias_term: true", "")
BIAS = 'layer { name: "bias" type: "Bias" bottom: "y" top: "y" bias_param { filler { value: 1 } } }'
FLAT = """layer { name: "flat" type: "InnerProduct" bottom: "x" top: "y" inner_product_param {
  num_output: 12 weight_filler { type: "gaussian" std: 0.2 } bias_filler { type: "gaussian" } } }"""
LAST = """layer { name: "last" type: "InnerProduct" bottom: "y" top: "last" inner_product_param {
    num_output: 3 weight_filler { type: "gaussian" } } }
  layer { name: "loss" type: "Reduction" bottom: "last" top: "loss" loss_weight: 0.01
    reduction_param { operation: SUMSQ } }
  force_backward: true"""

BODIES = {  # and what runs as one, forward and backward
    "convolution, relu": (PLAIN + RELU, "CudaConvolution.forward and Relu"),
    "convolution, leaky relu": (PLAIN + LEAKY, "CudaConvolution.forward and Relu"),
    "pointwise, relu": (POINTWISE + RELU, "CudaConvolution.forward and Relu"),
    "depthwise, relu": (
        PLAIN + convolution("d", "group: 4", bottom="y").replace('top: "d"', 'top: "y2"')
        + RELU.replace('"y"', '"y2"') + 'layer { name: "e" type: "TanH" bottom: "y2" top: "e" }'
        + LAST.replace('bottom: "y"', 'bottom: "e"'),
        "CudaDepthwise.forward and Relu",
    ),
    "inner product, relu": (FLAT + RELU, "CudaInnerProduct.forward and Relu"),
    "scale, relu": (PLAIN + SCALE + RELU, "CudaScale.forward and Relu"),
    "factor, leaky relu": (PLAIN + FACTOR + LEAKY, "CudaScale.forward and Relu"),
    "bias, relu": (PLAIN + BIAS + RELU, "CudaBias.forward and Relu"),
    "sum, relu": (SUM + RELU, "CudaEltwiseSum.forward and Relu"),
    "norm": (PLAIN + NORM, "CudaBatchNorm.forward_train"),
    "norm, relu": (PLAIN + NORM + RELU, "CudaBatchNorm.forward_train and Relu"),
    "norm, scale": (PLAIN + NORM + SCALE, "CudaBatchNorm.forward_train and Scale"),
    "norm, factor, relu": (
        PLAIN + NORM + FACTOR + RELU, "CudaBatchNorm.forward_train and Scale and Relu",
    ),
    "norm, scale, relu": (
        POINTWISE + NORM + SCALE + RELU, "CudaBatchNorm.forward_train and Scale and Relu",
    ),
    "norm, scale, leaky relu": (
        SUM + NORM + SCALE + LEAKY, "CudaBatchNorm.forward_train and Scale and Relu",
    ),
    "norm of its own, scale, relu": (
        OTHER_NORM + SCALE + RELU, "CudaBatchNorm.forward_train and Scale and Relu",
    ),
    "norm of channels, scale, relu": (
        FLAT + NORM + SCALE + RELU, "CudaBatchNorm.forward_train and Scale and Relu",
    ),
    "tanh in place, norm, scale, relu": (
        PLAIN + 'layer { name: "tanh" type: "TanH" bottom: "y" top: "y" }' + NORM + SCALE + RELU,
        "CudaBatchNorm.forward_train and Scale and Relu",
    ),
    "norm, scale, relu, dropout": (
        PLAIN + NORM + SCALE + RELU
        + 'layer { name: "drop" type: "Dropout" bottom: "y" top: "y" }',
        "CudaBatchNorm.forward_train and Scale and Relu",
    ),
    "norm, scale, relu, power": (
        PLAIN + NORM + SCALE + RELU
        + 'layer { name: "p" type: "Power" bottom: "y" top: "y" power_param { shift: -0.5 } }',
        "CudaBatchNorm.forward_train and Scale and Relu",
    ),
    "norm, scale, mirrored relu": (
        PLAIN + NORM + SCALE + MIRRORED, "CudaBatchNorm.forward_train and Scale",
    ),
}  # fmt: skip


def net_of(
    body: str, ops: Ops, shape: tuple[int, ...] = (3, 3, 6, 5), phase: int = TRAIN, **options: Any
) -> Net:
    dims = " ".join(f"dim: {size}" for size in shape)
    source = f"""layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ {dims} }} }} }}
      {body} {"" if "loss" in body else LAST}"""
    net = make_net(source, ops, phase=phase, seed=3, **options)
    net.blobs["x"].data.write()[...] = np.random.default_rng(0).standard_normal(shape)
    return net


def device(folder: Path, dtype: type = np.float64) -> CudaOps:
    return CudaOps(HostRuntime(folder), dtype, precision="fp32")


def step_names(net: Net, which: str = "forward") -> list[str]:
    program = net._whole.programs[which]
    assert program is not None
    return [step.name for _, step in program.steps]


def left_by(net: Net, diffs: bool = True) -> dict[str, np.ndarray]:
    """The loss, all blobs and parameters, and their gradients."""
    values = {"loss": net.loss}
    values |= {f"data of {name}": blob.data for name, blob in net.blobs.items()}
    values |= {f"diff of {name}": blob.diff for name, blob in net.blobs.items() if diffs}
    for layer in net.layers:
        for index, blob in enumerate(layer.blobs):
            values[f"{layer.name}[{index}]"] = blob.data
            if diffs:
                values[f"diff of {layer.name}[{index}]"] = blob.diff
    return {name: value.read().copy() for name, value in values.items()}


def run(net: Net, backward: bool = True) -> None:
    net.parameters.clear_diffs()
    net.forward()
    if backward:
        net.backward()


def compare(
    found: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float = 1e-9
) -> None:
    assert found.keys() == expected.keys()
    for name, wanted in expected.items():
        size = max(1.0, float(np.abs(wanted).max(initial=0)))
        np.testing.assert_allclose(
            found[name], wanted, rtol=tolerance, atol=tolerance * size, err_msg=name
        )


@pytest.mark.parametrize("case", BODIES)
def test_merged_layers_give_the_numbers_of_the_numpy_engine(case: str, host_folder: Path) -> None:
    body, merged = BODIES[case]
    net, reference = net_of(body, device(host_folder)), net_of(body, NumpyOps(np.float64))
    for _ in range(WARM_UP + 3):  # traced, run, captured, replayed
        run(net)
        run(reference)
        compare(left_by(net), left_by(reference))
    assert merged in step_names(net)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 8, 8), (40, 2, 1, 7), (2, 3, 53, 41)])
@pytest.mark.parametrize("case", ["norm, scale, relu", "norm, relu", "scale, relu"])
def test_shapes_of_all_kinds(case: str, shape: tuple[int, ...], host_folder: Path) -> None:
    body, _ = BODIES[case]
    net = net_of(body, device(host_folder), shape)
    reference = net_of(body, NumpyOps(np.float64), shape)
    for each in (net, reference):
        run(each)
    compare(left_by(net), left_by(reference), 1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("phase", [TRAIN, TEST])
@pytest.mark.parametrize("case", BODIES)
def test_a_merged_forward_pass_leaves_the_bits_of_one_by_one(
    case: str, phase: int, dtype: type, host_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, _ = BODIES[case]
    net = net_of(body, device(host_folder, dtype), phase=phase)
    run(net, backward=False)
    monkeypatch.setattr(trace, "fuse", lambda steps, given_up=None: list(steps))
    plain = net_of(body, device(host_folder, dtype), phase=phase)
    run(plain, backward=False)
    assert not any(" and Relu" in name for name in step_names(plain))
    for name, expected in left_by(plain, diffs=False).items():
        np.testing.assert_array_equal(left_by(net, diffs=False)[name], expected, name)


@pytest.mark.parametrize("case", [name for name in BODIES if "norm" in name])
def test_gradients_do_not_depend_on_who_looks_at_the_result(case: str, host_folder: Path) -> None:
    body, _ = BODIES[case]
    seen, unseen = (net_of(body, device(host_folder)) for _ in range(2))
    for _ in range(WARM_UP + 3):
        for net in (seen, unseen):
            net.parameters.clear_diffs()
            net.forward()
            if net is seen:
                net.blobs["y"].data.lease()
            net.backward()
    for name, expected in left_by(unseen).items():
        np.testing.assert_array_equal(left_by(seen)[name], expected, name)


def test_a_result_that_python_code_changes_counts_in_each_pass(host_folder: Path) -> None:
    body, _ = BODIES["norm, scale, relu"]
    net, reference = net_of(body, device(host_folder)), net_of(body, NumpyOps(np.float64))
    for number in range(WARM_UP + 4):
        for one in (net, reference):
            one.parameters.clear_diffs()
            one.forward()
            if number % 2:
                one.blobs["y"].data.lease()[:, ::2] = 0
            one.backward()
        compare(left_by(net), left_by(reference))


@pytest.mark.parametrize("case", ["norm, scale", "norm, scale, relu", "norm, relu"])
def test_passes_layer_by_layer_go_together_with_merged_ones(case: str, host_folder: Path) -> None:
    body, _ = BODIES[case]
    net, reference = net_of(body, device(host_folder)), net_of(body, NumpyOps(np.float64))
    for forward in (True, False, True, False):
        for backward in (True, False, True):
            for one in (net, reference):
                one.parameters.clear_diffs()
                one.forward() if forward else _forward_one_by_one(one)
                one.backward() if backward else one.repeat_backward()
            compare(left_by(net), left_by(reference))


def _forward_one_by_one(net: Net) -> None:
    last = len(net.layers) - 1
    net.forward(0, last - 1)
    net.forward(last, last)


def test_neither_x_nor_what_scale_reads_is_copied(host_folder: Path) -> None:
    net = net_of(BODIES["norm, scale, relu"][0], device(host_folder))
    run(net)
    scale = next(getattr(layer, "op", None) for layer in net.layers if layer.name == "scale")
    assert isinstance(scale, CudaScale)
    assert scale._kept._copy is None
    assert "CudaRelu.backward and Scale and BatchNorm" in step_names(net, "backward")


def test_scale_learns_where_the_gradient_ends_there(host_folder: Path) -> None:
    frozen = PLAIN.replace('top: "y"', 'top: "y" param { lr_mult: 0 } param { lr_mult: 0 }')
    body = frozen + NORM + SCALE + RELU + LAST.replace("force_backward: true", "")
    net, reference = net_of(body, device(host_folder)), net_of(body, NumpyOps(np.float64))
    for number in range(WARM_UP + 4):
        for one in (net, reference):
            one.parameters.clear_diffs()
            one.forward() if number != 1 else _forward_one_by_one(one)
            one.backward()
        found, expected = left_by(net), left_by(reference)
        names = [f"diff of scale[{index}]" for index in range(2)]
        compare({name: found[name] for name in names}, {name: expected[name] for name in names})
    assert "CudaScale.backward_params" in " ".join(step_names(net, "backward"))


@pytest.mark.parametrize("product", ["y", "depthwise"])
def test_in_phase_test_a_convolution_takes_over_what_is_behind_it(
    product: str, host_folder: Path
) -> None:
    body = PLAIN + NORM + SCALE + RELU
    if product == "depthwise":
        body = body.replace("num_output: 4", "num_output: 3 group: 3")
    net = net_of(body, device(host_folder), phase=TEST)
    reference = net_of(body, NumpyOps(np.float64), phase=TEST)
    for one in (net, reference):
        for index, number in enumerate((0.5, 4.0, 2.0)):
            norm = next(layer for layer in one.layers if layer.name == "norm")
            norm.blobs[index].data.write()[...] = number
    for _ in range(WARM_UP + 3):
        for one in (net, reference):
            one.forward()
        compare(left_by(net, diffs=False), left_by(reference, diffs=False))
    assert any(name.endswith("BatchNorm and Scale and Relu") for name in step_names(net))
    for _ in range(WARM_UP + 3):
        for one in (net, reference):
            one.parameters.clear_diffs()
            one.backward()
        compare(left_by(net), left_by(reference))
        for one in (net, reference):
            one.forward()


def test_what_is_not_finite_stays_so(host_folder: Path) -> None:
    body, _ = BODIES["norm, scale, relu"]
    net, reference = net_of(body, device(host_folder)), net_of(body, NumpyOps(np.float64))
    for one in (net, reference):
        one.blobs["x"].data.modify()[0, 0, 0, :2] = np.inf, np.nan
        run(one)
    found, expected = left_by(net), left_by(reference)
    for name in ("data of y", "diff of scale[0]", "diff of x"):
        np.testing.assert_array_equal(np.isnan(found[name]), np.isnan(expected[name]), name)


def block(total: str, two_readers: bool) -> str:
    """total: the layer whose top is y, from a and b."""
    readers = """layer { name: "left" type: "TanH" bottom: "y" top: "left" }
      layer { name: "right" type: "Sigmoid" bottom: "y" top: "right" }
      layer { name: "both" type: "Eltwise" bottom: "left" bottom: "right" top: "both" }"""
    last = LAST.replace('bottom: "y"', 'bottom: "both"')
    return convolution("a") + convolution("b") + total + (readers + last if two_readers else LAST)


TOTAL = 'layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "y" FIELDS }'
TOTALS = {
    "sum, relu": TOTAL.replace("FIELDS", "") + RELU,
    "difference, leaky relu": TOTAL.replace("FIELDS", "eltwise_param { coeff: 1 coeff: -2 }")
    + LEAKY,
    "sum, mirrored relu": TOTAL.replace("FIELDS", "") + MIRRORED,
    "sum": TOTAL.replace("FIELDS", ""),
    "product, relu": TOTAL.replace("FIELDS", "eltwise_param { operation: PROD }") + RELU,
}


def gradients_of(net: Net, blobs: bool) -> dict[str, np.ndarray]:
    """Of parameters, and of blobs, which are there where nets keep them."""
    found = left_by(net)
    kept = () if blobs else tuple(f"diff of {name}" for name in net.blobs)
    return {name: array for name, array in found.items() if "diff" in name and name not in kept}


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("two_readers", [False, True])
@pytest.mark.parametrize("total", TOTALS)
def test_gradients_around_a_residual_sum_are_those_of_one_by_one(
    total: str, two_readers: bool, keep: bool, host_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifetimes, "SMALLEST", 0)
    body = block(TOTALS[total], two_readers)
    net = net_of(body, device(host_folder), keep=keep)
    reference = net_of(body, NumpyOps(np.float64))
    with monkeypatch.context() as patch:
        patch.setattr(trace, "fuse", lambda steps, given_up=None: list(steps))
        plain = net_of(body, device(host_folder), keep=keep)
        run(plain)
    for number in range(WARM_UP + 3):
        run(net)
        run(reference)
        if number == 0:
            expected = gradients_of(plain, keep)
            for name, gradient in gradients_of(net, keep).items():
                np.testing.assert_array_equal(gradient, expected[name], name)
        compare(gradients_of(net, keep), gradients_of(reference, keep))
    names = step_names(net, "backward")
    merged = [name for name in names if "Relu" in name and "EltwiseSum" in name]
    assert len(merged) == (total in ("sum, relu", "difference, leaky relu"))
    assert all(name.startswith("CudaSum") == two_readers for name in merged)


def test_a_gradient_that_python_code_holds_is_what_relu_leaves(
    host_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifetimes, "SMALLEST", 0)
    body = block(TOTALS["sum, relu"], two_readers=True)
    net, reference = net_of(body, device(host_folder), keep=False), net_of(body, NumpyOps(float))
    for number in range(WARM_UP + 4):
        held = net.blobs["y"].diff.lease() if number % 3 else None
        run(net)
        run(reference)
        expected = reference.blobs["y"].diff.read()
        if held is not None:
            np.testing.assert_allclose(held, expected, rtol=1e-9, atol=1e-12)
        compare(gradients_of(net, False), gradients_of(reference, False))


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("outputs", [4, 3])
def test_gradients_of_parts_take_the_signs_of_relus(
    outputs: int, keep: bool, host_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifetimes, "SMALLEST", 0)
    body = "".join(
        convolution(name).replace("num_output: 4", f"num_output: {outputs}") for name in "abc"
    )
    for name, fields in (("a", ""), ("b", "relu_param { negative_slope: 0.1 }")):
        body += f"""layer {{ name: "relu_{name}" type: "ReLU" bottom: "{name}" top: "{name}"
          {fields} }}"""
    body += """layer { name: "all" type: "Concat" bottom: "a" bottom: "b" bottom: "c" top: "all" }
      layer { name: "y" type: "TanH" bottom: "all" top: "y" }"""
    shape = (2, 3, 4, 4)
    net = net_of(body, device(host_folder), shape, keep=keep)
    reference = net_of(body, NumpyOps(np.float64), shape)
    for _ in range(WARM_UP + 3):
        run(net)
        run(reference)
        compare(gradients_of(net, keep), gradients_of(reference, keep))
    names = [name for name in step_names(net, "backward") if "Concat" in name]
    assert names == ["CudaConcat.split and Relu"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (3, 3, 5, 3), (2, 3, 4, 4), (3, 3, 53, 61)])
@pytest.mark.parametrize(
    "case", ["convolution, leaky relu", "pointwise, relu", "depthwise, relu", "inner product, relu"]
)
def test_gradients_through_relu_to_a_bias_have_the_bits_of_one_by_one(
    case: str,
    shape: tuple[int, ...],
    dtype: type,
    host_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body, _ = BODIES[case]
    net = net_of(body, device(host_folder, dtype), shape)
    run(net)
    merged = [name for name in step_names(net, "backward") if name.startswith("CudaRelu")]
    assert len(merged) == 1
    assert " and " in merged[0]
    monkeypatch.setattr(trace, "fuse", lambda steps, given_up=None: list(steps))
    plain = net_of(body, device(host_folder, dtype), shape)
    run(plain)
    found = left_by(net)
    for name, expected in left_by(plain).items():
        np.testing.assert_array_equal(found[name], expected, name)
