"""LRN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy import lrn
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.harness import check_layer_gradient, compare, golden_cases, make_layer, run_golden


def layer(fields: str) -> str:
    return f'type: "LRN" lrn_param {{ {fields} }}'


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


@pytest.mark.parametrize("case", golden_cases("LRN"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("region", ["ACROSS_CHANNELS", "WITHIN_CHANNEL"])
@pytest.mark.parametrize("fields", ["", "local_size: 3 alpha: 0.7 beta: 0.4 k: 2", "local_size: 1"])
@pytest.mark.parametrize("shape", [(2, 6, 2, 3), (1, 2, 4, 3)])
def test_gradient(region: str, fields: str, shape: tuple[int, ...]) -> None:
    check_layer_gradient(layer(f"norm_region: {region} {fields}"), [images(*shape)])


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(*[st.integers(0, 2)], *[st.integers(1, 4)] * 3),
    half=st.sampled_from([0, 1, 2, 5, 1000]),
    beta=st.sampled_from([0.75, 0.5, 0, 2]),
    within=st.booleans(),
)
def test_sums_are_over_the_elements_around(
    shape: tuple[int, ...], half: int, beta: float, within: bool
) -> None:
    size, x = 2 * half + 1, images(*shape)
    region = "WITHIN_CHANNEL" if within else "ACROSS_CHANNELS"
    text = layer(f"norm_region: {region} local_size: {size} alpha: 2 beta: {beta} k: 3")
    (top,) = make_layer(text, [x], ops=NumpyOps(np.float64)).forward()
    for n, c, h, w in np.ndindex(shape):
        channels, rows, columns = (slice(max(0, at - half), at + half + 1) for at in (c, h, w))
        around = x[n, c, rows, columns] if within else x[n, channels, h, w]
        mean = (around**2).sum() / (size * size if within else size)
        expected = x[n, c, h, w] / ((1 if within else 3) + 2 * mean) ** beta
        assert abs(top[n, c, h, w] - expected) < 1e-12


@pytest.mark.parametrize("region", ["ACROSS_CHANNELS", "WITHIN_CHANNEL"])
@pytest.mark.parametrize("shape", [(2, 3, 0, 4), (2, 0, 4, 4), (0, 3, 4, 4)])
def test_empty_images_have_an_empty_top(region: str, shape: tuple[int, ...], ops: Ops) -> None:
    run = make_layer(layer(f"norm_region: {region}"), [np.ones(shape)], ops=ops)
    assert run.forward()[0].shape == shape
    run.backward()


def test_within_channel_ignores_k(ops: Ops) -> None:
    x = images(1, 2, 3, 3)
    (one,) = make_layer(layer("norm_region: WITHIN_CHANNEL"), [x], ops=ops).forward()
    (two,) = make_layer(layer("norm_region: WITHIN_CHANNEL k: 2"), [x], ops=ops).forward()
    np.testing.assert_array_equal(one, two)


def test_chunks_of_samples_give_what_all_at_once_give(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_layer(layer(""), [images(5, 6, 3, 3)])
    (whole,) = run.forward()
    monkeypatch.setattr(lrn, "CHUNK_BYTES", 2 * 6 * 3 * 3 * 4)
    (chunked,) = run.forward()
    compare(chunked, whole, "in chunks")


def test_an_even_size_is_refused() -> None:
    with pytest.raises(NetError, match=r"local_size: expected an odd number, got 4\. Take 5"):
        make_layer(layer("local_size: 4"), [np.ones((1, 2, 3, 3))])


def test_other_than_four_axes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected 4 axes \(N, C, H, W\), got shape \(2, 3\)"):
        make_layer(layer(""), [np.ones((2, 3))])
