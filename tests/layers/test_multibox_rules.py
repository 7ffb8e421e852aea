"""MultiBoxLoss: what counts for how much, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.errors import LabelError, NetError, ShapeError
from caffepy.engine.multibox import MultiBoxLayer
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.port import CudaRuntime, Graph
from caffepy.engine.passes.capture import WARM_UP
from tests.harness import LayerRun, make_layer
from tests.multibox import Batch, Plain, batch, check_multibox, loss_layer
from tests.nets import make_net

GIVEN = batch(5)
KINDS = "mining_type: NONE", "", "mining_type: HARD_EXAMPLE"


def test_an_image_without_boxes_counts_for_nothing_with_mining_else_as_background(
    ops: Ops,
) -> None:
    for kind, counts in zip(KINDS, (True, False, False), strict=True):
        run = _run(kind, ops=ops)
        run.forward()
        run.backward([True, True, False, False])
        assert not run.bottom[0].diff.read()[-1].any()
        assert run.bottom[1].diff.read()[-1].any() == counts


def test_no_row_at_all_is_no_box(ops: Ops) -> None:
    empty = np.zeros((1, 1, 0, 8))
    for kind in KINDS[1:]:
        assert _run(kind, ops=ops, truth=empty).forward()[0] == 0
    rows = np.full((1, 1, 2, 8), -1.0)
    with_none = [_run(KINDS[0], ops=ops, truth=truth).forward()[0] for truth in (empty, rows)]
    assert with_none[0] == with_none[1] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_may_have_no_images_and_images_no_priors(kind: str, ops: Ops) -> None:
    for images, priors in ((0, 4), (2, 0)):
        bottoms = [
            np.zeros((images, priors * 4)),
            np.zeros((images, priors * 3)),
            np.zeros((1, 2, priors * 4)),
            np.zeros((1, 1, 0, 8)),
        ]
        fields = f"multibox_loss_param {{ num_classes: 3 {kind} }}"
        run = make_layer(f'type: "MultiBoxLoss" {fields}', bottoms, ops=ops)
        assert run.forward()[0] == 0
        run.backward([True, True, False, False])


def test_of_equal_losses_the_lower_priors_are_mined(ops: Ops) -> None:
    run = _run("neg_pos_ratio: 1 neg_overlap: 2", ops=ops, scores=np.zeros((3, 96)))
    run.forward()
    run.backward([True, True, False, False])
    matches, targets = (
        value.read().reshape(3, -1) for value in (_loss(run).matches, _loss(run).targets)
    )
    for image in range(2):
        free = np.flatnonzero(matches[image] < 0)
        matched = np.count_nonzero(matches[image] >= 0)
        assert matched
        assert np.flatnonzero(targets[image] == 0).tolist() == free[:matched].tolist()


def test_any_number_of_negatives_may_be_asked_for(ops: Ops) -> None:
    losses = [_run(f"neg_pos_ratio: {ratio}", ops=ops).forward()[0] for ratio in ("99", "1e30")]
    assert losses[0] == losses[1]
    _run("mining_type: HARD_EXAMPLE neg_pos_ratio: -1", ops=ops).forward()


def test_scores_that_are_nan_make_the_loss_nan(ops: Ops) -> None:
    scores = GIVEN.scores.copy()
    scores[0] = np.nan
    for conf in ("SOFTMAX", "LOGISTIC"):
        assert np.isnan(_run(f"conf_loss_type: {conf}", ops=ops, scores=scores).forward()[0])


def test_predicted_boxes_that_are_nan_match_nothing(ops: Ops) -> None:
    located = np.full_like(GIVEN.locations, np.nan)
    run = _run("use_prior_for_matching: false mining_type: NONE", ops=ops, locations=located)
    run.forward()
    assert (_loss(run).matches.read() < 0).all()


def test_predicted_boxes_that_are_nan_are_mined_as_they_cover_none(ops: Ops) -> None:
    located = np.full_like(GIVEN.locations, np.nan)
    targets = []
    for suppressed in ("", "nms_param { nms_threshold: 0.1 top_k: -1 }"):
        run = _run(f"neg_overlap: 2 {suppressed}", ops=ops, locations=located)
        run.forward()
        targets.append(_loss(run).targets.read().copy())
    assert (targets[0] == 0).any()
    np.testing.assert_array_equal(*targets)


@pytest.mark.parametrize("falses", [0, 1, 2])
def test_what_nothing_is_propagated_to_is_no_part_of_the_loss(falses: int, ops: Ops) -> None:
    whole = Plain(loss_layer("loc_weight: 3"), GIVEN).compute().loss
    without = [False, True] if falses == 0 else [True, False] if falses == 1 else [False, False]
    wanted = " ".join(f"propagate_down: {str(one).lower()}" for one in (*without, False, False))
    layer = f"{loss_layer('loc_weight: 3')} {wanted}"
    found = float(make_layer(layer, GIVEN.bottoms, ops=ops).forward()[0])
    only = float(make_layer(loss_layer("loc_weight: 0"), GIVEN.bottoms, ops=ops).forward()[0])
    expected = {0: only, 1: whole - only, 2: 0}[falses]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_objects_may_all_be_of_one_class(ops: Ops) -> None:
    """Without mining labels may then be anything but the background."""
    fields = "map_object_to_agnostic: true mining_type: NONE"
    given = batch(5, classes=2)
    given.truth[..., 1] *= 7
    check_multibox(loss_layer(fields, classes=2), given, ops)
    given.truth[..., 1] = np.minimum(given.truth[..., 1], 1)
    for kind in KINDS[1:]:
        check_multibox(loss_layer(f"map_object_to_agnostic: true {kind}", classes=2), given, ops)


def test_background_may_be_no_class_of_a_sigmoid(ops: Ops) -> None:
    for kind in KINDS:
        check_multibox(
            loss_layer(f"conf_loss_type: LOGISTIC background_label_id: 9 {kind}"), GIVEN, ops
        )


def test_old_form_of_mining_and_normalization_is_read() -> None:
    old = make_layer(
        f"{loss_layer('do_neg_mining: true')} loss_param {{ normalize: false }}", GIVEN.bottoms
    )
    new = make_layer(f"{loss_layer('')} loss_param {{ normalization: BATCH_SIZE }}", GIVEN.bottoms)
    assert old.forward()[0] == new.forward()[0]
    none = [
        make_layer(loss_layer(fields), GIVEN.bottoms).forward()[0]
        for fields in ("do_neg_mining: false", "mining_type: NONE")
    ]
    assert none[0] == none[1]


def test_whatever_is_not_zero_is_difficult(ops: Ops) -> None:
    losses = []
    for difficult in (1, 0.5, np.nan):
        truth = GIVEN.truth.copy()
        truth[..., 7][truth[..., 7] == 1] = difficult
        losses.append(_run("use_difficult_gt: false", ops=ops, truth=truth).forward()[0])
    assert losses[0] == losses[1] == losses[2]
    assert losses[0] != _run("", ops=ops).forward()[0]


def test_a_net_trains_on_batches_of_any_number_of_boxes(ops: Ops) -> None:
    net = _net("code_type: CENTER_SIZE", ops)
    made = vars(net.layers[-1])["match"]
    for seed, rows in enumerate((7, 7, 2, 11, 7)):
        given = batch(seed, rows=rows)
        _give(net, given)
        net.forward_backward()
        expected = Plain(loss_layer("code_type: CENTER_SIZE"), given).compute()
        np.testing.assert_allclose(net.loss.read(), expected.loss, rtol=2e-4)
        found = net.blobs["b"].diff.read()
        np.testing.assert_allclose(found, expected.scores, rtol=2e-4, atol=2e-5)
    assert vars(net.layers[-1])["match"] is made


@pytest.mark.parametrize("kind", KINDS)
def test_passes_are_graphs(kind: str, cuda_runtime: CudaRuntime, launches: list[Graph]) -> None:
    fields = f"code_type: CENTER_SIZE {kind}"
    net = _net(fields, CudaOps(cuda_runtime, np.float32, precision="fp32"))
    for seed in range(WARM_UP + 3):
        _give(net, batch(seed))
        net.forward_backward()
        expected = Plain(loss_layer(fields), batch(seed)).compute()
        np.testing.assert_allclose(net.loss.read(), expected.loss, rtol=2e-4)
        for name, gradient in (("a", expected.locations), ("b", expected.scores)):
            found = net.blobs[name].diff.read()
            np.testing.assert_allclose(found, gradient, rtol=2e-4, atol=2e-5)
    assert launches
    net.blobs["d"].data.modify()[0, 0, 2] = (0, 9, 0, 0, 0, 1, 1, 0)
    with pytest.raises(LabelError, match=r"label blob 'd', sample 0 .* row 2 of the boxes"):
        net.forward()


# ---- refusals


@pytest.mark.parametrize(
    ("column", "number", "message"),
    [
        (0, 3, r"expected the image's number from 0 to 2, or -1 for an empty row, got 3"),
        (0, -2, r"or -1 for an empty row, got -2"),
        (0, np.nan, r"or -1 for an empty row, got nan"),
        (1, 4, r"expected a class from 0 to 3, but not 0, the background, got 4"),
        (1, 0, r"but not 0, the background, got 0"),
        (1, -1, r"but not 0, the background, got -1"),
        (4, np.nan, r"expected a finite coordinate, got nan"),
        (6, np.inf, r"expected a finite coordinate, got inf"),
    ],
)
def test_row_that_cannot_be_used_is_refused(
    column: int, number: float, message: str, ops: Ops
) -> None:
    truth = GIVEN.truth.copy()
    truth[..., 0] = 1
    truth[..., 1] = 1
    truth[0, 0, [4, 6], column] = number
    run = _run("", ops=ops, truth=truth)
    with pytest.raises(
        LabelError, match=rf"at \(0, 4, {column}\): row 4 of the boxes: .*{message}"
    ):
        run.forward()


def test_row_that_is_empty_may_hold_anything(ops: Ops) -> None:
    losses = []
    for rest in (np.zeros(7), [99, np.nan, np.nan, np.inf, 0, 0, np.nan]):
        truth = GIVEN.truth.copy()
        truth[0, 0, 2] = (-1, *rest)
        losses.append(_run("", ops=ops, truth=truth).forward()[0])
    assert losses[0] == losses[1] > 0


def test_row_is_found_wrong_on_the_device(cuda_runtime: CudaRuntime) -> None:
    """There, labels that kernels have written are looked at when the device is."""
    ops = CudaOps(cuda_runtime, np.float32)
    truth = GIVEN.truth.copy()
    truth[0, 0, 3] = (1, 7, 0, 0, 0, 1, 1, 0)
    run = _run("", ops=ops, truth=truth)
    run.bottom[3].data.modify(ops.layout)
    run.bottom[3].data.drop_plain()
    run.layer.forward(run.bottom, run.top)
    with pytest.raises(LabelError, match=r"row 3 of the boxes: expected a class.*got 7"):
        ops.check()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("share_location: false", "share_location: expected true with mining_type MAX_NEGATIVE"),
        (
            "mining_type: MAX_NEGATIVE do_neg_mining: false",
            "do_neg_mining: expected it to agree with mining_type MAX_NEG",
        ),
        ("neg_pos_ratio: 0", "neg_pos_ratio: expected more than 0 .*, got 0"),
        ("neg_pos_ratio: inf", "neg_pos_ratio: expected more than 0 .*, got inf"),
        ("loc_weight: nan", "loc_weight: expected a finite number, got nan"),
        ("mining_type: HARD_EXAMPLE sample_size: 0", "sample_size: expected at least 1"),
        ("background_label_id: 4", "background_label_id: expected 0 to 3 with a SOFTMAX loss"),
        ("background_label_id: 3 map_object_to_agnostic: true", "num_classes: expected 5 or more"),
        ("nms_param { soft_nms: true }", "nms_param.soft_nms: expected it to be left out"),
        ("objectness_score: 0.1", "objectness_score: expected it to be left out"),
        ("ignore_difficult_gt: true", "ignore_difficult_gt: expected it to be left out"),
    ],
)
def test_fields_that_contradict_or_are_unknown_are_refused(fields: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        _run(fields)


def test_number_of_classes_is_needed() -> None:
    with pytest.raises(NetError, match="num_classes: expected at least 1, got 0"):
        make_layer('type: "MultiBoxLoss"', GIVEN.bottoms)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"locations": np.ones((3, 92))}, "'bottom_0': expected 96 elements per image, 4 coordin"),
        ({"scores": np.ones((3, 72))}, "'bottom_1': expected 96 elements per image, 4 class sc"),
        ({"scores": np.ones((2, 96))}, "as many samples"),
        ({"priors": np.ones((1, 1, 96))}, r"'bottom_2': expected shape \(1, 2, 4 x priors\)"),
        ({"priors": np.ones((1, 2, 94))}, r"'bottom_2': expected shape \(1, 2, 4 x priors\)"),
        ({"truth": np.ones((1, 1, 5, 7))}, r"'bottom_3': expected shape \(1, 1, boxes, 8\)"),
        ({"truth": np.ones((3, 1, 1, 1))}, r"'bottom_3': expected shape \(1, 1, boxes, 8\)"),
    ],
)
def test_shapes_must_fit(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        _run("", **changed)


def test_priors_and_boxes_get_no_gradient() -> None:
    run = _run("")
    run.forward()
    with pytest.raises(NetError, match="'bottom_2' needs a gradient, but priors and boxes"):
        run.backward([True, True, True, False])


def _run(
    fields: str,
    *,
    ops: Ops | None = None,
    locations: np.ndarray | None = None,
    scores: np.ndarray | None = None,
    priors: np.ndarray | None = None,
    truth: np.ndarray | None = None,
) -> LayerRun:
    given = [
        own if array is None else array
        for own, array in zip(GIVEN.bottoms, (locations, scores, priors, truth), strict=True)
    ]
    return make_layer(loss_layer(fields), given, ops=ops)


def _loss(run: LayerRun) -> MultiBoxLayer:
    assert isinstance(run.layer, MultiBoxLayer)
    return run.layer


def _net(fields: str, ops: Ops) -> Net:
    """Inputs a to d of the shapes of GIVEN, and the loss of them."""
    inputs = " ".join(
        f"""layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{
        {" ".join(f"dim: {size}" for size in array.shape)} }} }} }}"""
        for name, array in zip("abcd", GIVEN.bottoms, strict=True)
    )
    return make_net(
        f"""{inputs} layer {{ name: "loss" {loss_layer(fields)} top: "loss"
        bottom: "a" bottom: "b" bottom: "c" bottom: "d" }} force_backward: true""",
        ops,
    )


def _give(net: Net, given: Batch) -> None:
    for name, array in zip("abcd", given.bottoms, strict=True):
        net.blobs[name].reshape(array.shape)
        net.blobs[name].data.write()[...] = array
