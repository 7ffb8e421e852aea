"""LRN of oneDNN against that of numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.layout import PLAIN
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.geometry import LrnGeometry
from caffepy.engine.ops.numpy.lrn import Lrn
from caffepy.engine.ops.onednn.backend import OneDnnOps
from caffepy.engine.ops.onednn.library import available
from tests.onednn_values import (
    Run,
    compare,
    compare_special,
    layout_names,
    numbers,
    shapes,
    value_of,
)

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))

EXAMPLES = settings(max_examples=30, deadline=None)


def lrn(geometry: LrnGeometry) -> Run:
    """Both passes, twice: the first backward pass is not prepared by forward."""

    def run(ops: Ops, values: list[Value]) -> list[Value]:
        x, dy = values
        op, found = ops.lrn(geometry), []
        for _ in range(2):
            y, dx = Value(x.shape, ops.dtype), Value(x.shape, ops.dtype)
            op.forward(x, out=y)
            op.backward(dy, x, out=dx)
            found += [y, dx]
        return found

    return run


@EXAMPLES
@given(
    shape=shapes.filter(lambda shape: len(shape) == 4), layout=layout_names,
    size=st.sampled_from([1, 3, 5, 7, 99]), beta=st.sampled_from([0.75, 0.5]),
    k=st.sampled_from([1.0, 2.0, 0.0]), within=st.booleans(),
)  # fmt: skip
def test_lrn_equals_numpy(
    shape: tuple[int, ...], layout: str, size: int, beta: float, k: float, within: bool
) -> None:
    geometry = LrnGeometry(shape, size, 0.5, beta, k, within)
    x = np.sign(numbers(shape)) + numbers(shape)  # away from 0, where k = 0 has a pole
    compare(lrn(geometry), [x, numbers(shape, 1)], layout)


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("layout", ["plain", "convolution", "channels last"])
@pytest.mark.usefixtures("wide_vectors")
def test_lrn_is_computed_by_the_library_in_shapes_of_real_nets(layout: str, within: bool) -> None:
    geometry = LrnGeometry((4, 32, 13, 13), 3 if within else 5, 1e-4, 0.75, 1.0, within)
    ops = OneDnnOps()
    x, out = value_of(numbers(geometry.shape), ops, layout), Value(geometry.shape)
    ops.lrn(geometry).forward(x, out=out)
    assert out.fresh_layout is not PLAIN
    if layout != "plain":
        assert out.fresh_layout is x.fresh_layout
    compare(lrn(geometry), [numbers(geometry.shape) * 50, numbers(geometry.shape, 1)], layout)


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("alpha", [1e-4, 1.0])
@pytest.mark.parametrize(
    "special", [1e-39, 1e6, 1e8, 1e9, 1e12, 1e18, 1e25, np.inf, -np.inf, np.nan]
)
def test_lrn_of_extreme_numbers_equals_numpy(special: float, alpha: float, within: bool) -> None:
    shape = (2, 16, 7, 7)
    geometry = LrnGeometry(shape, 3, alpha, 0.75, 1.0, within)
    x, dy = numbers(shape), numbers(shape, 1)
    x[1, 5, 3, 3] = special
    compare_special(lrn(geometry), [x, dy], "convolution")


def test_lrn_without_a_minimum_of_the_sum_is_numpys() -> None:
    ops = OneDnnOps()
    for k, alpha in ((0.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (np.nan, 1.0)):
        assert type(ops.lrn(LrnGeometry((1, 16, 4, 4), 5, alpha, 0.75, k, False))) is Lrn
