"""Im2col."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy import im2col
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden
from tests.window_cases import Windows, images, windows


@pytest.mark.parametrize("case", golden_cases("Im2col"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def layer(fields: str) -> str:
    return f'type: "Im2col" convolution_param {{ {fields} }}'


@settings(max_examples=20, deadline=None)
@given(
    spatial=st.lists(st.integers(3, 4), min_size=1, max_size=3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    pad=st.integers(0, 2),
    dilation=st.integers(1, 2),
    axis=st.sampled_from([0, 1, 2]),
)
def test_gradient(
    spatial: list[int], kernel: int, stride: int, pad: int, dilation: int, axis: int
) -> None:
    pad = max(pad, dilation * (kernel - 1) + 1 - min(spatial))
    shape = [*[2] * axis, 2, *spatial]
    check_layer_gradient(
        layer(
            f"axis: {axis} kernel_size: {kernel} stride: {stride} pad: {pad} dilation: {dilation}"
        ),
        [images(*shape)],
    )


@settings(max_examples=40, deadline=None)
@given(
    window=windows(largest=4).filter(lambda window: min(window.out, default=0) > 0),
    leading=st.lists(st.integers(0, 2), max_size=2),
)
def test_the_windows_stand_side_by_side_with_zeros_outside_the_image(
    window: Windows, leading: list[int]
) -> None:
    x = images(*leading, 3, *window.spatial).astype(np.float32)
    (top,) = make_layer(layer(f"axis: {len(leading)} {window.fields}"), [x]).forward()
    matrix = window.matrix()
    samples = x.reshape(np.prod(leading, dtype=int), 3, matrix.shape[2])
    expected = np.einsum("kwp,ncp->nckw", matrix, samples)
    np.testing.assert_array_equal(top, expected.reshape(*leading, 3 * len(matrix), *window.out))


def test_chunks_of_samples_give_what_all_at_once_give(monkeypatch: pytest.MonkeyPatch) -> None:
    x = images(5, 2, 4, 3)

    def results() -> list[np.ndarray]:
        run = make_layer(layer("kernel_size: 2 pad: 1"), [x])
        tops = run.forward()
        run.top[0].diff.write()[...] = tops[0] ** 2
        run.backward()
        return [*tops, run.bottom[0].diff.read()]

    whole = results()
    monkeypatch.setattr(im2col, "MOST_COLUMN_BYTES", 0)
    for found, expected in zip(results(), whole, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_another_image_size_and_an_empty_batch_are_followed(ops: Ops) -> None:
    run = make_layer(layer("kernel_size: 2"), [np.ones((2, 1, 3, 3))], ops=ops)
    for shape, expected in (((1, 1, 4, 2), (1, 4, 3, 1)), ((0, 1, 4, 2), (0, 4, 3, 1))):
        run.bottom[0].reshape(shape)
        run.bottom[0].data.write()[...] = 1
        assert run.forward()[0].shape == expected


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(NetError, match="kernel_size: expected one number"):
        make_layer(layer(""), [np.ones((1, 1, 3, 3))])
    with pytest.raises(ShapeError, match="expected at least 1 spatial axis after axis 1"):
        make_layer(layer("kernel_size: 1"), [np.ones((2, 3))])
    with pytest.raises(ShapeError, match="expected at least 5 pixels for a kernel of 5"):
        make_layer(layer("kernel_size: 5"), [np.ones((1, 1, 3, 3))])
