"""Numeric gradient check for layers: the analytic backward pass against central differences.

check_layer('type: "TanH"', [np.random.default_rng(0).standard_normal((2, 3))])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.errors import CaffepyError
from caffepy.engine.core.layer import Layer
from caffepy.engine.core.value import Value
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.single_layer import make_layer
from caffepy.proto.caffe_pb2 import TRAIN

RELATIVE_TOLERANCE = 1e-5  # float64 central differences of smooth functions are good to about 1e-8
ABSOLUTE_TOLERANCE = 1e-7
KINK_TOLERANCE = 1e-4  # one-sided slopes that differ by more than this part stand at a kink


class GradientError(CaffepyError):
    """A layer's backward pass disagrees with its forward pass."""


def check_layer(
    param: str, bottoms: Sequence[Any], /, *, phase: int = TRAIN, **options: Any
) -> int:
    """`check_gradient` of a layer that is given as prototxt, in float64.

    param: the inside of a `layer { }` block; name, bottoms and top may be left out.
    bottoms: arrays.  options: those of `check_gradient`.

    Returns the number of elements compared.
    Raises: GradientError, also where no element could be compared; what the layer refuses.
    """
    run = make_layer(param, bottoms, ops=NumpyOps(np.float64), phase=phase)
    compared = check_gradient(run.layer, run.bottom, run.top, **options)
    if not compared:
        raise GradientError(
            f"{run.layer.where}: gradient: expected elements to compare, got none, or only kinks. "
            "Give other bottoms."
        )
    return compared


def check_gradient(
    layer: Layer,
    bottom: Sequence[Blob],
    top: Sequence[Blob],
    *,
    bottoms: Sequence[int] | None = None,
    check_parameters: bool = True,
    step: float = 1e-5,
    seed: int = 1,
) -> int:
    """Compares backward with central differences of a random projection of the tops.

    layer: set up, on a float64 backend; bottoms are filled and keep their values. A top with a loss
    weight is projected on that weight, others on normal random numbers.
    bottoms: indices of the bottoms to check, all by default. Elements whose two one-sided slopes
    differ (kinks: a ReLU at 0, a tie in a maximum) are left out.

    Returns the number of elements compared.
    Raises: GradientError naming the blob, the element and both gradients.
    """
    layer.reshape(bottom, top)
    checked = range(len(bottom)) if bottoms is None else bottoms
    random = np.random.default_rng(seed)
    projections = []
    for index, blob in enumerate(top):
        weight = layer.loss_weight(index)
        projections.append(
            np.full(blob.shape, weight) if weight else random.standard_normal(blob.shape)
        )

    def objective() -> float:
        layer.forward(bottom, top)
        return sum(
            float((blob.data.read() * projection).sum())
            for blob, projection in zip(top, projections, strict=True)
        )

    originals = [blob.data.read().copy() for blob in bottom]

    def restore() -> None:
        for blob, original in zip(bottom, originals, strict=True):
            blob.data.write()[...] = original

    objective()
    for blob, projection in zip(top, projections, strict=True):
        blob.diff.write()[...] = projection
    for blob in layer.blobs:
        blob.diff.write()[...] = 0
    layer.backward(top, [index in checked for index in range(len(bottom))], bottom)
    gradients = [bottom[index].diff.read().copy() for index in checked]
    restore()

    def compare(name: str, value: Value, original: np.ndarray, gradient: np.ndarray) -> int:
        """Moves each element of `value` both ways; returns how many could be compared."""
        centre = objective()
        restore()
        compared = 0
        for place in np.ndindex(original.shape):
            sides = []
            for offset in (step, -step):
                moved = original.copy()
                moved[place] += offset
                value.write()[...] = moved
                sides.append(objective())
                restore()
                value.write()[...] = original
            slope = (sides[0] - sides[1]) / (2 * step)
            bend = abs(sides[0] + sides[1] - 2 * centre) / step
            scale = max(abs(slope), abs(gradient[place]), 1.0)
            if bend > KINK_TOLERANCE * scale + 100 * step * scale:
                continue
            compared += 1
            allowed = ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * scale
            if abs(slope - gradient[place]) > allowed:
                raise GradientError(
                    f"{layer.where}: gradient of {name} at {place}: expected {slope:.9g} (central "
                    f"difference), got {gradient[place]:.9g} from backward. "
                    "Check the layer's backward."
                )
        return compared

    compared = 0
    for index, gradient in zip(checked, gradients, strict=True):
        name = f"bottom {index} '{bottom[index].name}'"
        compared += compare(name, bottom[index].data, originals[index], gradient)
    for index, blob in enumerate(layer.blobs if check_parameters else ()):
        if layer.param_propagate_down[index]:
            original = blob.data.read().copy()
            compared += compare(f"parameter {index}", blob.data, original, blob.diff.read().copy())
    return compared
