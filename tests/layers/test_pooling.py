"""Pooling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.geometry import PoolingGeometry
from caffepy.engine.ops.numpy import planes
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.proto.caffe_pb2 import TEST
from tests.harness import check_layer_gradient, compare, golden_cases, make_layer, run_golden


def layer(fields: str, tops: int = 1) -> str:
    names = " ".join(f'top: "top_{index}"' for index in range(tops))
    return f'type: "Pooling" {names} pooling_param {{ {fields} }}'


def distinct(*shape: int) -> np.ndarray:
    """Values without ties, far enough apart for central differences."""
    count = int(np.prod(shape))
    return (np.random.default_rng(0).permutation(count) - count / 2).reshape(shape) / 10


windows = st.fixed_dictionaries(
    {
        "size": st.tuples(st.integers(1, 6), st.integers(1, 6)),
        "kernel": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "stride": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "pad": st.tuples(st.integers(0, 1), st.integers(0, 1)),
        "ceil": st.booleans(),
    }
).filter(lambda given: _is_possible(**given))


def _is_possible(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    ceil: bool,
) -> bool:
    out = PoolingGeometry((1, 1, *size), "MAX", kernel, stride, pad, ceil).out_size
    return all(
        pad[axis] < kernel[axis]
        and out[axis] >= 1
        and (out[axis] - 1) * stride[axis] - pad[axis] < size[axis]
        for axis in (0, 1)
    )


def fields_of(window: dict) -> str:
    (kernel_h, kernel_w), (stride_h, stride_w) = window["kernel"], window["stride"]
    pad_h, pad_w = window["pad"]
    return (
        f"kernel_h: {kernel_h} kernel_w: {kernel_w} stride_h: {stride_h} stride_w: {stride_w} "
        f"pad_h: {pad_h} pad_w: {pad_w} round_mode: {'CEIL' if window['ceil'] else 'FLOOR'}"
    )


@pytest.mark.parametrize("case", golden_cases("Pooling"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@settings(max_examples=25, deadline=None)
@given(window=windows, method=st.sampled_from(["MAX", "AVE"]))
def test_gradient(window: dict, method: str) -> None:
    check_layer_gradient(
        layer(f"pool: {method} {fields_of(window)}"), [distinct(2, 2, *window["size"])]
    )


@settings(max_examples=50, deadline=None)
@given(window=windows, seed=st.integers(0, 1000))
def test_the_first_maximum_in_row_order_wins_ties(window: dict, seed: int) -> None:
    x = np.random.default_rng(seed).integers(-2, 1, (1, 2, *window["size"]))
    run = make_layer(layer(fields_of(window), tops=2), [x])
    top, mask = run.forward()
    run.top[0].diff.write()[...] = 1
    run.backward()
    expected = np.zeros(x.shape)
    width = x.shape[3]
    for n, c, row, column in np.ndindex(top.shape):
        reach = [
            range(max(0, place * stride - pad), min(size, place * stride - pad + kernel))
            for place, stride, pad, size, kernel in zip(
                (row, column),
                window["stride"],
                window["pad"],
                window["size"],
                window["kernel"],
                strict=True,
            )
        ]
        best = min((-x[n, c, h, w], h, w) for h in reach[0] for w in reach[1])
        assert top[n, c, row, column] == -best[0]
        assert mask[n, c, row, column] == best[1] * width + best[2]
        expected[n, c, best[1], best[2]] += 1
    np.testing.assert_array_equal(run.bottom[0].diff.read(), expected)


@settings(max_examples=50, deadline=None)
@given(window=windows, seed=st.integers(0, 1000))
def test_the_mean_counts_the_padding_that_a_window_covers(window: dict, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((2, 1, *window["size"]))
    run = make_layer(layer(f"pool: AVE {fields_of(window)}"), [x], ops=NumpyOps(np.float64))
    (top,) = run.forward()
    pads = [(0, 0), (0, 0), *((pad, pad) for pad in window["pad"])]
    padded, ones = np.pad(x, pads), np.pad(np.ones_like(x), pads)
    shares = np.zeros_like(padded)
    for row, column in np.ndindex(top.shape[2:]):
        rows, columns = (
            slice(place * stride, place * stride + kernel)
            for place, stride, kernel in zip(
                (row, column), window["stride"], window["kernel"], strict=True
            )
        )
        pixels = padded[:, :, rows, columns]
        np.testing.assert_allclose(top[:, :, row, column], pixels.mean(axis=(2, 3)), atol=1e-12)
        shares[:, :, rows, columns] += 1 / pixels[0, 0].size
    run.top[0].diff.write()[...] = 1
    run.backward()
    inside = shares[np.nonzero(ones)].reshape(x.shape)
    np.testing.assert_allclose(run.bottom[0].diff.read(), inside, atol=1e-12)


@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_chunks_of_planes_give_what_all_at_once_give(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def results() -> list[np.ndarray]:
        run = make_layer(
            layer(f"pool: {method} kernel_size: 3 stride: 2 pad: 1"), [distinct(3, 5, 6, 7)]
        )
        tops = run.forward()
        run.top[0].diff.write()[...] = distinct(*run.top[0].shape)
        run.backward()
        return [*tops, run.bottom[0].diff.read()]

    whole = results()
    monkeypatch.setattr(planes, "CHUNK_BYTES", 2 * 6 * 7 * 4)
    for found, expected in zip(results(), whole, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("content", [-np.inf, np.nan])
def test_a_window_without_a_maximum_stays_inside_the_image(content: float) -> None:
    run = make_layer(layer("kernel_size: 3 pad: 2", tops=2), [np.full((1, 1, 3, 3), content)])
    _, mask = run.forward()
    assert ((mask >= 0) & (mask < 9)).all()
    run.top[0].diff.write()[...] = 1
    run.backward()
    assert run.bottom[0].diff.read().sum() == run.top[0].count


def test_max_passes_over_nan_and_starts_from_the_lowest_float_as_in_caffe(ops: Ops) -> None:
    image = np.full((1, 1, 2, 6), -1.0)
    image[0, 0, 0] = [np.nan, 1, -np.inf, -np.inf, np.nan, np.nan]
    image[0, 0, 1] = [2, np.nan, -np.inf, np.nan, -np.inf, -3]
    (top,) = make_layer(layer("kernel_size: 2 stride: 2"), [image], ops=ops).forward()
    np.testing.assert_array_equal(top.reshape(-1), np.float32([2, np.finfo(np.float32).min, -3]))


def test_global_pooling_follows_the_image_size(ops: Ops) -> None:
    run = make_layer(layer("pool: AVE global_pooling: true"), [np.ones((2, 3, 4, 5))], ops=ops)
    run.bottom[0].reshape((2, 3, 6, 2))
    run.bottom[0].data.write()[...] = np.arange(72).reshape(2, 3, 6, 2)
    (top,) = run.forward()
    compare(top.reshape(-1), np.arange(6) * 12 + 5.5, "means")


def test_a_window_clipped_to_a_small_image_is_kept_as_in_caffe(ops: Ops) -> None:
    run = make_layer(layer("kernel_size: 3 stride: 2"), [distinct(1, 1, 2, 2)], ops=ops)
    (top,) = run.forward()
    assert top.shape == (1, 1, 1, 1)
    assert top == distinct(1, 1, 2, 2).max().astype(np.float32)


def test_ceil_mode_of_a_fork_rounds_down() -> None:
    run = make_layer(layer("kernel_size: 2 stride: 2 ceil_mode: false"), [np.ones((1, 1, 5, 5))])
    assert run.top[0].shape == (1, 1, 2, 2)


# ---- STOCHASTIC

POSITIVE = np.random.default_rng(3).random((2, 3, 5, 5))


def test_stochastic_pooling_in_phase_test_weighs_by_the_elements(ops: Ops) -> None:
    x = np.array([[[[1.0, 3.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    run = make_layer(layer("pool: STOCHASTIC kernel_size: 2"), [x], ops=ops, phase=TEST)
    (top,) = run.forward()
    compare(top.reshape(-1), [26 / 8, 0], "weighted means")
    with pytest.raises(NetError, match="STOCHASTIC pooling has one in phase TRAIN only"):
        run.backward()


def test_stochastic_pooling_draws_in_proportion_to_the_elements(ops: Ops) -> None:
    x = np.broadcast_to(np.array([[1.0, 0.0], [2.0, 5.0]]), (50, 40, 2, 2))
    run = make_layer(layer("pool: STOCHASTIC kernel_size: 2"), [x], ops=ops)
    (top,) = run.forward()
    for value, part in ((0, 0), (1, 1 / 8), (2, 2 / 8), (5, 5 / 8)):
        assert abs((top == value).mean() - part) < 0.04


def test_stochastic_pooling_draws_by_position(ops: Ops) -> None:
    run = make_layer(layer("pool: STOCHASTIC kernel_size: 3"), [POSITIVE], ops=ops)
    (first,) = run.forward()
    run.layer.context.passes.value += 1
    (second,) = run.forward()
    run.layer.context.passes.value -= 1
    (again,) = run.forward()
    assert (first != second).any()
    np.testing.assert_array_equal(first, again)


def test_stochastic_pooling_sends_the_gradient_to_what_was_drawn() -> None:
    check_layer_gradient(layer("pool: STOCHASTIC kernel_size: 3 stride: 2"), [POSITIVE])


def test_stochastic_pooling_keeps_its_draw_while_other_layers_run_forward(ops: Ops) -> None:
    run = make_layer(layer("pool: STOCHASTIC kernel_size: 3 stride: 2"), [POSITIVE], ops=ops)
    run.forward()
    run.top[0].diff.write()[...] = 1
    run.backward()
    drawn = run.bottom[0].diff.read().copy()
    run.layer.context.passes.value += 1  # a partial pass over the layers behind
    run.backward()
    np.testing.assert_array_equal(run.bottom[0].diff.read(), drawn)


# ---- refusals


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("pool: MAX", r"kernel_size: expected at least 1 \(height, width\), got \(0, 0\)"),
        ("kernel_h: 2", r"kernel_size: expected at least 1 \(height, width\), got \(2, 0\)"),
        ("kernel_size: 2 kernel_w: 2", "expected kernel_size or kernel_h and kernel_w, got both"),
        ("kernel_size: 2 stride: 2 stride_h: 2", "expected stride or stride_h and stride_w, got b"),
        ("kernel_size: 2 stride: 0", "stride: expected at least 1"),
        ("kernel_size: 2 pad: 2", r"pad: expected less than the kernel \(2\), got 2"),
        ("kernel_size: 9 pad: 1", r"expected at least 9 pixels .*, got 6 \(4 and twice pad 1\)"),
        ("kernel_size: 5 round_mode: FLOOR", "expected at least 5 pixels for the kernel, got 4"),
        ("kernel_size: 1 stride: 4", "each window to begin inside the image, got one at pixel 4"),
        ("global_pooling: true kernel_size: 2", "kernel_size: expected none with global_pooling"),
        ("global_pooling: true pad: 1", "pad: expected 0 with global_pooling, got 1"),
        ("global_pooling: true stride_w: 2", "stride_w: expected 1 with global_pooling, got 2"),
        (
            "kernel_size: 50000 pad: 40000 stride: 50000",
            r"a padded image of at most 2147483647 pixels, got \(50000, 50000\)",
        ),
        ("pool: STOCHASTIC kernel_size: 2 pad: 1", "pad: expected 0 for STOCHASTIC pooling"),
        ("pool: LOWRES kernel_size: 2", "pool: expected MAX, AVE or STOCHASTIC, got LOWRES"),
    ],
)
def test_bad_fields_are_refused(fields: str, message: str) -> None:
    with pytest.raises(NetError, match=rf"layer 'layer' \(Pooling\).*{message}"):
        make_layer(layer(fields), [np.ones((1, 1, 4, 5))])


def test_a_mask_is_refused_for_other_methods_than_max() -> None:
    with pytest.raises(NetError, match="only MAX has a mask"):
        make_layer(layer("pool: AVE kernel_size: 2", tops=2), [np.ones((1, 1, 4, 5))])


def test_other_than_four_axes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected 4 axes \(N, C, H, W\), got shape \(2, 3\)"):
        make_layer(layer("kernel_size: 2"), [np.ones((2, 3))])


@pytest.mark.parametrize("fields", ["kernel_size: 3 pad: 2", "pool: AVE global_pooling: true"])
def test_images_without_pixels_are_refused(fields: str, ops: Ops) -> None:
    with pytest.raises(ShapeError, match=r"at least 1 x 1 pixels, got shape \(1, 2, 0, 4\)"):
        make_layer(layer(fields), [np.ones((1, 2, 0, 4))], ops=ops)


@pytest.mark.parametrize("fields", ["pool: MAX", "pool: AVE", "pool: STOCHASTIC"])
@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4)])
def test_a_batch_without_planes_has_an_empty_top(
    fields: str, shape: tuple[int, ...], ops: Ops
) -> None:
    run = make_layer(layer(f"{fields} kernel_size: 3 stride: 2"), [np.ones(shape)], ops=ops)
    assert run.forward()[0].shape == (*shape[:2], 2, 2)
    run.backward()
