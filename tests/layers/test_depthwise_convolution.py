"""DepthwiseConvolution."""

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
    "num_output: 4 group: 4 kernel_size: 3 pad: 1",
    "num_output: 8 group: 4 kernel_size: 3 stride: 2",
    "num_output: 6 group: 2 kernel_size: 1",
    "num_output: 3 kernel_h: 2 kernel_w: 3 bias_term: false",
]


def layer(fields: str) -> str:
    return window_cases.layer("DepthwiseConvolution", fields)


@pytest.mark.parametrize("case", golden_cases("DepthwiseConvolution"), ids=lambda case: case.name)
def test_equals_the_fork(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("fields", CONFIGURATIONS)
def test_gradient(fields: str) -> None:
    check_layer_gradient(layer(fields), [images(2, 4, 4, 5)])


@pytest.mark.parametrize("fields", CONFIGURATIONS)
def test_is_a_convolution_with_or_without_groups(fields: str, ops: Ops) -> None:
    tops = []
    for text in (layer(fields), window_cases.layer("Convolution", fields)):
        run = make_layer(text, [images(2, 4, 6, 5)], ops=ops)
        for blob in run.layer.blobs:
            blob.data.write()[...] = images(*blob.shape)
        tops.append(run.forward()[0])
    compare(tops[0], tops[1], "top")


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ("kernel_size: 3", NetError, "num_output: expected at least 1, got 0"),
        ("num_output: 3 group: 3 kernel_size: 3", ShapeError, r"a multiple of group \(3\)"),
    ],
)
def test_what_does_not_fit_is_refused(fields: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        make_layer(layer(fields), [np.ones((2, 4, 4, 4))])
