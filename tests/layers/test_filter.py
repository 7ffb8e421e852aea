"""Filter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import LabelError, NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden
from tests.nets import make_net


@pytest.mark.parametrize("case", golden_cases("Filter"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@settings(max_examples=20, deadline=None)
@given(
    shape=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    selected=st.lists(st.sampled_from([0, 1, -2, 0.1, np.nan]), min_size=1, max_size=5),
)
def test_samples_and_gradient(shape: list[int], selected: list[float]) -> None:
    random = np.random.default_rng(0)
    first = random.standard_normal((len(selected), *shape)).astype(np.float32)
    second = random.standard_normal(len(selected)).astype(np.float32)
    selector = np.array(selected)
    text = 'type: "Filter" top: "a" top: "b"'
    tops = make_layer(text, [first, second, selector]).forward()
    for top, bottom in zip(tops, (first, second), strict=True):
        np.testing.assert_array_equal(top, bottom[selector != 0])
    if selector.any():
        check_layer_gradient(text, [first, second, selector], bottoms=[0, 1])


def test_selecting_nothing_gives_an_empty_top_and_no_gradient(ops: Ops) -> None:
    run = make_layer('type: "Filter"', [np.ones((3, 2)), np.zeros((3, 1, 1))], ops=ops)
    assert run.forward()[0].shape == (0, 2)
    run.bottom[0].diff.write()[...] = 7
    run.backward([True, False])
    np.testing.assert_array_equal(run.bottom[0].diff.read(), np.zeros((3, 2)))


NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 3 dim: 4 } } }
layer { name: "keep" type: "Input" top: "keep" input_param { shape { dim: 3 } } }
layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 3 } } }
layer { name: "low" type: "InnerProduct" bottom: "x" top: "low"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "filter" type: "Filter" bottom: "low" bottom: "label" bottom: "keep"
  top: "some" top: "labels" }
layer { name: "relu" type: "ReLU" bottom: "some" top: "some" }
layer { name: "high" type: "InnerProduct" bottom: "some" top: "high"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "high" bottom: "labels" top: "loss"
  propagate_down: true propagate_down: false }
"""


def test_a_net_follows_each_selection(ops: Ops) -> None:
    net = make_net(NET, ops)
    assert net.blobs["some"].shape == (3, 3)
    net.blobs["x"].data.write()[...] = np.random.default_rng(0).standard_normal((3, 4))
    net.blobs["label"].data.write()[...] = [0, 1, 0]
    for keep in ([1, 0, 1], [0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 1, 1]):
        net.blobs["keep"].data.write()[...] = keep
        net.parameters.clear_diffs()
        net.forward_backward()
        assert net.blobs["high"].shape == (sum(keep), 2)
        of_rows = np.abs(net.blobs["low"].diff.read()).max(axis=1) > 0
        assert (of_rows <= np.array(keep, bool)).all()
        assert bool(net.loss.read() > 0) == any(keep)


def test_a_bad_label_is_traced_through_the_selection() -> None:
    net = make_net(NET)
    net.blobs["label"].data.write()[...] = [0, 1, 5]
    net.blobs["keep"].data.write()[...] = [0, 1, 1]
    with pytest.raises(LabelError, match=r"'labels', sample 1 of the batch.*: expected 0 to 1"):
        net.forward()
    assert net.layers[4].origin(1, 1, net.bottoms[4]) == (1, 2)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(NetError, match="expected a top for each of the 1 bottom"):
        make_layer('type: "Filter" top: "a" top: "b"', [np.ones((3, 2)), np.ones(3)])
    with pytest.raises(ShapeError, match="'bottom_1', the selector: expected one number per"):
        make_layer('type: "Filter"', [np.ones((3, 2)), np.ones((3, 2))])
    with pytest.raises(ShapeError, match="'bottom_0': expected 4 samples in axis 0"):
        make_layer('type: "Filter"', [np.ones((3, 2)), np.ones(4)])
    run = make_layer('type: "Filter"', [np.ones((3, 2)), np.ones(3)])
    run.forward()
    with pytest.raises(NetError, match="a selector has no gradient"):
        run.layer.backward(run.top, [True, True], run.bottom)
