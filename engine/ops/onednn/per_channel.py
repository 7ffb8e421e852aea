"""A factor and a bias per channel on oneDNN: what the ops of Scale and Bias share."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.layout import Layout
from caffepy.engine.core.value import Value
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.onednn.binding import (
    Algorithm,
    Arg,
    Descriptor,
    NormalisationFlag,
    Pass,
    Primitive,
    aligned,
    describe,
)
from caffepy.engine.ops.onednn.execution import Execution, Scratchpad
from caffepy.engine.ops.onednn.layout import BlockedLayout
from caffepy.engine.ops.onednn.normalisation import Normalisation
from caffepy.engine.ops.onednn.tensors import tensor_layout

EPS, VARIANCE = 0.5, 0.5  # their sum is exactly 1
DEPTHWISE = "jit_dw"  # the implementation for depthwise convolutions, whose weights lie in a row


class PerChannel:
    """y = s x + b per channel, and the gradients of s and b, in one blocked layout.

    Forward is a normalisation with mean 0 and variance 1, the gradients of s and b are those of the
    weights and the bias of a depthwise convolution with a 1 x 1 kernel: one pass over memory each.
    s and b are flat arrays, one element per channel.
    """

    def __init__(self, scratchpad: Scratchpad, layout: BlockedLayout, gradient: Primitive) -> None:
        self.layout = layout
        size = 4 * layout.dims[1]
        self._scratchpad = scratchpad
        self._mean, self._variance = aligned(size), aligned(size)
        self._variance[:] = VARIANCE
        self._forward: dict[tuple[bool, bool], Normalisation] = {}  # with s, with b
        self._channels = slice(layout.dims[1])
        self._ds = aligned(gradient.argument(Arg.WEIGHTS_DIFF).bytes)  # may be padded
        self._db = aligned(size)
        places = Arg.SOURCE, Arg.TARGET_DIFF, Arg.WEIGHTS_DIFF, Arg.BIAS_DIFF
        self._gradient = Execution(gradient, scratchpad, *places)

    def forward(
        self, x: np.ndarray, y: np.ndarray, s: np.ndarray | None, b: np.ndarray | None
    ) -> None:
        """Overwrites y, which may be x; without s or b where they are None."""
        parameters = [each for each in (s, b) if each is not None]
        kind = s is not None, b is not None
        run = self._forward.get(kind)
        if run is None:
            run = self._forward[kind] = self._make_forward(*kind)
        run.forward(x, y, self._mean, self._variance, *parameters)

    def gradients(self, dy: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The sums over each channel of dy x and of dy: arrays that the next call overwrites."""
        self._gradient(x, dy, self._ds, self._db)
        return self._ds[self._channels], self._db

    def _make_forward(self, factor: bool, bias: bool) -> Normalisation:
        flags = NormalisationFlag.GIVEN_STATISTICS
        if factor:
            flags |= NormalisationFlag.SCALE
        if bias:
            flags |= NormalisationFlag.SHIFT
        return Normalisation(self._scratchpad, self.layout.descriptor, EPS, flags)


class PerChannelPlans:
    """One `PerChannel` per layout of x, which is seen as (outer, channels, inner)."""

    def __init__(self, scratchpad: Scratchpad, geometry: AxisGeometry) -> None:
        self._scratchpad = scratchpad
        self._seen = geometry.outer, geometry.size
        self._plans: dict[Layout, PerChannel | None] = {}

    def plan_for(self, x: Value) -> PerChannel | None:
        """None where numpy is faster: for plain memory, and layouts without a fast primitive."""
        layout = tensor_layout(x)
        if layout not in self._plans:
            self._plans[layout] = self._make(layout)
        return self._plans[layout]

    def _make(self, layout: Layout) -> PerChannel | None:
        if not isinstance(layout, BlockedLayout) or layout.dims[:2] != self._seen:
            return None
        gradient = _depthwise_gradient(layout.descriptor)
        if not gradient.implementation.startswith(DEPTHWISE):
            return None
        return PerChannel(self._scratchpad, layout, gradient)


def _depthwise_gradient(tensor: Descriptor) -> Primitive:
    """The gradients of the weights and the bias of y = w x + b per channel."""
    channels, spatial = tensor.dims[1], len(tensor.dims) - 2
    ones, zeros = (1,) * spatial, (0,) * spatial
    tensors = (
        tensor, Descriptor.any((channels, 1, 1, *ones)), Descriptor.plain((channels,)), tensor,
    )  # fmt: skip
    forward = describe(
        "convolution_forward", Pass.FORWARD_TRAINING, Algorithm.CONVOLUTION_DIRECT,
        *tensors, ones, zeros, zeros, zeros,
    )  # fmt: skip
    return describe(
        "convolution_backward_weights", Algorithm.CONVOLUTION_DIRECT,
        *tensors, ones, zeros, zeros, zeros, forward=forward,
    )  # fmt: skip
