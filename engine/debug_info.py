"""debug_info: the mean magnitude of all that a net computes, layer by layer, as Caffe logs it.

Reads every blob back to the host: for looking at a net that does not learn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from caffepy.engine.core import log
from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.value import Value


def log_forward(layer: Layer, top: Blobs) -> None:
    """The tops and parameters of a layer that has just run forward."""
    for blob in top:
        log.info(
            f"    [Forward] Layer {layer.name}, top blob {blob.name} data: {_mean(blob.data):g}"
        )
    for place, blob in enumerate(layer.blobs):
        specs = layer.param.param
        name = (specs[place].name if place < len(specs) else "") or str(place)
        log.info(f"    [Forward] Layer {layer.name}, param blob {name} data: {_mean(blob.data):g}")


def log_backward(layer: Layer, bottom: Blobs, propagate_down: Sequence[bool]) -> None:
    """The gradients of a layer that has just run backward."""
    for blob, needed in zip(bottom, propagate_down, strict=True):
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


def log_parameters(blobs: Sequence[Blob]) -> None:
    """The norms of all learnable blobs and their gradients, after a whole backward pass."""
    norms = [(_norms([b.data for b in blobs])), _norms([b.diff for b in blobs])]
    log.info(
        "    [Backward] All net params (data, diff): "
        f"L1 norm = ({norms[0][0]:g}, {norms[1][0]:g}); "
        f"L2 norm = ({norms[0][1]:g}, {norms[1][1]:g})"
    )


def _mean(value: Value) -> float:
    """The mean of absolute values; nan of nothing."""
    with np.errstate(all="ignore"):
        return float(np.abs(value.read()).sum()) / value.count if value.count else math.nan


def _norms(values: list[Value]) -> tuple[float, float]:
    """L1 and L2 norm of all values together."""
    arrays = [value.read().reshape(-1) for value in values]
    with np.errstate(all="ignore"):
        return (
            sum(float(np.abs(array).sum()) for array in arrays),
            math.sqrt(sum(float(np.dot(array, array)) for array in arrays)),
        )
