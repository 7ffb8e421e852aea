"""Convolution by cuDNN on the GPU engine, for which a stand-in stands on the host."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.errors import DeviceError
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda import frontend
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.convolution import CudaConvolution
from caffepy.engine.ops.cuda.cudnn_convolution import CudnnConvolution
from caffepy.engine.ops.cuda.depthwise import CudaDepthwise
from caffepy.engine.ops.cuda.frontend import Frontend
from caffepy.engine.ops.cuda.port import Convolution, CudaRuntime
from caffepy.engine.ops.geometry import ConvolutionGeometry
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.passes.capture import WARM_UP
from tests.cuda_parity import compare_engines
from tests.engine.cuda.test_convolution import CASES, layer, x_of
from tests.fake_cudnn import STREAM, FakeCudnn
from tests.harness import LayerRun, golden_cases, make_layer, run_golden
from tests.host_runtime import HostGraph, HostRuntime
from tests.layers import test_convolution, test_deconvolution
from tests.nets import make_net

RTOL, ATOL = 2e-5, 1e-5  # float32 against float64
TF32_RTOL, TF32_ATOL = 3e-3, 2e-2  # factors of 11 bits, sums of up to some ten products
HANDLES = {"handles are numbers": False, "handles are objects": True}  # as versions differ
BITS = (("tf32", 11), ("fp16", 11), ("bf16", 8))
LARGE = (
    ("num_output: 64 kernel_size: 3 pad: 1", (8, 64, 28, 28)),
    ("num_output: 96 kernel_size: 11 stride: 4", (8, 3, 115, 115)),
    ("num_output: 128 kernel_size: 1", (8, 64, 28, 28)),
    ("num_output: 64 kernel_size: 5 pad: 2 group: 2", (4, 48, 27, 27)),
)
FALLBACK = 7  # of OFFERED: what does nothing that may be unwanted
NET = """
    layer { name: "in" type: "Input" top: "x"
      input_param { shape { dim: 2 dim: 3 dim: 7 dim: 6 } } }
    layer { name: "a" type: "Convolution" bottom: "x" top: "a" convolution_param {
      num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
    layer { name: "b" type: "ReLU" bottom: "a" top: "a" }
    layer { name: "c" type: "Convolution" bottom: "a" top: "c" convolution_param {
      num_output: 3 kernel_size: 1 weight_filler { type: "xavier" } } }
    layer { name: "norm" type: "BatchNorm" bottom: "c" top: "c" }
    layer { name: "y" type: "Deconvolution" bottom: "c" top: "y" convolution_param {
      num_output: 2 kernel_size: 2 stride: 2 weight_filler { type: "xavier" } } }
    force_backward: true
"""
GEOMETRY = ConvolutionGeometry((2, 3, 5, 4), 4, (3, 3), (1, 1), (1, 1), (1, 1))


@pytest.fixture(params=HANDLES)
def cudnn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FakeCudnn:
    """The stand-in, as `import cudnn` gives it."""
    fake = FakeCudnn(HANDLES[request.param])
    fake.install(monkeypatch)
    return fake


def begun() -> Frontend:
    found = frontend.begin(STREAM)
    assert isinstance(found, Frontend), found
    return found


def ops_of(folder: Path, precision: str = "fp32", deterministic: bool = False) -> CudaOps:
    """The engine with cuDNN."""
    runtime = HostRuntime(folder, dnn=begun())
    return CudaOps(runtime, precision=precision, deterministic=deterministic)


def asked(result: str, precision: str = "fp32", **others: Any) -> Convolution:
    return Convolution(
        result,
        (2, 3, 5, 4),
        (4, 3, 3, 3),
        (2, 4, 5, 4),
        (1, 1),
        (1, 1),
        (1, 1),
        precision,
        **others,
    )


# ---- the library


def test_a_missing_frontend_is_told_with_the_extra_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cudnn", None)
    told = frontend.begin(STREAM)
    assert (
        told
        == "nvidia-cudnn-frontend is not installed. Install caffepy[cuda12] or caffepy[cuda13]."
    )


def test_a_library_that_does_not_start_is_told(
    cudnn: FakeCudnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing() -> None:
        raise RuntimeError("cudnnCreate failed: CUDNN_STATUS_NOT_INITIALIZED")

    monkeypatch.setattr(cudnn, "create_handle", refusing)
    told = frontend.begin(STREAM)
    assert isinstance(told, str)
    assert told.startswith("cuDNN does not start: cudnnCreate failed: CUDNN_STATUS_NOT_INIT")


def indices(plans: Sequence[Any]) -> list[int]:
    return [plan._index for plan in plans]


@pytest.mark.parametrize("result", ["y", "x", "w"])
def test_plans_do_nothing_that_the_precision_does_not_allow(result: str, cudnn: FakeCudnn) -> None:
    dnn = begun()
    assert dnn.version == "9.28.0"
    assert indices(dnn.plans(asked(result), 9)) == [6, 7]
    assert indices(dnn.plans(asked(result, repeatable=True), 9)) == [7]
    assert indices(dnn.plans(asked(result, "tf32"), 9)) == [1, 2, 3, 4, 5, 6, 7]
    assert indices(dnn.plans(asked(result, "tf32", repeatable=True), 9)) == [2, 3, 4, 5, 7]
    assert indices(dnn.plans(asked(result, "tf32"), 2)) == [1, 2]
    cudnn.without_plans.add(result)
    assert not dnn.plans(asked(result), 9)


def test_a_plan_that_fails_says_so(cudnn: FakeCudnn, host_folder: Path) -> None:
    runtime = HostRuntime(host_folder, dnn=begun())
    (plan,) = begun().plans(asked("y", repeatable=True), 1)
    cudnn.failing.add(FALLBACK)
    buffers = [runtime.allocate(400, np.float32) for _ in range(4)]
    with pytest.raises(DeviceError, match=r"^cuDNN: a convolution: expected success, got CUDNN_ST"):
        runtime.convolve(plan, buffers[:3], buffers[3])


# ---- which convolutions it computes


def test_what_cudnn_is_not_for_goes_by_kernels_of_our_own(
    cudnn: FakeCudnn, host_folder: Path
) -> None:
    def made(ops: CudaOps, shape: tuple[int, ...], kernel: int = 3, group: int = 1) -> type:
        axes = len(shape) - 2
        sizes = (kernel,) * axes, (2,) * axes, (0,) * axes, (1,) * axes
        return type(ops.convolution(ConvolutionGeometry(shape, 6, *sizes, group)))

    ops = ops_of(host_folder)
    for shape in ((2, 3, 5), (2, 3, 5, 5), (2, 3, 5, 5, 5)):
        assert made(ops, shape) is CudnnConvolution
    assert made(ops, (2, 3, 5, 5), group=3) is CudnnConvolution
    assert made(ops, (2, 6, 5, 5), group=6) is CudaDepthwise
    assert made(ops, (2, 3)) is CudaConvolution
    assert made(ops, (2, 3, 3, 3, 3, 3)) is CudaConvolution
    assert made(ops, (0, 3, 5, 5)) is CudaConvolution
    assert made(ops, (2, 3, 2, 2)) is CudaConvolution  # a window that lacks a pixel
    wide = CudaOps(HostRuntime(host_folder, dnn=begun()), np.float64)
    assert made(wide, (2, 3, 5, 5)) is CudaConvolution
    assert made(CudaOps(HostRuntime(host_folder)), (2, 3, 5, 5)) is CudaConvolution


# ---- its numbers


@pytest.mark.parametrize(
    "case", [*golden_cases("Convolution"), *golden_cases("Deconvolution")], ids=lambda one: one.name
)
def test_equals_caffe(case: Path, cudnn: FakeCudnn, host_folder: Path) -> None:
    run_golden(case, ops_of(host_folder))


@pytest.mark.parametrize(
    "test",
    [
        test
        for module in (test_convolution, test_deconvolution)
        for name, test in vars(module).items()
        if name.startswith("test_") and list(inspect.signature(test).parameters) == ["ops"]
    ],
)
def test_passes_the_tests_of_the_layers(
    test: Callable[[Ops], None], cudnn: FakeCudnn, host_folder: Path
) -> None:
    test(ops_of(host_folder))


@pytest.fixture(params=[*HANDLES, pytest.param("gpu", marks=pytest.mark.gpu)])
def runtime(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> CudaRuntime:
    """One with cuDNN: the host's with the stand-in, or a GPU."""
    if request.param != "gpu":
        FakeCudnn(HANDLES[request.param]).install(monkeypatch)
        return HostRuntime(request.getfixturevalue("host_folder"), dnn=begun())
    found: CudaRuntime = request.getfixturevalue("gpu_runtime")
    if isinstance(found.dnn, str):
        pytest.skip(found.dnn)
    return found


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
@pytest.mark.parametrize(("fields", "shape"), CASES)
def test_equals_the_numpy_engine(
    kind: str, fields: str, shape: tuple[int, ...], runtime: CudaRuntime
) -> None:
    ops = CudaOps(runtime, precision="fp32", deterministic=True)
    case = layer(kind, fields), [x_of(shape)]
    compare_engines(NumpyOps(np.float64), ops, *case, rtol=RTOL, atol=ATOL)


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "bits"), [("fp32", 20), *BITS])
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize(("fields", "shape"), LARGE)
def test_large_ones_are_as_exact_as_their_operands(
    fields: str,
    shape: tuple[int, ...],
    deterministic: bool,
    precision: str,
    bits: int,
    gpu_runtime: CudaRuntime,
) -> None:
    if isinstance(gpu_runtime.dnn, str):
        pytest.skip(gpu_runtime.dnn)
    products = shape[0] * shape[2] * shape[3]  # in the longest sums, of terms that are around 1
    atol = 12 * 2.0**-bits * products**0.5
    ops = CudaOps(gpu_runtime, precision=precision, deterministic=deterministic)
    run = make_layer(layer("Convolution", fields), [x_of(shape)], ops=ops)
    like = make_layer(layer("Convolution", fields), [x_of(shape)], ops=NumpyOps(np.float64))
    found, expected = (results(each, x_of(each.top[0].shape)) for each in (run, like))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2.0**-bits, atol=atol)


