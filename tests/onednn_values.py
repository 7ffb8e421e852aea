"""Values in the layouts of oneDNN, and comparing its ops with those of numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from caffepy.engine.core.layout import PLAIN, Layout
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.ops.onednn.backend import OneDnnOps
from caffepy.engine.ops.onednn.layout import BlockedLayout, layout_of
from caffepy.engine.ops.onednn.tensors import channels_last, convolution_layout

TOLERANCE = 2e-5  # of float32 sums, relative to the largest element
Numbers = list[np.ndarray]
Run = Callable[[Ops, list[Value]], list[Value]]

shapes = st.tuples(
    st.integers(1, 3), st.sampled_from([1, 2, 3, 15, 16, 17, 32, 40]), st.integers(1, 3)
).flatmap(
    lambda sizes: st.lists(st.integers(1, 6), min_size=sizes[2], max_size=sizes[2]).map(
        lambda spatial: (*sizes[:2], *spatial)
    )
)
layout_names = st.sampled_from(["plain", "convolution", "channels last"])


def numbers(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def layout_named(name: str, shape: tuple[int, ...]) -> Layout:
    if name == "convolution":
        return convolution_layout(shape)
    if name == "channels last" and len(shape) > 2:
        return layout_of(channels_last(shape))
    return PLAIN


def value_of(array: np.ndarray, ops: Ops, layout: str = "plain") -> Value:
    """Written last in that layout, where the backend is oneDNN's."""
    value = Value(array.shape, ops.dtype)
    wanted = layout_named(layout, array.shape) if isinstance(ops, OneDnnOps) else PLAIN
    if wanted is PLAIN:
        value.write()[...] = array
    else:
        wanted.load(array, value.write(wanted))
    return value


def results(run: Run, ops: Ops, inputs: Numbers, layout: str) -> Numbers:
    """What `run` makes of the inputs; activations of more than one axis get the layout."""
    values = [value_of(array, ops, layout if array.ndim > 1 else "plain") for array in inputs]
    found = run(ops, values)
    for value in found:
        assert_padding_is_zero(value)
    return [value.read().copy() for value in found]


def assert_padding_is_zero(value: Value) -> None:
    layout = value.fresh_layout
    if isinstance(layout, BlockedLayout):
        ones = layout.allocate(value.shape, value.dtype)
        layout.load(np.ones(value.shape, np.float32), ones)
        assert not value.read(layout)[ones == 0].any()


def compare(run: Run, inputs: Numbers, layout: str, tolerance: float = TOLERANCE) -> None:
    """oneDNN's results against those of numpy in float64."""
    found = results(run, OneDnnOps(), inputs, layout)
    expected = results(run, NumpyOps(np.float64), inputs, "plain")
    for index, (ours, reference) in enumerate(zip(found, expected, strict=True)):
        scale = max(1.0, float(np.abs(reference).max()))
        np.testing.assert_allclose(
            ours, reference, rtol=0, atol=tolerance * scale, err_msg=f"result {index}"
        )


def compare_special(run: Run, inputs: Numbers, layout: str) -> None:
    """As numpy in float32, where numbers are large, tiny, infinite or nan."""
    found = results(run, OneDnnOps(), inputs, layout)
    expected = results(run, NumpyOps(), inputs, "plain")
    for index, (ours, reference) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_allclose(
            ours, reference, rtol=1e-4, atol=1e-37, err_msg=f"result {index}"
        )
