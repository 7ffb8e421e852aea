"""Updates on oneDNN: piece by piece, as numpy's, and each element as if it were alone."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.ops.onednn import piecewise
from caffepy.engine.ops.onednn.backend import OneDnnOps
from caffepy.engine.ops.onednn.library import available
from caffepy.engine.ops.onednn.update import PiecewiseUpdate
from tests.engine.ops.test_update import OTHERS

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))

RULES: dict[str, tuple[int, dict[str, float]]] = {
    "sgd": (1, {"momentum": 0.9}),
    **{name: (slots, numbers) for name, (slots, numbers, _) in OTHERS.items()},
    "adam without decay of its own": (2, {**OTHERS["adam"][1], "shrink": 0.0}),
}
EVERYWHERE = sorted(RULES.keys() - {"lars"})  # an element's update needs no others
COUNT = 2503
SPECIAL = [0, -0.0, np.inf, -np.inf, np.nan, 1e38, -1e-39, 1e-30]


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piecewise, "PIECE", 4096)


def contents(slots: int, special: bool = False) -> list[np.ndarray]:
    """Data, diff, and histories that are squares."""
    random = np.random.default_rng(1)
    arrays = [random.standard_normal(COUNT).astype(np.float32) for _ in range(2 + slots)]
    for place, array in enumerate(arrays):
        if place > 1:
            np.square(array, out=array)
        if special:
            array[place * 50 : place * 50 + 40] = random.choice(SPECIAL, 40)
    return arrays


def updated(
    ops: Ops, name: str, arrays: Sequence[np.ndarray], times: int = 3, **numbers: Any
) -> list[np.ndarray]:
    """What the values hold after some updates."""
    values = [Value(array.shape, ops.dtype) for array in arrays]
    for value, array in zip(values, arrays, strict=True):
        value.write()[...] = array
    update = getattr(ops, f"{name.split(maxsplit=1)[0]}_update")().update
    given = {"rate": 0.1, "scale": 0.5, "decay": 0.01, "keep_diff": False, **RULES[name][1]}
    for _ in range(times):
        update(*values, **{**given, **numbers})
    return [value.read() for value in values]


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("keep_diff", [False, True])
def test_updates_are_those_of_numpy(name: str, decay: float, keep_diff: bool) -> None:
    options = {"decay": decay, "keep_diff": keep_diff}
    arrays = contents(RULES[name][0])
    found = updated(OneDnnOps(), name, arrays, **options)
    expected = updated(NumpyOps(np.float64), name, arrays, **options)
    for ours, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, reference, rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_nan_inf_and_what_is_near_them_come_out_as_on_numpy(name: str, decay: float) -> None:
    arrays = contents(RULES[name][0], special=True)
    found, expected = (updated(ops, name, arrays, decay=decay) for ops in (OneDnnOps(), NumpyOps()))
    for ours, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, reference, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("name", EVERYWHERE)
@pytest.mark.parametrize("start", [1, 7, 1040])
def test_where_an_element_lies_changes_no_bit_of_it(name: str, start: int) -> None:
    arrays = contents(RULES[name][0])
    whole = updated(OneDnnOps(), name, arrays)
    part = updated(OneDnnOps(threads=1), name, [array[start:-3] for array in arrays])
    for one, other in zip(whole, part, strict=True):
        np.testing.assert_array_equal(one[start:-3], other)


@pytest.mark.parametrize("name", RULES)
def test_to_keep_the_update_changes_no_bit_of_the_weights(name: str) -> None:
    arrays = contents(RULES[name][0])
    plain, kept = (updated(OneDnnOps(), name, arrays, 1, keep_diff=keep) for keep in (False, True))
    for place in {0, *range(2, len(arrays))}:
        np.testing.assert_array_equal(plain[place], kept[place])
    np.testing.assert_allclose(arrays[0] - kept[0], kept[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("scale", [0.0, 1e-44, np.nan])
def test_scales_that_leave_the_range_of_float32_are_numpys(name: str, scale: float) -> None:
    arrays = contents(RULES[name][0])
    found, expected = (updated(ops, name, arrays, scale=scale) for ops in (OneDnnOps(), NumpyOps()))
    for ours, reference in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, reference)


def test_l1_is_numpys() -> None:
    for name in RULES:
        make = getattr(OneDnnOps(), f"{name.split(maxsplit=1)[0]}_update")
        assert isinstance(make(), PiecewiseUpdate)
        assert not isinstance(make(l1=True), PiecewiseUpdate)


def test_arrays_of_earlier_calls_are_found_bound_and_are_not_held_on_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ops, bound = OneDnnOps(), []
    bind = piecewise.Execution.bind
    monkeypatch.setattr(
        piecewise.Execution, "bind", lambda *given: (bound.append(1), bind(*given))[1]
    )
    sgd = ops.sgd_update()

    def values(count: int) -> list[Value]:
        made = [Value((count,)) for _ in range(3)]
        for value in made:
            value.write()[...] = 1
        return made

    groups = [values(9000), values(12), values(9000)]
    for _ in range(3):
        for group in groups:
            sgd.update(*group, rate=0.1, momentum=0, scale=1, decay=0, keep_diff=False)
    pieces = -(-9000 // 1024)
    assert len(bound) == 2 * (2 * pieces + 1)
    memory = [weakref.ref(value._storage.plain) for group in groups for value in group]
    for group in groups:
        np.testing.assert_allclose(group[0].read(), 0.7, rtol=1e-6)
        group.clear()
    gc.collect()
    assert all(one() is None for one in memory)
    ops.let_go()
    sgd.update(*values(12), rate=0.1, momentum=0, scale=1, decay=0, keep_diff=False)
    assert len(bound) == 2 * (2 * pieces + 2)