def results(run: LayerRun, dy: np.ndarray) -> list[np.ndarray]:
    """Of a pass forward and back. Not replayed: plans need not be repeatable."""
    run.layer.forward(run.bottom, run.top)
    run.top[0].diff.write()[...] = dy
    run.layer.backward(run.top, [True], run.bottom)
    gradients = [blob.diff.read() for blob in (*run.bottom, *run.layer.blobs)]
    return [run.top[0].data.read(), *gradients]


def test_tf32_rounds_factors(cudnn: FakeCudnn, host_folder: Path) -> None:
    case = layer("Convolution", "num_output: 4 kernel_size: 3 pad: 1"), [x_of((2, 3, 5, 4))]
    ops = ops_of(host_folder, "tf32")
    compare_engines(NumpyOps(np.float64), ops, *case, rtol=TF32_RTOL, atol=TF32_ATOL)
    assert {index for _, index in cudnn.executed} == set(range(1, 7))
    with pytest.raises(AssertionError, match="Mismatched"):
        compare_engines(NumpyOps(np.float64), ops, *case, rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("never_mixed", [False, True], ids=["results of 32 bits", "of 16"])
@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
@pytest.mark.parametrize(("precision", "bits"), BITS[1:])
def test_operands_are_rounded_to_16_bits(
    precision: str, bits: int, kind: str, never_mixed: bool, cudnn: FakeCudnn, host_folder: Path
) -> None:
    cudnn.never_mixed = never_mixed
    fields = "num_output: 4 kernel_size: 3 pad: 1 group: 2"
    case = layer(kind, fields), [x_of((2, 6, 5, 7))]
    ops = ops_of(host_folder, precision)
    scale = 2.0 ** (11 - bits)
    compare_engines(
        NumpyOps(np.float64), ops, *case, rtol=scale * TF32_RTOL, atol=scale * TF32_ATOL
    )
    with pytest.raises(AssertionError, match="Mismatched"):
        compare_engines(NumpyOps(np.float64), ops, *case, rtol=RTOL, atol=ATOL)
    assert {result for result, _ in cudnn.executed} == {"y", "x", "w"}


def test_results_without_a_plan_go_by_columns(cudnn: FakeCudnn, host_folder: Path) -> None:
    cudnn.without_plans |= {"x", "w"}
    fields = "num_output: 4 kernel_size: 3 pad: 1"
    reference, ops = NumpyOps(np.float64), ops_of(host_folder)
    compare_engines(
        reference, ops, layer("Convolution", fields), [x_of((2, 3, 5, 4))], rtol=RTOL, atol=ATOL
    )
    assert {result for result, _ in cudnn.executed} == {"y"}


def test_a_bias_that_no_plan_adds_is_added_behind(cudnn: FakeCudnn, host_folder: Path) -> None:
    cudnn.never_fused = True
    case = layer("Convolution", "num_output: 4 kernel_size: 3"), [x_of((2, 3, 5, 4))]
    ops = ops_of(host_folder)
    compare_engines(NumpyOps(np.float64), ops, *case, rtol=RTOL, atol=ATOL)


def test_a_first_gradient_is_written_and_later_ones_are_added(
    cudnn: FakeCudnn, host_folder: Path
) -> None:
    ops = ops_of(host_folder)
    op: Any = ops.convolution(GEOMETRY)
    x, dy, gradient = (Value(shape) for shape in ((2, 3, 5, 4), (2, 4, 5, 4), (4, 3, 3, 3)))
    x.write()[...], dy.write()[...] = x_of((2, 3, 5, 4)), x_of((2, 4, 5, 4))
    op.backward_params(dy, x, add_w=gradient)
    once = gradient.read().copy()
    assert np.abs(once).max() > 1
    op.backward_params(dy, x, add_w=gradient)
    np.testing.assert_allclose(gradient.read(), 2 * once, rtol=RTOL)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("slope", [0, 0.5])
def test_a_relu_behind_is_merged_and_keeps_nan(
    slope: float, precision: str, cudnn: FakeCudnn, host_folder: Path
) -> None:
    cudnn.never_mixed = True
    in_place = 'bottom: "a" top: "a"'
    text = NET.replace(in_place, f"{in_place} relu_param {{ negative_slope: {slope} }}")
    net, reference = (make_net(text, ops) for ops in (ops_of(host_folder, precision), NumpyOps()))
    for ours, theirs in zip(net.layers, reference.layers, strict=True):
        for blob, like in zip(ours.blobs, theirs.blobs, strict=True):
            like.data.write()[...] = blob.data.read()
    x = x_of((2, 3, 7, 6))
    x[0, 0, 0, 0] = np.nan
    for one in (net, reference):
        one.blobs["x"].data.write()[...] = x
        one.forward()
    expected = reference.blobs["a"].data.read()
    assert np.isnan(expected).any()
    assert (expected == 0).any() == (slope == 0)
    found = net.blobs["a"].data.read()
    rtol, atol = (RTOL, ATOL) if precision == "fp32" else (TF32_RTOL, TF32_ATOL)
    np.testing.assert_allclose(found, expected, rtol, atol)


@pytest.mark.parametrize(("precision", "dtype"), [("fp16", np.float16), ("bf16", np.uint16)])
def test_every_number_of_16_bits_is_widened_exactly(
    precision: str, dtype: Any, cudnn: FakeCudnn, host_folder: Path
) -> None:
    halves, bias, out = Value((1 << 16,), np.uint16), Value((2,)), Value((1 << 16,))
    bits = halves.write()
    bits[...] = np.arange(1 << 16)
    bias.write()[...] = 1, -2
    if dtype is np.float16:
        expected = bits.view(np.float16).astype(np.float32)
    else:
        expected = (bits.astype(np.uint32) << 16).view(np.float32)
    launch = ops_of(host_folder, precision).kernels("cast").launch
    launch(f"widen_{precision}", 1 << 16, 2, 3, False, 1.0, halves, bias, out)
    np.testing.assert_array_equal(out.read(), expected)
    channels = np.arange(1 << 16) // 3 % 2
    with np.errstate(invalid="ignore"):  # nan that signals
        expected = expected + np.where(channels, np.float32(-2), np.float32(1))
    launch(f"widen_{precision}", 1 << 16, 2, 3, True, 0.5, halves, bias, out)
    expected = np.where(expected < 0, np.float32(0.5) * expected, expected)
    np.testing.assert_array_equal(out.read(), expected)


def test_graphs_give_the_numbers_of_the_numpy_engine(
    cudnn: FakeCudnn, host_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launches: list[HostGraph] = []
    launch = HostGraph.launch

    def noted(self: HostGraph) -> None:
        launches.append(self)
        launch(self)

    monkeypatch.setattr(HostGraph, "launch", noted)
    net, reference = make_net(NET, ops_of(host_folder)), make_net(NET, NumpyOps(np.float64))
    for ours, theirs in zip(net.layers, reference.layers, strict=True):
        for blob, like in zip(ours.blobs, theirs.blobs, strict=True):
            like.data.write()[...] = blob.data.read()
    for number in range(WARM_UP + 3):
        for one in (net, reference):
            one.blobs["x"].data.write()[...] = x_of((2, 3, 7, 6)) + number
            for each in one.layers:
                for blob in each.blobs:
                    blob.diff.clear()
            one.forward()
            one.blobs["y"].diff.write()[...] = x_of((2, 2, 14, 12))
            one.backward()
        for name, blob in net.blobs.items():
            for kind in ("data", "diff"):
                compared(blob, reference.blobs[name], kind, name)
        for ours, theirs in zip(net.layers, reference.layers, strict=True):
            for blob, like in zip(ours.blobs, theirs.blobs, strict=True):
                compared(blob, like, "diff", ours.name)
        if number < WARM_UP + 1:
            launches.clear()  # of plans that were timed
    assert len(launches) == 4  # the last two passes, forward and back


def compared(blob: Blob, like: Blob, kind: str, what: str) -> None:
    found, expected = (getattr(each, kind).read() for each in (blob, like))
    np.testing.assert_allclose(found, expected, 10 * RTOL, 10 * ATOL, err_msg=f"{what}, {kind}")
