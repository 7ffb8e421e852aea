"""oneDNN's normalisation of channels: what batch normalisation, scale and bias are made of."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from caffepy.engine.core.layout import Layout
from caffepy.engine.ops.onednn.binding import (
    Arg,
    Descriptor,
    NormalisationFlag,
    Pass,
    Primitive,
    aligned,
    describe,
)
from caffepy.engine.ops.onednn.execution import Execution, Scratchpad
from caffepy.engine.ops.onednn.tensors import describe_layout

PARALLEL_STAGES = "tbb"  # in the names of implementations without barriers of their own


class Normalisation:
    """y = (x - mean) / sqrt(variance + eps) per channel (axis 1) of tensors in one layout.

    tensor: of x, y and their gradients.  eps: above 0, else what pads the channels becomes nan.
    flags: GIVEN_STATISTICS: forward reads mean and variance, else it writes them; SCALE: y is
    multiplied by a factor; SHIFT: a bias is added; RELU: of which max(y, 0) is taken (nan becomes
    0), and the signs are kept for backward.

    Mean, variance, factor and bias are flat arrays, one element per channel. x and y may be one
    array, and dy and dx. Primitives are made when first called.
    """

    def __init__(
        self,
        scratchpad: Scratchpad,
        tensor: Descriptor,
        eps: float,
        flags: NormalisationFlag = NormalisationFlag.NONE,
    ) -> None:
        self._scratchpad = scratchpad
        self._tensor = tensor
        self._eps = eps
        self._flags = flags
        self._described: Primitive | None = None
        self._forward: Execution | None = None
        self._backward: Execution | None = None
        self._signs: list[np.ndarray] = []  # one array with RELU, none without

    def forward(
        self,
        x: np.ndarray,
        y: np.ndarray,
        mean: np.ndarray,
        variance: np.ndarray,
        *factor_and_bias: np.ndarray,
    ) -> None:
        """factor_and_bias: those that the flags name."""
        if self._forward is None:
            self._forward = self._make_forward()
        self._forward(x, y, mean, variance, *factor_and_bias, *self._signs)

    def backward(
        self,
        dy: np.ndarray,
        x: np.ndarray,
        dx: np.ndarray,
        mean: np.ndarray,
        variance: np.ndarray,
        *factor_and_gradients: np.ndarray,
    ) -> None:
        """After `forward`, overwrites dx.

        factor_and_gradients: with SCALE, the factor and its gradient; with SHIFT, that of the bias;
        the gradients are overwritten.
        """
        if self._backward is None:
            self._backward = self._make_backward()
        self._backward(dy, x, dx, mean, variance, *factor_and_gradients, *self._signs)

    def _make_forward(self) -> Execution:
        primitive = self._describe_forward()
        if NormalisationFlag.RELU in self._flags:
            self._signs = [aligned(primitive.argument(Arg.WORKSPACE).bytes)]
        places = [Arg.SOURCE, Arg.TARGET, Arg.MEAN, Arg.VARIANCE]
        places += [Arg.SCALE] * (NormalisationFlag.SCALE in self._flags)
        places += [Arg.SHIFT] * (NormalisationFlag.SHIFT in self._flags)
        places += [Arg.WORKSPACE] * len(self._signs)
        return Execution(primitive, self._scratchpad, *places)

    def _make_backward(self) -> Execution:
        learns = self._flags & (NormalisationFlag.SCALE | NormalisationFlag.SHIFT)
        primitive = _describe(
            "batch_normalization_backward",
            Pass.BACKWARD if learns else Pass.BACKWARD_DATA,
            self._tensor, self._tensor, self._tensor, self._eps, self._flags,
            forward=self._describe_forward(),
        )  # fmt: skip
        places = [Arg.TARGET_DIFF, Arg.SOURCE, Arg.SOURCE_DIFF, Arg.MEAN, Arg.VARIANCE]
        places += [Arg.SCALE, Arg.SCALE_DIFF] * (NormalisationFlag.SCALE in self._flags)
        places += [Arg.SHIFT_DIFF] * (NormalisationFlag.SHIFT in self._flags)
        places += [Arg.WORKSPACE] * len(self._signs)
        return Execution(primitive, self._scratchpad, *places)

    def _describe_forward(self) -> Primitive:
        """Made once: the backward primitive is derived from it."""
        if self._described is None:
            self._described = _describe(
                "batch_normalization_forward", Pass.FORWARD_TRAINING,
                self._tensor, self._tensor, self._eps, self._flags,
            )  # fmt: skip
        return self._described


class Plan:
    """All normalisations of BatchNorm in one layout of x: with the statistics of x itself, with
    given ones, and with the work of the layers that follow."""

    def __init__(
        self, scratchpad: Scratchpad, layout: Layout, shape: tuple[int, ...], eps: float
    ) -> None:
        self.layout = layout
        self._made = scratchpad, describe_layout(layout, shape), eps
        self._merged: dict[NormalisationFlag, Normalisation] = {}
        self.own = Normalisation(*self._made)
        self.given = Normalisation(*self._made, NormalisationFlag.GIVEN_STATISTICS)

    def merged(self, flags: NormalisationFlag) -> Normalisation:
        """With the statistics of x itself, and more."""
        found = self._merged.get(flags)
        if found is None:
            found = self._merged[flags] = Normalisation(*self._made, flags)
        return found


def _describe(kind: str, *arguments: Any, forward: Primitive | None = None) -> Primitive:
    """As `describe`, for threads that wait as the user has chosen.

    The implementation of first choice waits at barriers of its own, by spinning. Where OpenMP's
    threads wait passively, one of them is often woken on the processor where another one spins: the
    pass then takes 15 to 30 ms instead of 1. The other one takes a tenth more time, always.
    """
    primitive = describe(kind, *arguments, forward=forward)
    if os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive":
        return primitive.preferring(PARALLEL_STAGES)
    return primitive
