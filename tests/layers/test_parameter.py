"""Parameter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.ops.base import Ops
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import TEST, TRAIN, NetParameter
from tests.harness import golden_cases, make_layer, run_golden
from tests.nets import make_net

PARAMETER = 'type: "Parameter" parameter_param { shape { dim: 2 dim: 3 } }'


@pytest.mark.parametrize("case", golden_cases("Parameter"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def test_top_starts_at_zero_and_is_the_parameter() -> None:
    run = make_layer(PARAMETER, [])
    np.testing.assert_array_equal(run.forward()[0], np.zeros((2, 3)))
    run.layer.blobs[0].data.write()[...] = 4
    np.testing.assert_array_equal(run.forward()[0], np.full((2, 3), 4))
    run.top[0].diff.write()[...] = 5
    np.testing.assert_array_equal(run.layer.blobs[0].diff.read(), np.full((2, 3), 5))


def test_top_follows_a_parameter_that_is_shared_or_moved() -> None:
    run, other = make_layer(PARAMETER, []), make_layer(PARAMETER, [])
    run.layer.blobs[0].alias(other.layer.blobs[0])
    other.layer.blobs[0].data.write()[...] = 6
    np.testing.assert_array_equal(run.forward()[0], np.full((2, 3), 6))
    arena = np.zeros(6, np.float32)
    other.layer.blobs[0].data.move_to(arena)
    arena[:] = 7
    np.testing.assert_array_equal(run.forward()[0], np.full((2, 3), 7))


def test_views_of_a_parameter_follow_when_nets_share_it() -> None:
    """The Split behind the top and the Flatten behind that hold the memory of the train net's."""
    param = text.parse(
        f"""layer {{ name: "p" top: "p" {PARAMETER} }}
        layer {{ name: "f" type: "Flatten" bottom: "p" top: "f" }}
        layer {{ name: "s" type: "Silence" bottom: "p" }}""",
        NetParameter,
    )
    train, test = (make_net(param, phase=phase) for phase in (TRAIN, TEST))
    test.forward()
    test.share_parameters(train)
    train.layers[0].blobs[0].data.write()[...] = 8
    test.forward()
    np.testing.assert_array_equal(test.blobs["f"].data.read(), np.full((2, 3), 8))
