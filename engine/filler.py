"""Fillers: how learnable blobs start.

Sources: Caffe's layer catalogue (FillerParameter); X. Glorot and Y. Bengio, "Understanding the
difficulty of training deep feedforward neural networks", 2010 (xavier); K. He et al., "Delving deep
into rectifiers", 2015 (msra); J. Long et al., "Fully convolutional networks for semantic
segmentation", 2015 (bilinear).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from caffepy.engine.core.errors import NetError
from caffepy.engine.core.random import Part, Stream
from caffepy.engine.core.storage import Shape
from caffepy.engine.core.value import Value
from caffepy.proto.caffe_pb2 import FillerParameter
from caffepy.proto.errors import did_you_mean

Parts = Iterator[Part]  # of all the numbers in C order: a layer may be most of the memory
Fill = Callable[[Shape, FillerParameter, Stream, int], Parts]


def fill(value: Value, filler: FillerParameter, stream: Stream, position: int) -> None:
    """Overwrites `value` by what `filler` says, drawing the numbers of `stream` at `position`.

    Raises: NetError where the filler's type is unknown, or it does not suit the shape or itself.
    """
    make = _FILLERS.get(filler.type)
    if make is None:
        remedy = did_you_mean(filler.type, _FILLERS) or f" Known are {', '.join(_FILLERS)}."
        raise NetError(f"filler type '{filler.type}' does not exist.{remedy}")
    if value.count == 0:
        raise NetError(
            f"filler '{filler.type}': expected a shape with elements, got {value.shape}. Correct "
            "the sizes that lead to it."
        )
    if filler.sparse != -1 and filler.type != "gaussian":
        raise NetError(
            f"filler '{filler.type}': expected no `sparse`, got {filler.sparse}. Remove it, or use "
            "the filler 'gaussian'."
        )
    flat = value.write().reshape(-1)
    for start, part in make(value.shape, filler, stream, position):
        flat[start : start + part.size] = part


def _constant(shape: Shape, filler: FillerParameter, stream: Stream, position: int) -> Parts:
    yield 0, np.broadcast_to(filler.value, math.prod(shape))


def _uniform(shape: Shape, filler: FillerParameter, stream: Stream, position: int) -> Parts:
    if not filler.min <= filler.max:
        raise NetError(
            f"filler 'uniform': expected min up to max, got min {filler.min:g} and max "
            f"{filler.max:g}. Correct them."
        )
    for start, part in stream.uniform_parts(position, math.prod(shape)):
        yield start, filler.min + (filler.max - filler.min) * part


def _gaussian(shape: Shape, filler: FillerParameter, stream: Stream, position: int) -> Parts:
    """With `sparse: s`, each weight survives with probability s / (number of outputs)."""
    if not filler.std >= 0:
        raise NetError(
            f"filler 'gaussian': expected std from 0 up, got {filler.std:g}. Correct it."
        )
    outputs = shape[0] if shape else 1
    if not -1 <= filler.sparse <= outputs:
        raise NetError(
            f"filler 'gaussian': expected sparse from 0 to {outputs}, the number of outputs, got "
            f"{filler.sparse}. Correct it, or leave it out."
        )
    survival = filler.sparse / outputs
    for start, part in stream.gaussian_parts(position, math.prod(shape)):
        drawn = filler.mean + filler.std * part
        if filler.sparse >= 0:
            beyond = position + (1 << 32)  # any count of forward passes
            drawn *= stream.uniform(beyond, len(part), start) < survival
        yield start, drawn


def _positive_unitball(
    shape: Shape, filler: FillerParameter, stream: Stream, position: int
) -> Parts:
    drawn = stream.uniform(position, math.prod(shape)).reshape(*shape[:1], -1)
    drawn /= drawn.sum(axis=-1, keepdims=True)
    yield 0, drawn.reshape(-1)


def _xavier(shape: Shape, filler: FillerParameter, stream: Stream, position: int) -> Parts:
    scale = math.sqrt(3.0 / _fan(shape, filler))
    for start, part in stream.uniform_parts(position, math.prod(shape)):
        yield start, scale * (2.0 * part - 1.0)


def _msra(shape: Shape, filler: FillerParameter, stream: Stream, position: int) -> Parts:
    scale = math.sqrt(2.0 / _fan(shape, filler))
    for start, part in stream.gaussian_parts(position, math.prod(shape)):
        yield start, scale * part


def _bilinear(shape: Shape, filler: FillerParameter, stream: Stream, position: int) -> Parts:
    if len(shape) != 4 or shape[2] != shape[3]:
        raise NetError(
            f"filler 'bilinear': expected a square kernel (outputs, inputs, k, k), got {shape}. "
            "Use it in a Deconvolution or Convolution with a square kernel_size."
        )
    size = shape[3]
    factor = math.ceil(size / 2)
    centre = (size - 1) / (2.0 * factor)  # symmetric, as since Caffe's pull request 5713
    line = 1 - np.abs(np.arange(size) / factor - centre)
    yield 0, np.broadcast_to(np.outer(line, line), shape).reshape(-1)


def _fan(shape: Shape, filler: FillerParameter) -> float:
    """Inputs per output, outputs per input, or their mean, by variance_norm."""
    count = math.prod(shape)
    fan_in = count / (shape[0] if shape else 1)
    fan_out = count / shape[1] if len(shape) > 1 else count
    if filler.variance_norm == FillerParameter.FAN_OUT:
        return fan_out
    if filler.variance_norm == FillerParameter.AVERAGE:
        return (fan_in + fan_out) / 2
    return fan_in


_FILLERS: dict[str, Fill] = {
    "constant": _constant,
    "gaussian": _gaussian,
    "uniform": _uniform,
    "positive_unitball": _positive_unitball,
    "xavier": _xavier,
    "msra": _msra,
    "bilinear": _bilinear,
}
