"""Convolution on the GPU engine, without cuDNN."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.ops.cuda import convolution, depthwise
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.convolution import CudaConvolution
from caffepy.engine.ops.cuda.depthwise import CudaDepthwise
from caffepy.engine.ops.cuda.port import CudaRuntime
from caffepy.engine.ops.geometry import ConvolutionGeometry
from tests.cuda_parity import check_parity

WEIGHTS = 'weight_filler { type: "gaussian" std: 1 } bias_filler { type: "gaussian" std: 1 }'
CASES = (
    ("num_output: 3 kernel_size: 3", (2, 2, 7, 5)),
    ("num_output: 1 kernel_size: 1", (1, 1, 1, 1)),
    (
        "num_output: 4 kernel_size: [3, 2] stride: [2, 1] pad: [0, 1]",
        (3, 2, 7, 11),
    ),
    ("num_output: 6 kernel_size: 3 pad: 2 dilation: 2 group: 2 bias_term: false", (2, 4, 5, 5)),
    ("num_output: 2 kernel_size: 2 stride: 3", (1, 2, 9, 8)),  # pixels in no window
    ("num_output: 2 kernel_size: 1 pad: 2", (1, 2, 6, 5)),  # windows without pixels
    ("num_output: 2 kernel_size: 3 stride: 2", (2, 2, 2, 2)),  # a window that lacks a pixel
    ("num_output: 3 kernel_size: 3 stride: 2", (2, 4, 17)),
    ("num_output: 3 kernel_size: 2 stride: 2 pad: 1 dilation: 2 group: 3", (2, 3, 5, 4, 7)),
    ("num_output: 3 bias_term: true", (2, 4)),
    ("num_output: 5 kernel_size: 1", (3, 4, 11, 13)),  # products sample by sample
    ("num_output: 13 kernel_size: 1", (3, 11, 2, 1)),
    ("num_output: 6 kernel_size: 1 group: 3", (2, 3, 5, 7)),
    ("num_output: 6 kernel_size: 1 stride: 2", (2, 3, 5, 7)),
    ("num_output: 3 kernel_size: 3", (0, 2, 7, 5)),
)
DEPTHWISE = (
    ("kernel_size: 3 pad: 1", (2, 5, 11, 13)),
    ("kernel_size: 3 stride: 2 bias_term: false", (3, 3, 8, 9)),
    ("kernel_size: [5, 4] pad: 2 stride: [1, 2]", (2, 3, 9, 7)),
    ("kernel_size: 3 pad: 3 dilation: 2", (1, 4, 6, 7)),
    ("kernel_size: 2 stride: 3 pad: 3", (2, 2, 5, 4)),
    ("kernel_size: 4 stride: 2", (3, 2, 17)),
    ("kernel_size: 3", (0, 3, 7, 5)),
)


def layer(kind: str, fields: str) -> str:
    return f'type: "{kind}" convolution_param {{ {fields} {WEIGHTS} }}'


def x_of(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


def host_ops(runtime: CudaRuntime) -> CudaOps:
    return CudaOps(runtime, np.float64)


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
@pytest.mark.parametrize(("fields", "shape"), CASES)
def test_equals_the_numpy_engine(
    kind: str, fields: str, shape: tuple[int, ...], cuda_runtime: CudaRuntime
) -> None:
    check_parity(cuda_runtime, layer(kind, fields), [x_of(shape)])


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
@pytest.mark.parametrize(("fields", "shape"), DEPTHWISE)
def test_a_kernel_for_each_channel_equals_the_numpy_engine(
    kind: str, fields: str, shape: tuple[int, ...], cuda_runtime: CudaRuntime
) -> None:
    fields += f" num_output: {shape[1]} group: {shape[1]}"
    check_parity(cuda_runtime, layer(kind, fields), [x_of(shape)])


def test_samples_come_in_chunks_of_one_size(
    cuda_runtime: CudaRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "SCRATCH_BYTES", 8 * (2 * 9 + 3) * 4 * 3)  # three samples
    for fields, shape in (
        ("num_output: 3 kernel_size: 3 stride: 2", (4, 2, 5, 5)),
        ("num_output: 3 kernel_size: 3 stride: 2", (7, 2, 5, 5)),
        ("num_output: 3 kernel_size: 3 stride: 2", (2, 1, 5, 5, 5)),
    ):
        check_parity(cuda_runtime, layer("Convolution", fields), [x_of(shape)])
    ops = host_ops(cuda_runtime)
    geometry = ConvolutionGeometry((4, 2, 5, 5), 3, (3, 3), (2, 2), (0, 0), (1, 1))
    ops.convolution(geometry)
    assert ops.workspace.take("first").count == 2 * (2 * 9) * 4  # two by two, not three and one


def test_gradients_of_depthwise_weights_come_in_parts(
    cuda_runtime: CudaRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depthwise, "LEAST", 16)
    fields = "num_output: 3 group: 3 kernel_size: 3"
    check_parity(cuda_runtime, layer("Convolution", fields), [x_of((3, 3, 9, 11))])


def test_what_has_a_kernel_for_each_channel_needs_no_columns(cuda_runtime: CudaRuntime) -> None:
    def made(shape: tuple[int, ...], num_output: int, group: int) -> type:
        axes = len(shape) - 2
        sizes = (3,) * axes, (1,) * axes, (0,) * axes, (1,) * axes
        geometry = ConvolutionGeometry(shape, num_output, *sizes, group)
        return type(host_ops(cuda_runtime).convolution(geometry))

    assert made((2, 3, 5, 5), 3, 3) is CudaDepthwise
    assert made((2, 3, 5), 3, 3) is CudaDepthwise
    assert made((2, 1, 5, 5), 1, 1) is CudaDepthwise
    assert made((2, 3, 5, 5), 6, 3) is CudaConvolution
    assert made((2, 3, 5, 5, 5), 3, 3) is CudaConvolution


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ("kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_w: 1 dilation: 2", (2, 3, 7, 5)),
        ("kernel_size: 2 stride: 2 pad: 1", (2, 3, 4, 5, 3)),
        ("kernel_size: 3", (5, 1, 7)),
    ],
)
def test_windows_as_a_blob_equal_the_numpy_engine(
    fields: str, shape: tuple[int, ...], cuda_runtime: CudaRuntime
) -> None:
    check_parity(cuda_runtime, f'type: "Im2col" convolution_param {{ {fields} }}', [x_of(shape)])
