"""Convolution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy import im2col
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests import window_cases
from tests.harness import check_layer_gradient, compare, golden_cases, make_layer, run_golden
from tests.window_cases import Windows, grouped_sum, images, windows


def layer(fields: str) -> str:
    return window_cases.layer("Convolution", fields)


@pytest.mark.parametrize("case", golden_cases("Convolution"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@settings(max_examples=25, deadline=None)
@given(
    spatial=st.lists(st.integers(3, 5), min_size=0, max_size=3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    pad=st.integers(0, 2),
    dilation=st.integers(1, 2),
    group=st.integers(1, 2),
    bias=st.booleans(),
)
def test_gradient(
    spatial: list[int], kernel: int, stride: int, pad: int, dilation: int, group: int, bias: bool
) -> None:
    pad = max(pad, dilation * (kernel - 1) + 1 - min(spatial, default=3))
    check_layer_gradient(
        layer(
            f"num_output: 2 kernel_size: {kernel} stride: {stride} pad: {pad} dilation: {dilation} "
            f"group: {group} bias_term: {str(bias).lower()}"
        ),
        [images(2, 2, *spatial)],
    )


@settings(max_examples=60, deadline=None)
@given(
    window=windows(largest=5).filter(lambda window: min(window.out, default=1) > 0),
    leading=st.lists(st.integers(0, 2), max_size=2),
    group=st.integers(1, 3),
    channels=st.integers(1, 2),
    outputs=st.integers(1, 2),
    negative=st.booleans(),
)
def test_each_output_is_the_sum_over_its_window(
    window: Windows, leading: list[int], group: int, channels: int, outputs: int, negative: bool
) -> None:
    axis = -1 - len(window.spatial) if negative else len(leading)
    fields = f"num_output: {group * outputs} group: {group} axis: {axis} {window.fields}"
    shape = (*leading, group * channels, *window.spatial)
    x = [images(*shape), 2 - images(*shape)]
    run = make_layer(f'top: "a" top: "b" {layer(fields)}', x, ops=NumpyOps(np.float64))
    tops = run.forward()
    w, b = (blob.data.read() for blob in run.layer.blobs)
    for top, image in zip(tops, x, strict=True):
        matrix = window.matrix()
        samples = image.reshape(np.prod(leading, dtype=int), group * channels, matrix.shape[2])
        y = grouped_sum(w.reshape(*w.shape[:2], -1), samples, matrix, group)
        expected = (y + b[:, None]).reshape(*leading, group * outputs, *window.out)
        np.testing.assert_allclose(top, expected, rtol=1e-9, atol=1e-12)


def test_gradient_of_rectangular_and_depthwise_kernels_and_several_bottoms() -> None:
    check_layer_gradient(
        'top: "a" top: "b" '
        + layer("num_output: 3 group: 3 kernel_h: 2 kernel_w: 1 stride_h: 1 stride_w: 2 pad_h: 1"),
        [images(2, 3, 3, 4), images(2, 3, 3, 4)],
    )


@pytest.mark.parametrize(
    "window",
    ["kernel_size: 3", "kernel_size: 3 pad: 2", "kernel_size: 3 pad: 3", "kernel_h: 1 kernel_w: 2",
     "kernel_size: 2 pad: 1 dilation: 2", "kernel_size: 3 pad: 1 stride: 2", "kernel_size: 1"],
)  # fmt: skip
def test_gradient_of_depthwise_kernels(window: str) -> None:
    check_layer_gradient(layer(f"num_output: 3 group: 3 {window}"), [images(2, 3, 4, 5)])


@pytest.mark.parametrize("axis", [2, -3])
def test_gradient_with_channels_in_another_axis(axis: int) -> None:
    check_layer_gradient(
        layer(f"num_output: 2 kernel_size: 2 axis: {axis}"), [images(2, 2, 2, 3, 3)]
    )


@pytest.mark.parametrize("run", [1, 3])
def test_chunks_of_samples_give_what_all_at_once_give(
    run: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def results() -> list[np.ndarray]:
        conv = make_layer(
            layer("num_output: 4 kernel_size: 3 pad: 1 group: 2"), [images(7, 2, 5, 4)]
        )
        tops = conv.forward()
        conv.top[0].diff.write()[...] = images(*conv.top[0].shape)
        conv.backward()
        return [*tops, *(blob.diff.read() for blob in (*conv.bottom, *conv.layer.blobs))]

    whole = results()
    monkeypatch.setattr(im2col, "COLUMN_BYTES", 0)
    monkeypatch.setattr(im2col, "RUN", run)
    for found, expected in zip(results(), whole, strict=True):
        compare(found, expected, "in chunks")


def test_a_window_that_lacks_less_than_a_stride_counts_as_in_caffe(ops: Ops) -> None:
    fields = "num_output: 4 group: 2 kernel_size: 4 stride: 3 dilation: 2 dilation: 1"
    check_layer_gradient(layer(fields), [images(2, 2, 5, 3)])
    x = images(2, 2, 5, 3)
    padded = np.pad(x, [(0, 0), (0, 0), (0, 2), (0, 1)])
    small, whole = (make_layer(layer(fields), [image], ops=ops) for image in (x, padded))
    (found,), (expected,) = small.forward(), whole.forward()
    compare(found, expected, "top")
    for run in (small, whole):
        run.top[0].diff.write()[...] = images(2, 4, 1, 1)
        run.backward()
    compare(small.bottom[0].diff.read(), whole.bottom[0].diff.read()[:, :, :5, :3], "bottom")
    for ours, theirs in zip(small.layer.blobs, whole.layer.blobs, strict=True):
        compare(ours.diff.read(), theirs.diff.read(), "parameter")


def test_parameter_gradients_add_up_and_an_unwanted_bottom_is_left_alone(ops: Ops) -> None:
    text = f'top: "a" top: "b" {layer("num_output: 2 kernel_size: 3 pad: 1")}'
    run = make_layer(text, [images(2, 2, 4, 3)] * 2, ops=ops)
    run.forward()
    for blob in (*run.top, *run.bottom):
        blob.diff.write()[...] = images(*blob.shape)
    run.backward([True, False])
    once = [blob.diff.read().copy() for blob in run.layer.blobs]
    run.layer.backward(run.top, [False, False], run.bottom)
    for blob, gradient in zip(run.layer.blobs, once, strict=True):
        compare(blob.diff.read(), 2 * gradient, "twice")
    compare(run.bottom[1].diff.read(), images(2, 2, 4, 3), "left alone")


def test_a_frozen_parameter_gets_no_gradient(ops: Ops) -> None:
    run = make_layer(layer("num_output: 2 kernel_size: 2"), [images(2, 2, 3, 3)], ops=ops)
    run.forward()
    run.layer.param_propagate_down = [False, True]
    run.top[0].diff.write()[...] = 1
    run.backward()
    assert not run.layer.blobs[0].diff.read().any()
    assert (run.layer.blobs[1].diff.read() == 8).all()


def test_another_batch_and_image_size_is_followed(ops: Ops) -> None:
    run = make_layer(layer("num_output: 2 kernel_size: 2"), [images(2, 2, 3, 3)], ops=ops)
    run.bottom[0].reshape((3, 2, 5, 4))
    run.bottom[0].data.write()[...] = 1
    (top,) = run.forward()
    assert top.shape == (3, 2, 4, 3)


@pytest.mark.parametrize("kernel", [1, 3])
def test_an_empty_batch_has_an_empty_top_and_no_gradient(kernel: int, ops: Ops) -> None:
    fields = f"num_output: 2 kernel_size: {kernel}"
    run = make_layer(layer(fields), [images(0, 3, 5, 5)], ops=ops)
    (top,) = run.forward()
    run.backward()
    assert top.shape == (0, 2, 6 - kernel, 6 - kernel)
    assert run.bottom[0].diff.read().shape == (0, 3, 5, 5)
    assert not any(blob.diff.read().any() for blob in run.layer.blobs)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            "num_output: 2",
            "kernel_size: expected one number, or one for each of the 2 spatial axes",
        ),
        (
            "num_output: 2 kernel_size: 3 kernel_h: 3",
            "expected kernel_size or kernel_h and kernel_w",
        ),
        (
            "num_output: 2 kernel_h: 3",
            r"kernel_size: expected at least 1 in each axis, got \(3, 0\)",
        ),
        ("num_output: 2 kernel_size: 0", "kernel_size: expected at least 1"),
        ("num_output: 2 kernel_size: 3 stride_h: 2", r"stride: expected at least 1 .* \(2, 0\)"),
        ("num_output: 2 kernel_size: 3 dilation: 0", "dilation: expected at least 1"),
        (
            "num_output: 2 kernel_size: 3 pad: 1 pad_h: 1",
            "expected pad or pad_h and pad_w, got both",
        ),
        ("kernel_size: 3", "num_output: expected at least 1, got 0"),
        (
            "num_output: 2 kernel_size: 1 group: 3",
            r"channels of 'bottom_0': expected a multiple of",
        ),
        (
            "num_output: 3 kernel_size: 1 group: 2",
            r"num_output: expected a multiple of group \(2\)",
        ),
        ("num_output: 2 kernel_size: 1 group: 0", "group: expected at least 1, got 0"),
        ("num_output: 2 kernel_size: 1 axis: 4", "axis 4 does not exist in 'bottom_0'"),
        (
            "num_output: 2 kernel_size: 7 pad: 1",
            r"expected at least 7 pixels .* got 5 \(3 and twice",
        ),
        (
            "num_output: 2 kernel_size: 3 dilation: 2",
            "at least 5 pixels for a kernel of 3 with dil",
        ),
        (
            "num_output: 2 kernel_size: 7 stride: 3",
            "at least 5 pixels for a kernel of 7 with dilation 1 and stride 3, got 3",
        ),
        ("num_output: 2 kernel_size: 1 stride: 2147483648", "stride: expected at most 2147483647"),
        ("num_output: 2 kernel_size: 1 relu: true", "relu: expected it to be left out .* a fork's"),
    ],
)
def test_bad_fields_are_refused(fields: str, message: str) -> None:
    with pytest.raises(NetError, match=rf"layer 'layer' \(Convolution\).*{message}"):
        make_layer(layer(fields), [np.ones((2, 2, 3, 4))])


def test_kernel_h_is_refused_where_images_have_no_two_axes() -> None:
    with pytest.raises(NetError, match="kernel_h and kernel_w: expected 2 spatial axes, got 1"):
        make_layer(layer("num_output: 2 kernel_h: 3 kernel_w: 3"), [np.ones((2, 2, 3))])


def test_bottoms_of_different_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"'bottom_1': expected the shape of bottom 'bottom_0'"):
        make_layer(
            'top: "a" top: "b" ' + layer("num_output: 2 kernel_size: 1"),
            [np.ones((2, 2, 3, 3)), np.ones((2, 2, 3, 4))],
        )


def test_changed_channels_are_refused() -> None:
    run = make_layer(layer("num_output: 2 kernel_size: 1"), [np.ones((2, 2, 3, 3))])
    run.bottom[0].reshape((2, 3, 3, 3))
    with pytest.raises(ShapeError, match="expected 4 axes with 2 channels in axis 1"):
        run.layer.reshape(run.bottom, run.top)


@pytest.mark.parametrize("more", ["kernel_size: 3", "kernel_size: 3 pad: 1", "kernel_size: 1"])
def test_a_stride_beyond_the_image_gives_one_window(more: str, ops: Ops) -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, 5, 5))
    tops = []
    for stride in (7, 2147483647):
        run = make_layer(
            f'type: "Convolution" convolution_param {{ num_output: 2 stride: {stride} {more} '
            'weight_filler { type: "xavier" } }',
            [x],
            ops=ops,
        )
        tops += run.forward()
        run.top[0].diff.write()[...] = 1
        run.backward()
    assert tops[1].shape == (1, 2, 1, 1)
    np.testing.assert_array_equal(*tops)
