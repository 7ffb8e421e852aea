"""ShuffleChannel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden

RANDOM = np.random.default_rng(0)


def layer(group: int) -> str:
    return f'type: "ShuffleChannel" shuffle_channel_param {{ group: {group} }}'


@pytest.mark.parametrize("case", golden_cases("ShuffleChannel"), ids=lambda case: case.name)
def test_equals_the_fork(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize(
    ("shape", "group"),
    [((2, 12, 3, 4), 3), ((1, 6), 2), ((3, 8, 5), 8), ((2, 240, 14, 14), 3), ((0, 4, 2, 2), 2)],
)
def test_channels_of_the_groups_take_turns(shape: tuple[int, ...], group: int, ops: Ops) -> None:
    x = RANDOM.standard_normal(shape).astype(np.float32)
    run = make_layer(layer(group), [x], ops=ops)
    (top,) = run.forward()
    size = shape[1] // group
    for j in range(size):
        for i in range(group):
            np.testing.assert_array_equal(top[:, j * group + i], x[:, i * size + j])
    run.top[0].diff.write()[...] = top
    run.backward()
    np.testing.assert_array_equal(run.bottom[0].diff.read(), x)
    if 0 < x.size < 1000:
        places = [run.layer.origin(0, place, run.bottom) for place in range(top.size)]
        np.testing.assert_array_equal(x.ravel()[[place for _, place in places]], top.ravel())  # type: ignore[misc]


@pytest.mark.parametrize("group", [1, 2, 3, 6])
def test_gradient(group: int) -> None:
    check_layer_gradient(layer(group), [RANDOM.standard_normal((2, 6, 2, 3))])


@pytest.mark.parametrize("group", [0, 4])
def test_a_group_that_does_not_divide_the_channels_is_refused(group: int) -> None:
    with pytest.raises(NetError, match=rf"expected a divisor of the 6 channels of .* got {group}"):
        make_layer(layer(group), [np.ones((2, 6, 2))])


def test_a_bottom_without_channels_is_refused() -> None:
    with pytest.raises(ShapeError, match="the axis of channels 1 does not exist in 'bottom_0'"):
        make_layer(layer(1), [np.ones(3)])
