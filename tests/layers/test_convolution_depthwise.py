"""ConvolutionDepthwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests import window_cases
from tests.harness import check_layer_gradient, compare, golden_cases, make_layer, run_golden
from tests.window_cases import images

CONFIGURATIONS = [
    "kernel_size: 3",
    "kernel_size: 3 pad: 1 stride: 2",
    "kernel_size: 2 dilation: 2 pad: 1",
    "kernel_size: 3 kernel_size: 2 stride: 2 stride: 1 pad: 1 pad: 0 dilation: 1 dilation: 3",
    "kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 2 pad_h: 1 pad_w: 0",
    "kernel_size: 1 bias_term: false",
    "kernel_size: 5 pad: 2",
]


def layer(fields: str) -> str:
    return window_cases.layer("ConvolutionDepthwise", fields)


@pytest.mark.parametrize("case", golden_cases("ConvolutionDepthwise"), ids=lambda case: case.name)
def test_equals_the_fork(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("fields", CONFIGURATIONS)
def test_gradient(fields: str) -> None:
    check_layer_gradient(layer(fields), [images(2, 3, 6, 7)])


@pytest.mark.parametrize("ignored", ["", "num_output: 2", "num_output: 30 group: 7"])
@pytest.mark.parametrize("fields", CONFIGURATIONS)
def test_is_a_convolution_in_as_many_groups_as_channels(
    fields: str, ignored: str, ops: Ops
) -> None:
    x = images(2, 20, 8, 9)
    runs = [
        make_layer(layer(f"{fields} {ignored}"), [x], ops=ops),
        make_layer(
            window_cases.layer("Convolution", f"{fields} num_output: 20 group: 20"), [x], ops=ops
        ),
    ]
    for mine, blob in zip(runs[0].layer.blobs, runs[1].layer.blobs, strict=True):
        assert mine.shape == blob.shape
        blob.data.write()[...] = mine.data.read()
    tops = [run.forward()[0] for run in runs]
    compare(tops[0], tops[1], "top")
    for run in runs:
        run.top[0].diff.write()[...] = images(*tops[0].shape)
        run.backward()
    compare(runs[0].bottom[0].diff.read(), runs[1].bottom[0].diff.read(), "bottom")
    for mine, blob in zip(runs[0].layer.blobs, runs[1].layer.blobs, strict=True):
        compare(mine.diff.read(), blob.diff.read(), "parameter")
    assert runs[0].layer.multiply_adds == runs[1].layer.multiply_adds


def test_the_same_op_does_the_work_as_in_a_convolution_with_groups(ops: Ops) -> None:
    """So that it is as fast."""
    fields = "kernel_size: 3 pad: 1"
    grouped = window_cases.layer("Convolution", f"{fields} num_output: 16 group: 16")
    runs = [make_layer(text, [images(2, 16, 9, 9)], ops=ops) for text in (layer(fields), grouped)]
    mine, other = (run.layer.op for run in runs)  # type: ignore[attr-defined]
    assert type(mine) is type(other)


@pytest.mark.parametrize(
    ("fields", "shape", "kind", "message"),
    [
        ("", (2, 3, 4, 4), NetError, "kernel_size: expected one number, or one for each"),
        ("kernel_size: 3", (2, 0, 4, 4), ShapeError, r"'bottom_0': expected channels, got shape"),
        ("kernel_size: 7", (2, 3, 4, 4), ShapeError, "expected at least 7 pixels"),
        ("kernel_size: 3 stride: 0", (2, 3, 4, 4), NetError, "stride: expected at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(
    fields: str, shape: tuple[int, ...], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        make_layer(layer(fields), [np.ones(shape)])
