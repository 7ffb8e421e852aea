"""DummyData."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError
from caffepy.engine.ops.base import Ops
from tests.harness import LayerRun, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("DummyData"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def test_random_tops_differ_from_pass_to_pass_and_repeat_by_position() -> None:
    run = _run('shape { dim: 4 dim: 3 } data_filler { type: "gaussian" }')
    passes = run.layer.context.passes
    drawn = []
    for position in (1, 2, 1):
        passes.value = position
        drawn.append(run.forward()[0])
    assert (drawn[0] != drawn[1]).all()
    np.testing.assert_array_equal(drawn[0], drawn[2])


def test_tops_with_the_same_filler_differ() -> None:
    first, second = _run('shape { dim: 9 } data_filler { type: "uniform" }', tops=2).forward()
    assert (first != second).all()


def test_constant_top_is_filled_once_and_keeps_what_the_caller_wrote() -> None:
    run = _run("shape { dim: 2 } data_filler { value: 3 }")
    np.testing.assert_array_equal(run.forward()[0], [3, 3])
    run.top[0].data.write()[...] = [5, 6]
    np.testing.assert_array_equal(run.forward()[0], [5, 6])


def test_old_sizes_are_given_once_or_per_top() -> None:
    run = _run("num: 2 num: 5 channels: 3 height: 4 width: 1 width: 6", tops=2)
    assert [blob.shape for blob in run.top] == [(2, 3, 4, 1), (5, 3, 4, 6)]


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("", r"shape: expected one, or one per top \(3\), got 0"),
        ("shape { dim: 1 } shape { dim: 1 }", r"shape: expected one, .* got 2"),
        ("shape { dim: 1 } num: 1", "expected shape or its old form .*, got both"),
        ("num: 1 channels: 1 height: 1", r"width: expected one, .* got 0"),
        (
            "shape { dim: 1 } data_filler { } data_filler { }",
            r"data_filler: expected one, .* got 2",
        ),
        (
            'shape { dim: 1 } data_filler { type: "gausian" }',
            r"'layer' \(DummyData\): filler type 'gausian' does not exist. Did you mean 'gaussian'",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(param: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        _run(param, tops=3).forward()


def _run(param: str, tops: int = 1) -> LayerRun:
    names = " ".join(f'top: "top_{index}"' for index in range(tops))
    return make_layer(f'type: "DummyData" {names} dummy_data_param {{ {param} }}', [])
