"""MultiBoxFocalLoss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden
from tests.multibox import batch, check_multibox

KINDS = "NONE", "MAX_NEGATIVE", "HARD_EXAMPLE sample_size: 9"


@pytest.mark.parametrize("case", golden_cases("MultiBoxFocalLoss"), ids=lambda case: case.name)
def test_equals_the_fork(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("focal", ["", "alpha: 0.7 gamma: 0.5", "alpha: 2 gamma: 0"])
def test_equals_loops_over_priors(focal: str, kind: str, ops: Ops) -> None:
    check_multibox(_layer(f"mining_type: {kind}", focal), batch(2), ops)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("focal", ["", "alpha: 0.7 gamma: 1"])
def test_gradient(focal: str, kind: str) -> None:
    given = batch(3, images=2, priors=5, rows=4).bottoms
    check_layer_gradient(_layer(f"mining_type: {kind}", focal), given, bottoms=[0, 1])


def test_a_sigmoid_has_no_focal_form() -> None:
    losses = [
        make_layer(layer, batch(2).bottoms).forward()[0]
        for layer in (
            _layer("conf_loss_type: LOGISTIC", ""),
            _layer("conf_loss_type: LOGISTIC", "").replace("FocalLoss", "Loss"),
        )
    ]
    assert losses[0] == losses[1]


def test_probability_one_has_a_finite_gradient(ops: Ops) -> None:
    given = batch(2)
    given.scores[...] = np.where(np.arange(96) % 4 == 0, 100, -100)
    run = make_layer(_layer("mining_type: NONE", "gamma: 0.5"), given.bottoms, ops=ops)
    run.forward()
    run.top[0].diff.write()[...] = 1
    run.backward([True, True, False, False])
    assert np.isfinite(run.bottom[1].diff.read()).all()


def test_negative_gamma_is_refused() -> None:
    with pytest.raises(NetError, match=r"focal_loss_param.gamma: expected at least 0, got -1"):
        make_layer(_layer("", "gamma: -1"), batch(2).bottoms)


def _layer(fields: str, focal: str) -> str:
    return f"""type: "MultiBoxFocalLoss" multibox_loss_param {{ num_classes: 4 {fields} }}
    focal_loss_param {{ {focal} }}"""
