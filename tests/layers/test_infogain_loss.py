"""InfogainLoss."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import DataError, LabelError, NetError, ShapeError, WeightsError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.proto.weights import encode_blob
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden
from tests.losses import Labelled, backends, check_loss, class_loss, labelled, seeds, weights
from tests.nets import make_net


@pytest.mark.parametrize("case", golden_cases("InfogainLoss"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def layer(fields: str = "", axis: int = 1) -> str:
    return f"""type: "InfogainLoss" loss_weight: 0.7 infogain_loss_param {{ axis: {axis} }}
    loss_param {{ {fields} }}"""


@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    mode=st.sampled_from(["FULL", "VALID", "BATCH_SIZE", "NONE"]),
    ignore=st.booleans(),
    data=st.data(),
)
def test_gradient(shape: list[int], mode: str, ignore: bool, data: st.DataObject) -> None:
    axis = data.draw(st.integers(1, len(shape) - 1)) - data.draw(st.sampled_from([0, len(shape)]))
    random = np.random.default_rng(0)
    classes = shape[axis]
    others = [size for place, size in enumerate(shape) if place != axis % len(shape)]
    check_layer_gradient(
        layer(f"normalization: {mode} {'ignore_label: 0' if ignore else ''}", axis),
        [
            random.standard_normal(shape),
            random.integers(0, classes, others),
            random.random((classes, classes)),
        ],
        bottoms=[0],
    )


@settings(max_examples=40, deadline=None)
@given(case=labelled(old_form=False), backend=backends, weight=weights, seed=seeds)
def test_equals_a_loop_over_positions(
    case: Labelled, backend: type[NumpyOps], weight: float, seed: int
) -> None:
    classes = case.rows.shape[1]
    matrix = np.random.default_rng(seed).standard_normal((classes, classes)).astype(np.float32)

    def position(p: list[float], label: int) -> tuple[float, list[float]]:
        row = matrix[label].tolist()
        loss = -sum(h * math.log(max(each, 1e-20)) for h, each in zip(row, p, strict=True))
        return loss, [each * sum(row) - h for h, each in zip(row, p, strict=True)]

    param = f"""type: "InfogainLoss" infogain_loss_param {{ axis: {case.axis} }}
    loss_param {{ {case.fields} }}"""
    bottoms = [case.scores, case.labels, matrix]
    check_loss(param, bottoms, backend(np.float32), class_loss(case, position), weight)


@pytest.mark.parametrize("fields", ["", "normalization: FULL", "ignore_label: 2"])
def test_the_unit_matrix_makes_it_a_softmax_loss(fields: str, ops: Ops) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    labels = np.arange(8).reshape(2, 4) % 3
    infogain = make_layer(layer(fields), [x, labels, np.eye(3)], ops=ops)
    softmax = make_layer(
        f'type: "SoftmaxWithLoss" loss_weight: 0.7 loss_param {{ {fields} }}', [x, labels], ops=ops
    )
    np.testing.assert_allclose(infogain.forward()[0], softmax.forward()[0], rtol=1e-6)
    infogain.backward([True, False, False])
    softmax.backward([True, False])
    gradients = infogain.bottom[0].diff.read(), softmax.bottom[0].diff.read()
    np.testing.assert_allclose(*gradients, rtol=1e-5, atol=1e-7)


def test_all_ignored_is_no_loss_and_no_gradient(ops: Ops) -> None:
    bottoms = [np.ones((2, 3)), np.full(2, 7), np.eye(3)]
    run = make_layer(layer("ignore_label: 7"), bottoms, ops=ops)
    assert run.forward()[0] == 0
    run.backward([True, False, False])
    assert not run.bottom[0].diff.read().any()


TWO_TOPS = """layer { name: "in" type: "Input" top: "x" top: "label" top: "H"
  input_param { shape { dim: 2 dim: 3 } shape { dim: 2 } shape { dim: 3 dim: 3 } } }
layer { name: "loss" type: "InfogainLoss" bottom: "x" bottom: "label" bottom: "H"
  top: "loss" top: "p" WEIGHTS }
