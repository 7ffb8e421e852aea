"""Sliding windows from their definition, for the tests of the layers of convolution_param."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

Sizes = tuple[int, ...]
FILLERS = 'weight_filler { type: "gaussian" } bias_filler { type: "uniform" }'


def layer(layer_type: str, fields: str) -> str:
    """A layer whose weights and biases are random."""
    return f'type: "{layer_type}" convolution_param {{ {fields} {FILLERS} }}'


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


@dataclass(frozen=True)
class Windows:
    """Windows over images of spatial sizes `spatial`: a number of everything per axis."""

    spatial: Sizes
    kernel: Sizes
    stride: Sizes
    pad: Sizes
    dilation: Sizes

    @property
    def fields(self) -> str:
        """In prototxt."""
        return " ".join(
            f"{name}: {size}"
            for name, sizes in (
                ("kernel_size", self.kernel),
                ("stride", self.stride),
                ("pad", self.pad),
                ("dilation", self.dilation),
            )
            for size in sizes
        )

    @property
    def out(self) -> Sizes:
        """How many windows along each axis; 0 or less where none is."""
        return tuple(
            int((size + 2 * pad - (dilation * (kernel - 1) + 1)) / stride) + 1  # as C++ divides
            for size, kernel, stride, pad, dilation in self._axes()
        )

    @property
    def enlarged(self) -> Sizes:
        """The sizes of the image whose windows these are pixels of, as in a deconvolution."""
        return tuple(
            stride * (size - 1) + dilation * (kernel - 1) + 1 - 2 * pad
            for size, kernel, stride, pad, dilation in self._axes()
        )

    def matrix(self) -> np.ndarray:
        """(kernel places, windows, pixels): 1 where a window has a pixel at that place."""
        places = math.prod(self.kernel), math.prod(self.out), math.prod(self.spatial)
        matrix = np.zeros((*self.kernel, *self.out, *self.spatial))
        along = [
            [
                (place, window, window * stride - pad + place * dilation)
                for place, window in itertools.product(range(kernel), range(out))
                if 0 <= window * stride - pad + place * dilation < size
            ]
            for (size, kernel, stride, pad, dilation), out in zip(
                self._axes(), self.out, strict=True
            )
        ]
        for chosen in itertools.product(*along):
            matrix[tuple(axis[part] for part in range(3) for axis in chosen)] = 1
        return matrix.reshape(places)

    def _axes(self) -> zip[tuple[int, ...]]:
        return zip(self.spatial, self.kernel, self.stride, self.pad, self.dilation, strict=True)


def windows(largest: int) -> st.SearchStrategy[Windows]:
    """Over up to three axes of up to `largest` pixels."""

    def over(axes: int) -> st.SearchStrategy[Windows]:
        def sizes(least: int, most: int) -> st.SearchStrategy[Sizes]:
            return st.tuples(*[st.integers(least, most)] * axes)

        return st.builds(
            Windows, sizes(1, largest), sizes(1, 4), sizes(1, 4), sizes(0, 3), sizes(1, 3)
        )

    return st.integers(0, 3).flatmap(over)


def grouped_sum(weights: np.ndarray, x: np.ndarray, matrix: np.ndarray, group: int) -> np.ndarray:
    """(N, outputs, windows): the sum over each output's group of channels, and over kernel places.

    weights: (outputs, C / group, kernel places).  x: (N, C, pixels).
    """
    w = weights.reshape(group, -1, *weights.shape[1:])
    channels = x.reshape(len(x), group, x.shape[1] // group, x.shape[2])
    y: np.ndarray = np.einsum("gock,kwp,ngcp->ngow", w, matrix, channels)
    return y.reshape(len(x), len(weights), matrix.shape[1])
