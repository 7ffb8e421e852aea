"""debug_info: the mean magnitude of all that a net computes, layer by layer, as Caffe logs it.

Reads every blob back to the host: for looking at a net that does not learn.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from caffepy.engine.core import log
from caffepy.engine.core.value import Value

if TYPE_CHECKING:
    from caffepy.engine.net import Net


def log_forward(net: Net, index: int) -> None:
    """The tops and parameters of a layer that has just run forward."""
    layer = net.layers[index]
    for blob in net.tops[index]:
        log.info(
            f"    [Forward] Layer {layer.name}, top blob {blob.name} data: {_mean(blob.data):g}"
        )
    for place, blob in enumerate(layer.blobs):
        specs = layer.param.param
        name = (specs[place].name if place < len(specs) else "") or str(place)
        log.info(f"    [Forward] Layer {layer.name}, param blob {name} data: {_mean(blob.data):g}")


def log_backward(net: Net, index: int) -> None:
    """The gradients of a layer that has just run backward."""
    layer = net.layers[index]
    for blob, needed in zip(net.bottoms[index], net.bottom_needs_backward[index], strict=True):
        if needed:
            log.info(
                f"    [Backward] Layer {layer.name}, bottom blob {blob.name} diff: "
                f"{_mean(blob.diff):g}"
            )
    for place, blob in enumerate(layer.blobs):
        if layer.param_propagate_down[place]:
            log.info(
                f"    [Backward] Layer {layer.name}, param blob {place} diff: {_mean(blob.diff):g}"
            )


def log_parameters(net: Net) -> None:
    """The norms of all parameters and gradients, after a whole backward pass."""
    blobs = [parameter.blob for parameter in net.parameters.learnable]
    norms = [(_norms([b.data for b in blobs])), _norms([b.diff for b in blobs])]
    log.info(
        "    [Backward] All net params (data, diff): "
        f"L1 norm = ({norms[0][0]:g}, {norms[1][0]:g}); "
        f"L2 norm = ({norms[0][1]:g}, {norms[1][1]:g})"
    )


def _mean(value: Value) -> float:
    """The mean of absolute values; nan of nothing."""
    return float(np.abs(value.read()).sum()) / value.count if value.count else math.nan


def _norms(values: list[Value]) -> tuple[float, float]:
    """L1 and L2 norm of all values together."""
    arrays = [value.read().reshape(-1) for value in values]
    return (
        sum(float(np.abs(array).sum()) for array in arrays),
        math.sqrt(sum(float(np.dot(array, array)) for array in arrays)),
    )
