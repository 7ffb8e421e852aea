"""Recurrent networks on the GPU engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.port import CudaRuntime
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.cuda_parity import ATOL, RTOL, check_parity

SHAPES = ((1, 1, 1), (4, 3, 5), (3, 131, 2), (2, 0, 3))  # steps, sequences, size
WIDTHS = {"lstm": 4, "rnn": 1}  # of the inputs, in sizes
STATES = {"lstm": 2, "rnn": 1}


def values(*shapes: Sequence[int]) -> list[Value]:
    """Values of random numbers, equal for equal shapes."""
    random = np.random.default_rng(0)
    found = [Value(tuple(shape), np.float64) for shape in shapes]
    for value in found:
        value.write()[...] = random.standard_normal(value.shape) / 2
    return found


def results(
    ops: Ops, kind: str, shape: tuple[int, int, int], static: bool, learns: bool
) -> list[np.ndarray]:
    """What two passes forward and back leave in all values; the states go on."""
    steps, samples, size = shape
    width = WIDTHS[kind] * size
    x, fixed, w, dy, out, gradient, of_fixed, of_w = values(
        (steps, samples, width), (samples, width), (width, size), shape, shape,
        (steps, samples, width), (samples, width), (width, size),
    )  # fmt: skip
    states = values(*[(samples, size)] * STATES[kind])
    (cont,) = values((steps, samples))
    cont.write()[...] = np.random.default_rng(1).integers(0, 2, cont.shape)
    op: Any = getattr(ops, kind)(steps, samples, size)
    found = []
    for _ in range(2):
        after = dict(zip(("out_h", "out_c"), states, strict=False))
        op.forward(x, fixed if static else None, cont, w, *states, out=out, **after)
        seen = (out,) if kind == "rnn" else ()
        op.backward(
            dy, *seen, cont, w,
            out=gradient,
            out_static=of_fixed if static else None,
            add_w=of_w if learns else None,
        )  # fmt: skip
        found += [one.read().copy() for one in (out, *states, gradient, of_fixed, of_w)]
    return found


@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("static", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", WIDTHS)
def test_sequences_equal_the_numpy_engine(
    kind: str, shape: tuple[int, int, int], static: bool, learns: bool, cuda_runtime: CudaRuntime
) -> None:
    case = kind, shape, static, learns
    expected = results(NumpyOps(np.float64), *case)
    found = results(CudaOps(cuda_runtime, np.float64), *case)
    for number, (one, other) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_allclose(one, other, RTOL, ATOL, err_msg=f"result {number}")


@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize(("samples", "size"), [(1, 1), (3, 7), (131, 2), (0, 3)])
def test_units_equal_the_numpy_engine(
    samples: int, size: int, wanted: tuple[bool, bool], cuda_runtime: CudaRuntime
) -> None:
    random = np.random.default_rng(0)
    c, x = (random.standard_normal((1, samples, width)) for width in (size, 4 * size))
    cont = random.integers(0, 2, (1, samples))
    text = 'type: "LSTMUnit" top: "c" top: "h"'
    check_parity(cuda_runtime, text, [c, x, cont], propagate_down=[*wanted, False])
