"""Update ops: chunks, layouts other than plain, norms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.layout import PLAIN, HostLayout
from caffepy.engine.core.value import Value
from caffepy.engine.ops.numpy import update as update_module
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.ops.numpy.update import CHUNK


class Reversed(HostLayout):
    """Elements in reverse order with a zero before and after: elementwise work must not mind."""

    def bytes(self, shape: tuple[int, ...], dtype: np.dtype) -> int:
        return (math.prod(shape) + 2) * dtype.itemsize

    def allocate(
        self, shape: tuple[int, ...], dtype: np.dtype, memory: np.ndarray | None = None
    ) -> np.ndarray:
        if memory is None:
            return np.zeros(math.prod(shape) + 2, dtype)
        return memory[: self.bytes(shape, dtype)].view(dtype)

    def load(self, plain: np.ndarray, buffer: np.ndarray) -> None:
        buffer[1:-1] = plain.reshape(-1)[::-1]

    def store(self, buffer: np.ndarray, plain: np.ndarray) -> None:
        plain[...] = buffer[1:-1][::-1].reshape(plain.shape)

    def convert(self, source: object, content: object, buffer: np.ndarray) -> bool:
        return False

    def elements(self, buffer: np.ndarray) -> np.ndarray:
        return buffer


REVERSED = Reversed()


def values(shape: Sequence[int], dtype: type, layout: object, count: int = 3) -> list[Value]:
    """Data, diff and history with random content, at home in a layout."""
    random = np.random.default_rng(0)
    made = []
    for _ in range(count):
        value = Value(tuple(shape), dtype)
        value.prefer(layout)  # type: ignore[arg-type]
        value.write()[...] = random.standard_normal(shape)
        made.append(value)
    return made


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", [PLAIN, REVERSED], ids=["plain", "reversed"])
@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, CHUNK + 7)], ids=str)
@pytest.mark.parametrize("keep_diff", [False, True])
def test_sgd_in_chunks_and_in_the_home_layout(
    dtype: type, layout: object, shape: tuple[int, ...], keep_diff: bool
) -> None:
    data, diff, history = values(shape, dtype, layout)
    old = [value.read().copy() for value in (data, diff, history)]
    NumpyOps(dtype).sgd_update().update(
        data, diff, history, rate=0.1, momentum=0.9, scale=0.5, decay=0.01, keep_diff=keep_diff
    )
    moved = 0.9 * old[2] + 0.1 * (0.5 * old[1] + 0.01 * old[0])
    rtol, atol = (1e-5, 1e-6) if dtype == np.float32 else (1e-12, 1e-14)
    np.testing.assert_allclose(history.read(), moved, rtol=rtol, atol=atol)
    np.testing.assert_allclose(data.read(), old[0] - moved, rtol=rtol, atol=atol)
    np.testing.assert_allclose(diff.read(), moved if keep_diff else old[1], rtol=rtol, atol=atol)


# Name -> (history values, numbers, the update by data, g and history). Histories here are squares,
# so that roots exist, and the numbers leave every term its weight.
OTHERS: dict[str, tuple[int, dict[str, float], Callable[..., Any]]] = {
    "nesterov": (1, {"momentum": 0.9}, lambda w, g, v: 1.9 * (0.9 * v + 0.1 * g) - 0.9 * v),
    "adagrad": (1, {"delta": 0.1}, lambda w, g, h: 0.1 * g / (np.sqrt(h + g**2) + 0.1)),
    "rmsprop": (
        1,
        {"delta": 0.1, "rms_decay": 0.8},
        lambda w, g, h: 0.1 * g / (np.sqrt(0.8 * h + 0.2 * g**2) + 0.1),
    ),
    "adadelta": (
        2,
        {"delta": 0.1, "momentum": 0.8},
        lambda w, g, s, d: 0.1 * g * np.sqrt((d + 0.1) / (0.8 * s + 0.2 * g**2 + 0.1)),
    ),
    "adam": (
        2,
        {"delta": 0.1, "momentum": 0.8, "momentum2": 0.9, "shrink": 0.01},
        lambda w, g, m, v: (
            0.1 * (0.8 * m + 0.2 * g) / (np.sqrt(0.9 * v + 0.1 * g**2) + 0.1) + 0.01 * w
        ),
    ),
    "lars": (
        1,
        {"momentum": 0.9, "trust": 0.5, "denominator_decay": 0.3},
        lambda w, g, v: (
            0.9 * v + 0.1 * g * 0.5 * length(w) / (length(g - 0.01 * w) + 0.3 * length(w))
        ),
    ),
}


def length(array: np.ndarray) -> float:
    return float(np.linalg.norm(array))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", [PLAIN, REVERSED], ids=["plain", "reversed"])
@pytest.mark.parametrize("shape", [(3, 5), (2, CHUNK + 7)], ids=str)
@pytest.mark.parametrize("name", OTHERS)
def test_the_other_updates_in_chunks_and_in_the_home_layout(
    dtype: type, layout: object, shape: tuple[int, ...], name: str
) -> None:
    slots, numbers, update = OTHERS[name]
    data, diff, *histories = values(shape, dtype, layout, 2 + slots)
    for history in histories:
        np.square(history.read(), out=history.modify())
    old = [value.read().astype(np.float64) for value in (data, diff, *histories)]
    expected = update(old[0], 0.5 * old[1] + 0.01 * old[0], *old[2:])
    getattr(NumpyOps(dtype), f"{name}_update")().update(
        data, diff, *histories, rate=0.1, scale=0.5, decay=0.01, keep_diff=True, **numbers
    )
    rtol, atol = (2e-5, 1e-6) if dtype == np.float32 else (1e-10, 1e-14)
    np.testing.assert_allclose(diff.read(), expected, rtol=rtol, atol=atol)
    np.testing.assert_allclose(data.read(), old[0] - expected, rtol=rtol, atol=atol)


def test_steps_stay_finite_where_squares_leave_the_range_of_float32() -> None:
    for name, (slots, numbers, _) in OTHERS.items():
        data, diff, *histories = [Value((2,)) for _ in range(2 + slots)]
        diff.write()[...] = [1e-30, 1e15]
        getattr(NumpyOps(), f"{name}_update")().update(
            data, diff, *histories, rate=0.1, scale=1, decay=0, keep_diff=False, **numbers
        )
        assert np.isfinite(data.read()).all(), name


def test_a_leased_parameter_shows_its_update() -> None:
    data, diff, history = values((4,), np.float32, REVERSED)
    seen = data.lease()
    before = seen.copy()
    NumpyOps().sgd_update().update(
        data, diff, history, rate=0.1, momentum=0, scale=1, decay=0, keep_diff=False
    )
    np.testing.assert_allclose(seen, before - 0.1 * diff.read(), rtol=1e-5)


@pytest.mark.parametrize("layout", [PLAIN, REVERSED], ids=["plain", "reversed"])
def test_the_norm_counts_all_values_together(layout: object) -> None:
    found = values((3, 4), np.float32, layout)
    total = Value()
    NumpyOps().sum_of_squares().forward(found, out=total)
    expected = sum(float((value.read() ** 2).sum()) for value in found)
    assert float(total.read()) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["sgd", *OTHERS])
@pytest.mark.parametrize("l1", [False, True])
def test_threads_change_no_bit(name: str, l1: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    slots, numbers, _ = OTHERS.get(name, (1, {"momentum": 0.9}, None))
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(update_module, "THREADED", 1 if threads > 1 else 1 << 62)
        members = values((5, CHUNK // 2), np.float32, PLAIN, 2 + slots)
        for history in members[2:]:
            np.square(history.read(), out=history.modify())
        op = getattr(NumpyOps(threads=threads), f"{name}_update")(l1=l1)
        for _ in range(2):
            op.update(*members, rate=0.1, scale=0.5, decay=0.01, keep_diff=True, **numbers)
        found.append([value.read() for value in members])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
