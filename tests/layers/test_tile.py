"""Tile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("Tile"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def layer(fields: str) -> str:
    return f'type: "Tile" tile_param {{ {fields} }}'


@settings(max_examples=20, deadline=None)
@given(
    shape=st.lists(st.integers(1, 3), min_size=1, max_size=5),
    tiles=st.integers(1, 3),
    data=st.data(),
)
def test_tiles_and_gradient(shape: list[int], tiles: int, data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = np.random.default_rng(0).standard_normal(shape)
    text = layer(f"axis: {axis} tiles: {tiles}")
    (top,) = make_layer(text, [x]).forward()
    np.testing.assert_array_equal(top, np.concatenate([x] * tiles, axis).astype(np.float32))
    check_layer_gradient(text, [x])


def test_an_empty_batch_stays_empty(ops: Ops) -> None:
    run = make_layer(layer("tiles: 3"), [np.ones((0, 2))], ops=ops)
    assert run.forward()[0].shape == (0, 6)
    run.backward()


def test_what_does_not_fit_is_refused() -> None:
    for fields, got in (("", "none"), ("tiles: 0", "0"), ("tiles: -1", "-1")):
        with pytest.raises(NetError, match=rf"tile_param.tiles: expected at least 1, got {got}"):
            make_layer(layer(fields), [np.ones((2, 3))])
    with pytest.raises(ShapeError, match=r"tile_param.axis 1 does not exist in 'bottom_0'"):
        make_layer(layer("tiles: 2"), [np.ones(3)])