layer { name: "accuracy" type: "Accuracy" bottom: "p" bottom: "label" top: "accuracy" }
force_backward: true"""


def test_the_second_top_holds_the_probabilities(ops: Ops) -> None:
    net = make_net(TWO_TOPS.replace("WEIGHTS", "loss_weight: 1 loss_weight: 0"), ops=ops)
    net.blobs["x"].data.write()[...] = np.log([[1.0, 2, 1], [2, 5, 3]])
    net.blobs["label"].data.write()[...] = [1, 0]
    net.blobs["H"].data.write()[...] = np.eye(3)
    for _ in range(2):  # the second time replayed
        net.forward_backward()
        probabilities = net.blobs["p"].data.read()
        np.testing.assert_allclose(probabilities, [[0.25, 0.5, 0.25], [0.2, 0.5, 0.3]], rtol=1e-6)
        assert net.blobs["accuracy"].data.read() == 0.5
        assert net.loss.read() == pytest.approx(-(np.log(0.5) + np.log(0.2)) / 2)


def test_a_weighted_second_top_adds_to_the_loss_and_not_to_the_gradient(ops: Ops) -> None:
    """As in Caffe, whose backward pass does not look at it."""
    bottoms = [np.eye(2, 3), np.array([0, 2]), np.eye(3)]
    gradients = []
    for weight in (0, 5):
        text = f'type: "InfogainLoss" top: "l" top: "p" loss_weight: 2 loss_weight: {weight}'
        run = make_layer(text, bottoms, ops=ops)
        run.forward()
        run.backward([True, False, False])
        gradients.append(run.bottom[0].diff.read())
    np.testing.assert_array_equal(*gradients)


def test_a_second_top_needs_both_loss_weights_as_in_caffe() -> None:
    with pytest.raises(NetError, match="expected a loss_weight for each of the 2 tops, got none"):
        make_net(TWO_TOPS.replace("WEIGHTS", ""))
    with pytest.raises(NetError, match="weights that went to a Split"):
        make_net(TWO_TOPS.replace("WEIGHTS", "loss_weight: 1 loss_weight: 1"))


def test_the_old_form_of_normalization_is_refused_as_by_caffe() -> None:
    bottoms = [np.ones((2, 3)), np.ones(2), np.eye(3)]
    with pytest.raises(NetError, match=r"loss_param\.normalize: .*Use `normalization: VALID`"):
        make_layer(layer("normalize: true"), bottoms)


def test_the_matrix_is_read_anew_in_every_pass(ops: Ops) -> None:
    run = make_layer(layer(), [np.zeros((1, 2)), np.zeros(1), np.eye(2)], ops=ops)
    first = run.forward()[0]
    run.bottom[2].data.write()[...] = 2 * np.eye(2)
    np.testing.assert_allclose(run.forward()[0], 2 * first)


def test_a_label_that_is_no_class_is_refused(ops: Ops) -> None:
    run = make_layer(layer(), [np.ones((2, 3)), np.array([0, 3]), np.eye(3)], ops=ops)
    with pytest.raises(LabelError, match=r"label of sample 1 .*: expected 0 to 2, got 3"):
        run.forward()


def test_a_matrix_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    scores = [np.ones((2, 3)), np.ones(2)]
    with pytest.raises(NetError, match=r"expected infogain_loss_param.source or a third bottom"):
        make_layer('type: "InfogainLoss"', scores)
    with pytest.raises(ShapeError, match="'bottom_2': expected a matrix of 3 x 3"):
        make_layer(layer(), [*scores, np.eye(4)])
    source = 'type: "InfogainLoss" infogain_loss_param { source: "h.binaryproto" }'
    with pytest.raises(DataError, match=r"infogain_loss_param.source: expected an existing file"):
        make_layer(source, scores, folders=(tmp_path,))
    path = tmp_path / "h.binaryproto"
    path.write_bytes(b"no blob")
    with pytest.raises(WeightsError, match=r"h\.binaryproto"):
        make_layer(source, scores, folders=(tmp_path,))
    path.write_bytes(encode_blob(np.eye(4, dtype=np.float32)))
    with pytest.raises(ShapeError, match=r"'h\.binaryproto': expected a matrix of 3 x 3"):
        make_layer(source, scores, folders=(tmp_path,))
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match="expected a file that can be read"):
        make_layer(source, scores, folders=(tmp_path,))


def test_labels_and_matrix_get_no_gradient() -> None:
    run = make_layer(layer(), [np.ones((2, 3)), np.ones(2), np.eye(3)])
    for wanted in ([True, True, False], [True, False, True]):
        with pytest.raises(NetError, match="labels and matrix have no gradient"):
            run.layer.backward(run.top, wanted, run.bottom)
    assert [run.layer.allow_force_backward(index) for index in range(3)] == [True, False, False]
