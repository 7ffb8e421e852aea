"""StopOnNan: what it says where the command line cannot lead it, and what it costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine import diagnosis
from caffepy.engine.core.errors import NotFiniteError
from caffepy.engine.solver.finite import StopOnNan
from caffepy.engine.solver.solver import Solver
from tests.engine.solver.running import make_solver

NET = """
name: "tiny"
layer { name: "data" type: "Input" top: "x" top: "y"
  input_param { shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "y" top: "loss" %s }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" momentum: 0.9 max_iter: 5 random_seed: 1
snapshot_prefix: "s"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def solver_of(text: str = SOLVER, net: str = NET % "", x: float = 1) -> Solver:
    Path("net.prototxt").write_text(net)
    solver = make_solver(text, callbacks=[StopOnNan()])
    solver.net.blobs["x"].data.write()[...] = x
    solver.net.blobs["y"].data.write()[...] = 1
    return solver


def test_losses_whose_sum_is_too_large_are_said_to_be_so() -> None:
    solver = solver_of(net=NET % "loss_weight: 3e38", x=100)
    with pytest.raises(NotFiniteError, match=r"'tiny': loss: .* got inf, the sum of finite losses"):
        solver.step(1)


def test_a_norm_that_is_too_large_is_said_to_be_so() -> None:
    solver = solver_of(SOLVER + "clip_gradients: 1", NET % "loss_weight: 1e20", x=100)
    before = solver.net.layers[1].blobs[0].data.read().copy()
    with pytest.raises(NotFiniteError, match=r"norm of the gradients: .* got inf, though each"):
        solver.step(1)
    np.testing.assert_array_equal(solver.net.layers[1].blobs[0].data.read(), before)


def test_a_bad_history_is_never_written() -> None:
    solver = solver_of()
    solver.step(1)
    solver.rule.history[1].modify()[0] = np.inf
    with pytest.raises(NotFiniteError, match=r"'ip'.*: history 0 of parameter 1: .* got 1 inf"):
        solver.snapshot()
    assert not list(Path().glob("s_iter*"))


@pytest.mark.parametrize("value", ["-inf", "nan"])
def test_a_mask_of_infinities_that_is_not_learnt_is_no_failure(value: str) -> None:
    mask = (
        'layer { name: "mask" type: "Bias" bottom: "x" top: "masked" param { lr_mult: 0 } '
        f"bias_param {{ filler {{ value: {value} }} }} }}\n"
        'layer { name: "end" type: "Silence" bottom: "masked" }\n'
    )
    solver = solver_of(SOLVER + "snapshot: 2", NET % "" + mask)
    if value == "nan":
        with pytest.raises(NotFiniteError, match=r"'mask'.*: parameter 0: .* got 3 nan"):
            solver.solve()
        return
    solver.solve()
    assert Path("s_iter_4.solverstate").exists()
    make_solver(SOLVER, callbacks=[StopOnNan()], resume="s_iter_4.solverstate").solve()


def test_what_is_not_learnt_is_not_put_down_to_the_update() -> None:
    frozen = NET.replace('top: "ip"\n', 'top: "ip" param { lr_mult: 0 }\n')
    solver = solver_of(net=frozen % "")
    solver.step(1)
    solver.net.layers[1].blobs[0].data.modify()[0, 0] = np.nan
    with pytest.raises(NotFiniteError, match=r"parameter 0.*not learnt; the layer itself"):
        solver.step(1)


def test_the_batch_before_the_update_is_the_one_that_counts() -> None:
    solver = solver_of()
    solver.step(2)
    before = solver.net.layers[1].blobs[0].data.read().copy()
    solver.net.blobs["x"].data.modify()[1, 2] = np.nan
    with pytest.raises(
        NotFiniteError, match=r"top 'x': .* iteration 2, .* \(1, 2\)\. Correct what"
    ):
        solver.step(1)
    np.testing.assert_array_equal(solver.net.layers[1].blobs[0].data.read(), before)
    assert solver.iteration == 2


def test_a_good_iteration_costs_one_look_at_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    solver = solver_of()
    looked = []
    whole = diagnosis.is_finite
    monkeypatch.setattr(diagnosis, "is_finite", lambda value: looked.append(value) or whole(value))
    solver.step(3)
    assert looked == [solver.net.loss] * 3
