"""What kernels with windows are told of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import DeviceOps
from caffepy.engine.ops.geometry import ConvolutionGeometry, PoolingGeometry


def constants(ops: DeviceOps, numbers: Sequence[int]) -> Value:
    """Whole numbers that kernels take as `const int*`, sent to the device now."""
    value = Value((len(numbers),), np.int32)
    value.write()[...] = numbers
    value.read(ops.layout)
    return value


def plane_windows(ops: DeviceOps, geometry: ConvolutionGeometry | PoolingGeometry) -> Value:
    """The numbers of `Windows` in kernels/windows.cuh. A convolution has two spatial axes at most:
    those that lack are of one pixel."""
    dilation = (1, 1) if isinstance(geometry, PoolingGeometry) else geometry.dilation
    pairs = (
        (geometry.shape[2:], 1),
        (geometry.out_shape[2:], 1),
        (geometry.kernel, 1),
        (geometry.stride, 1),
        (geometry.pad, 0),
        (dilation, 1),
    )
    numbers = [geometry.shape[1]]
    for sizes, neutral in pairs:
        numbers += [neutral] * (2 - len(sizes)) + list(sizes)
    return constants(ops, numbers)


def axis_windows(ops: DeviceOps, geometry: ConvolutionGeometry) -> Value:
    """(axes, 6) for kernels of any number of spatial axes: of each its pixels, windows, kernel,
    stride, pad and dilation."""
    axes = zip(
        geometry.shape[2:],
        geometry.out_spatial,
        geometry.kernel,
        geometry.stride,
        geometry.pad,
        geometry.dilation,
        strict=True,
    )
    return constants(ops, [number for axis in axes for number in axis])
