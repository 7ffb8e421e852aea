"""Deconvolution."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests import window_cases
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden
from tests.window_cases import Windows, images, windows


@pytest.mark.parametrize("case", golden_cases("Deconvolution"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def layer(fields: str) -> str:
    return window_cases.layer("Deconvolution", fields)


@settings(max_examples=20, deadline=None)
@given(
    spatial=st.lists(st.integers(2, 3), min_size=0, max_size=3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    pad=st.integers(0, 1),
    dilation=st.integers(1, 2),
    group=st.integers(1, 2),
    bias=st.booleans(),
)
def test_gradient(
    spatial: list[int], kernel: int, stride: int, pad: int, dilation: int, group: int, bias: bool
) -> None:
    pad = pad if kernel > 1 else 0
    check_layer_gradient(
        layer(
            f"num_output: 2 kernel_size: {kernel} stride: {stride} pad: {pad} dilation: {dilation} "
            f"group: {group} bias_term: {str(bias).lower()}"
        ),
        [images(2, 2, *spatial)],
    )


@settings(max_examples=60, deadline=None)
@given(
    window=windows(largest=3).filter(lambda window: min(window.enlarged, default=1) > 0),
    leading=st.lists(st.integers(0, 2), max_size=2),
    group=st.integers(1, 3),
    channels=st.integers(1, 2),
    outputs=st.integers(1, 2),
)
def test_each_pixel_is_spread_over_its_window(
    window: Windows, leading: list[int], group: int, channels: int, outputs: int
) -> None:
    axis = len(leading)
    fields = f"num_output: {group * outputs} group: {group} axis: {axis} {window.fields}"
    x = images(*leading, group * channels, *window.spatial)
    run = make_layer(layer(fields), [x], ops=NumpyOps(np.float64))
    (top,) = run.forward()
    w, b = (blob.data.read() for blob in run.layer.blobs)
    matrix = replace(window, spatial=window.enlarged).matrix()
    samples = x.reshape(np.prod(leading, dtype=int), group, channels, matrix.shape[1])
    kernels = w.reshape(group, channels, outputs, -1)
    y = np.einsum("gcok,kwp,ngcw->ngop", kernels, matrix, samples)
    expected = y.reshape(len(y), group * outputs, matrix.shape[2]) + b[:, None]
    assert top.shape == (*leading, group * outputs, *window.enlarged)
    np.testing.assert_allclose(top.reshape(expected.shape), expected, rtol=1e-9, atol=1e-12)


def test_gradient_of_rectangular_and_depthwise_kernels_and_several_bottoms() -> None:
    check_layer_gradient(
        'top: "a" top: "b" '
        + layer("num_output: 3 group: 3 kernel_h: 2 kernel_w: 1 stride_h: 1 stride_w: 2"),
        [images(1, 3, 3, 2), images(1, 3, 3, 2)],
    )


@pytest.mark.parametrize("axis", [2, -3])
def test_channels_in_another_axis(axis: int, ops: Ops) -> None:
    text = layer(f"num_output: 2 kernel_size: 2 axis: {axis}")
    check_layer_gradient(text, [images(2, 2, 2, 3, 3)])
    run = make_layer(text, [images(2, 2, 3, 3, 3)], ops=ops)
    assert run.forward()[0].shape == (2, 2, 2, 4, 4)
    run.backward()


def test_the_bilinear_filler_enlarges_an_image(ops: Ops) -> None:
    text = """type: "Deconvolution" convolution_param { num_output: 1 kernel_size: 4 stride: 2
    pad: 1 bias_term: false weight_filler { type: "bilinear" } }"""
    ramp = np.tile(np.arange(4.0), (4, 1)).reshape(1, 1, 4, 4)
    (top,) = make_layer(text, [ramp], ops=ops).forward()
    np.testing.assert_allclose(top[0, 0, 3], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 2.25])


def test_frozen_parameters_get_no_gradient(ops: Ops) -> None:
    run = make_layer(layer("num_output: 2 kernel_size: 2"), [images(2, 2, 3, 3)], ops=ops)
    run.forward()
    run.top[0].diff.write()[...] = 1
    run.layer.param_propagate_down = [False, True]
    run.backward()
    assert not run.layer.blobs[0].diff.read().any()
    assert (run.layer.blobs[1].diff.read() == 32).all()


def test_another_image_size_and_an_empty_batch_are_followed(ops: Ops) -> None:
    run = make_layer(layer("num_output: 2 kernel_size: 3 stride: 2"), [images(2, 2, 3, 3)], ops=ops)
    for shape, expected in (((1, 2, 4, 2), (1, 2, 9, 5)), ((0, 2, 4, 2), (0, 2, 9, 5))):
        run.bottom[0].reshape(shape)
        run.bottom[0].data.write()[...] = 1
        assert run.forward()[0].shape == expected
        run.backward()


@pytest.mark.parametrize("group", [1, 2])
def test_where_no_pixel_comes_in_the_bias_comes_out(group: int, ops: Ops) -> None:
    fields = f"num_output: 4 kernel_size: 5 stride: 3 group: {group}"
    run = make_layer(layer(fields), [images(2, 2, 0, 3)], ops=ops)
    y = run.forward()[0]
    assert y.shape == (2, 4, 2, 11)
    assert (y == run.layer.blobs[1].data.read()[:, None, None]).all()
    run.top[0].diff.write()[...] = 1
    run.backward()
    weights, bias = (blob.diff.read() for blob in run.layer.blobs)
    assert not weights.any()
    assert (bias == 44).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("kernel_size: 3", "num_output: expected at least 1, got 0"),
        ("num_output: 2", "kernel_size: expected one number"),
        ("num_output: 3 kernel_size: 1 group: 2", r"num_output: expected a multiple of group"),
        (
            "num_output: 2 kernel_size: 1 pad: 2",
            r"an output of at least 1 pixel along each axis .* got \(-1, -1\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(fields: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        make_layer(layer(fields), [images(1, 2, 3, 3)])
