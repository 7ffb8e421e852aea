"""Updates of parameters on the GPU engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.port import CudaRuntime
from caffepy.engine.ops.cuda.update import PART
from caffepy.engine.ops.numpy.backend import NumpyOps

COUNTS = (1, 7, 1031)  # less than an access to memory, no whole number of them, several blocks
TOLERANCES = {np.float32: (2e-5, 1e-6), np.float64: (1e-10, 1e-13)}  # multiplied and added at once

# Rule -> (history values, its own numbers, options of the op).
RULES: dict[str, tuple[int, dict[str, float], dict[str, bool]]] = {
    "sgd": (1, {"momentum": 0.9}, {}),
    "nesterov": (1, {"momentum": 0.9}, {}),
    "adagrad": (1, {"delta": 0.1}, {}),
    "rmsprop": (1, {"delta": 0.1, "rms_decay": 0.8}, {}),
    "adadelta": (2, {"delta": 0.1, "momentum": 0.8}, {}),
    "adam": (2, {"delta": 0.1, "momentum": 0.8, "momentum2": 0.9, "shrink": 0.0}, {}),
    "adam, shrinking": (2, {"delta": 0.1, "momentum": 0.8, "momentum2": 0.9, "shrink": 0.01}, {}),
    "lars": (1, {"momentum": 0.9, "trust": 0.5, "denominator_decay": 0.3}, {}),
    "lars, of g": (
        1,
        {"momentum": 0.9, "trust": 0.5, "denominator_decay": 0.3},
        {"norm_decay": True},
    ),
    "lars, clipped": (1, {"momentum": 0.9, "trust": 0.1, "denominator_decay": 0}, {"clip": True}),
}


def members(count: int, slots: int, dtype: Any) -> list[Value]:
    """Data, some of it 0, diff, and histories, which are squares."""
    random = np.random.default_rng(count)
    arrays = [random.standard_normal(count) for _ in range(2 + slots)]
    arrays[0][::5] = 0
    values = [Value((count,), dtype) for _ in arrays]
    for value, array in zip(values, (*arrays[:2], *(one**2 for one in arrays[2:])), strict=True):
        value.write()[...] = array
    return values


def updated(
    ops: Ops, name: str, values: Sequence[Value], l1: bool = False, **others: Any
) -> list[np.ndarray]:
    """The values after two updates."""
    _, numbers, options = RULES[name]
    op = getattr(ops, f"{name.split(',', maxsplit=1)[0]}_update")(l1=l1, **options)
    arguments = {"rate": 0.1, "scale": 0.5, "decay": 0.01, "keep_diff": False, **numbers, **others}
    for _ in range(2):
        op.update(*values, **arguments)
    return [value.read().copy() for value in values]


def check(
    runtime: CudaRuntime, name: str, count: int, dtype: Any, l1: bool = False, **others: Any
) -> list[np.ndarray]:
    """Compares the engines; gives what the GPU engine made of all values."""
    slots = RULES[name][0]
    expected = updated(NumpyOps(dtype), name, members(count, slots, dtype), l1, **others)
    gpu = CudaOps(runtime, dtype)
    found = updated(gpu, name, members(count, slots, dtype), l1, **others)
    rtol, atol = TOLERANCES[dtype]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("keep_diff", [False, True])
@pytest.mark.parametrize("name", RULES)
def test_every_rule_is_that_of_the_numpy_engine(
    name: str, keep_diff: bool, dtype: type, cuda_runtime: CudaRuntime
) -> None:
    for count in COUNTS:
        check(cuda_runtime, name, count, dtype, keep_diff=keep_diff)


@pytest.mark.parametrize("name", RULES)
def test_decay_may_be_that_of_the_sign_or_none(name: str, cuda_runtime: CudaRuntime) -> None:
    check(cuda_runtime, name, 7, np.float64, l1=True)
    check(cuda_runtime, name, 7, np.float64, decay=0.0)


@pytest.mark.parametrize("name", RULES)
def test_an_update_of_nothing_does_nothing(name: str, cuda_runtime: CudaRuntime) -> None:
    check(cuda_runtime, name, 0, np.float32)


def test_infinite_weights_without_decay_stay_infinite(cuda_runtime: CudaRuntime) -> None:
    for ops in (NumpyOps(), CudaOps(cuda_runtime)):
        values = members(3, 1, np.float32)
        values[0].write()[...] = [np.inf, -np.inf, np.nan]
        data, _, history = updated(ops, "sgd", values, decay=0.0)
        np.testing.assert_array_equal(data, [np.inf, -np.inf, np.nan])
        assert np.isfinite(history).all()


def test_values_that_begin_anywhere_in_memory_are_updated(cuda_runtime: CudaRuntime) -> None:
    ops = CudaOps(cuda_runtime)
    found = []
    for moved in (False, True):
        values = members(1031, 1, np.float32)
        for value in values if moved else ():
            memory = ops.layout.zeros(value.count + 1, value.dtype)
            value.move_to(memory[1:], ops.layout)
        found.append(updated(ops, "sgd", values, keep_diff=True))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", RULES)
def test_nothing_changes_once_something_was_found_wrong(
    name: str, cuda_runtime: CudaRuntime
) -> None:
    ops = CudaOps(cuda_runtime)
    values = members(7, RULES[name][0], np.float32)
    before = [value.read().copy() for value in values]
    ops.watch.value.write()[...] = [1, 0, 0]
    for one, other in zip(updated(ops, name, values, keep_diff=True), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_norm_counts_all_values_together(dtype: type, cuda_runtime: CudaRuntime) -> None:
    values = [members(count, 0, dtype)[1] for count in (1, 0, 3 * PART + 5, 7)]
    squares = []
    for ops in (NumpyOps(dtype), CudaOps(cuda_runtime, dtype)):
        norm, total = ops.sum_of_squares(), Value((), dtype)
        for some in (values[:1], values, []):
            norm.forward(some, out=total)
            squares.append(float(total.read()))
    assert squares[3:] == pytest.approx(squares[:3], rel=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("zero", [0, 1], ids=["weights", "gradient"])
def test_lars_takes_the_rate_as_it_is_where_a_norm_is_0(
    zero: int, cuda_runtime: CudaRuntime
) -> None:
    found = []
    for ops in (NumpyOps(), CudaOps(cuda_runtime)):
        values = members(PART + 5, 1, np.float32)
        values[zero].clear()
        found.append(updated(ops, "lars", values, decay=0.0))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, rtol=2e-5, atol=1e-6)
