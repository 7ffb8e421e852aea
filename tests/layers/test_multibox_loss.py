"""MultiBoxLoss."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda.port import CudaRuntime
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.cuda_parity import check_parity
from tests.harness import check_layer_gradient, compare, golden_cases, run_golden
from tests.multibox import Batch, batch, check_multibox, loss_layer

CASES = {case.name: case for case in golden_cases("MultiBoxLoss")}
# Recordings with a wrong gradient: see the docstring of the layer, Differs.
LOGISTIC = CASES.pop("MultiBoxLoss__logistic_none")
VARIANCE = CASES.pop("MultiBoxLoss__variance_in_target")
CODES = "CORNER", "CENTER_SIZE", "CORNER_SIZE"
KINDS = [  # of mining, with what suits it
    "mining_type: NONE",
    "mining_type: MAX_NEGATIVE neg_overlap: 0.3",
    "mining_type: HARD_EXAMPLE sample_size: 9",
]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_equals_the_fork(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("case", [LOGISTIC], ids=[LOGISTIC.name])
def test_logistic_targets_of_later_images_stand_where_they_belong_unlike_in_the_fork(
    case: Path, ops: Ops
) -> None:
    """There, the ones of image 1, of 48 priors with 4 classes, stand at wrong places."""
    right = [(1, 13, 3), (1, 20, 3), (1, 37, 1), (1, 47, 2)]
    wrong = [(0, 25, 3), (0, 32, 3), (1, 1, 1), (1, 11, 2)]
    matches = 9

    def corrected(found: Any, expected: Any, what: str) -> None:
        if what == "gradient of bottom 1":
            expected = expected.reshape(2, 48, 4).copy()
            for place in wrong:
                expected[place] += 1 / matches
            for place in right:
                expected[place] -= 1 / matches
            expected = expected.reshape(2, -1)
        compare(found, expected, what)

    run_golden(case, ops, corrected)


@pytest.mark.parametrize("case", [VARIANCE], ids=[VARIANCE.name])
def test_gradient_with_the_variance_in_the_target_is_divided_by_it_unlike_in_the_fork(
    case: Path, ops: Ops
) -> None:
    def corrected(found: Any, expected: Any, what: str) -> None:
        if what == "gradient of bottom 0":
            expected = expected / np.tile([0.1, 0.1, 0.2, 0.2], 48)
        compare(found, expected, what)

    run_golden(case, ops, corrected)


# ---- against loops

ON_ALL_BACKENDS = [
    *(f"code_type: {code} {kind}" for code, kind in itertools.product(CODES, KINDS)),
    *(
        f"code_type: CENTER_SIZE use_prior_for_matching: false bp_inside: true conf_loss_type: "
        f"LOGISTIC loc_loss_type: L2 encode_variance_in_target: true {kind}"
        for kind in KINDS
    ),
    "mining_type: NONE share_location: false",
    "mining_type: NONE share_location: false use_prior_for_matching: false",
    "mining_type: NONE share_location: false use_prior_for_matching: false conf_loss_type: "
    "LOGISTIC background_label_id: 1",
    "code_type: CENTER_SIZE nms_param { nms_threshold: 0.3 top_k: 9 } neg_pos_ratio: 2",
    "code_type: CENTER_SIZE nms_param { nms_threshold: 0.2 top_k: -1 } use_prior_for_nms: true",
    "nms_param { nms_threshold: 0.3 }",
    "mining_type: HARD_EXAMPLE sample_size: 6 nms_param { nms_threshold: 0.4 top_k: 20 }",
    "match_type: BIPARTITE ignore_cross_boundary_bbox: true bp_inside: true",
    "ignore_cross_boundary_bbox: true mining_type: HARD_EXAMPLE sample_size: 9",
    "use_difficult_gt: false neg_overlap: 0.1 loc_weight: 3 background_label_id: 2",
    "overlap_threshold: 0.2 neg_pos_ratio: 0.7 conf_loss_type: LOGISTIC background_label_id: 3",
]


@pytest.mark.parametrize("fields", ON_ALL_BACKENDS)
def test_equals_loops_over_priors(fields: str, ops: Ops) -> None:
    for seed in range(3):
        check_multibox(loss_layer(fields), _batch(fields, seed), ops)


@st.composite
def options(draw: st.DrawFn) -> str:
    def one(name: str, *values: object) -> str:
        return f"{name}: {draw(st.sampled_from(values))} "

    kind = draw(st.sampled_from(["NONE", "MAX_NEGATIVE", "HARD_EXAMPLE"]))
    shared = kind != "NONE" or draw(st.booleans())
    fields = f"mining_type: {kind} share_location: {str(shared).lower()} "
    fields += one("code_type", *CODES) + one("match_type", "BIPARTITE", "PER_PREDICTION")
    fields += one("loc_loss_type", "L2", "SMOOTH_L1") + one("overlap_threshold", 0, 0.3, 0.5)
    fields += one("conf_loss_type", "SOFTMAX", "LOGISTIC") + one("neg_overlap", 0.1, 0.5, 1)
    fields += one("neg_pos_ratio", 0.3, 1, 1e30) + one("sample_size", 1, 8, 64)
    fields += one("background_label_id", 0, 1)
    for name in (
        "use_prior_for_matching",
        "use_difficult_gt",
        "encode_variance_in_target",
        "ignore_cross_boundary_bbox",
        "bp_inside",
        "use_prior_for_nms",
    ):
        fields += one(name, "true", "false")
    if draw(st.booleans()):
        fields += f"nms_param {{ {one('nms_threshold', 0, 0.1, 0.5)}{one('top_k', -1, 0, 5)} }}"
    return fields


@settings(max_examples=80, deadline=None)
@given(
    fields=options(),
    seed=st.integers(0, 2**32 - 1),
    mode=st.sampled_from(["FULL", "VALID", "BATCH_SIZE", "NONE"]),
)
def test_any_options_equal_loops_over_priors(fields: str, seed: int, mode: str) -> None:
    layer = f"{loss_layer(fields)} loss_param {{ normalization: {mode} }}"
    check_multibox(layer, _batch(fields, seed), NumpyOps(np.float32))


def test_large_batches_equal_the_numpy_engine(cuda_runtime: CudaRuntime) -> None:
    """More priors than a block has threads, and many equal losses."""
    given = batch(1, images=2, priors=700, rows=40)
    given.scores[:, : 500 * 4] = 0
    for kind in KINDS:
        check_parity(
            cuda_runtime,
            loss_layer(f"code_type: CENTER_SIZE {kind}"),
            given.bottoms,
            propagate_down=(True, True, False, False),
        )


# ---- gradients


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("conf", ["SOFTMAX", "LOGISTIC"])
@pytest.mark.parametrize("loc", ["L2", "SMOOTH_L1"])
def test_gradient(loc: str, conf: str, code: str, kind: str) -> None:
    fields = f"loc_loss_type: {loc} conf_loss_type: {conf} code_type: {code} loc_weight: 2 {kind}"
    _check_gradient(fields)


@pytest.mark.parametrize("prior", ["true", "false"])
@pytest.mark.parametrize("inside", ["true", "false"])
@pytest.mark.parametrize("kind", [*KINDS, "mining_type: NONE share_location: false"])
def test_gradient_with_the_variance_in_the_target(kind: str, inside: str, prior: str) -> None:
    fields = f"encode_variance_in_target: true bp_inside: {inside} code_type: CENTER_SIZE {kind}"
    _check_gradient(f"{fields} use_prior_for_matching: {prior}")


@pytest.mark.parametrize("conf", ["SOFTMAX", "LOGISTIC"])
@pytest.mark.parametrize("prior", ["true", "false"])
def test_gradient_of_locations_that_are_not_shared(prior: str, conf: str) -> None:
    fields = f"mining_type: NONE share_location: false conf_loss_type: {conf}"
    _check_gradient(f"{fields} use_prior_for_matching: {prior}")


@pytest.mark.parametrize("mode", ["FULL", "VALID", "BATCH_SIZE", "NONE"])
def test_gradient_of_each_normalization(mode: str) -> None:
    layer = f"{loss_layer('neg_pos_ratio: 1')} loss_weight: 0.7"
    given = batch(0, images=2, priors=5, rows=4).bottoms
    normalization = f"loss_param {{ normalization: {mode} }}"
    check_layer_gradient(f"{layer} {normalization}", given, bottoms=[0, 1])


def _check_gradient(fields: str) -> None:
    shared = "share_location: false" not in fields
    given = batch(3, images=2, priors=6, classes=3, rows=4, shared=shared).bottoms
    check_layer_gradient(loss_layer(fields, classes=3), given, bottoms=[0, 1])


def _batch(fields: str, seed: int) -> Batch:
    words = fields.split()
    background = (
        int(words[words.index("background_label_id:") + 1]) if "background" in fields else 0
    )
    return batch(seed, shared="share_location: false" not in fields, background=background)
