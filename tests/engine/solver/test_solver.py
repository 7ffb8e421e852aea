"""The solver's loop: requests, callbacks, diffs, clipping, frozen parameters, several batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import ShapeError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.solver.callbacks import Callback, History, TestResult
from caffepy.engine.solver.scores import Scores
from caffepy.engine.solver.solver import Solver
from tests.engine.solver.running import (
    Settings,
    filled,
    gradients,
    make_solver,
    parameters,
    run_solver,
)

NET = """
name: "tiny"
layer { name: "data" type: "Input" top: "x" top: "y"
  input_param { shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" param { } param { lr_mult: 0 }
  inner_product_param { num_output: 2 weight_filler { type: "xavier" }
    bias_filler { value: 0.5 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "y" top: "loss" }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.01 max_iter: 5
random_seed: 1 snapshot_prefix: "s"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    return tmp_path


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("l1", [False, True])
def test_sgd_is_what_the_formula_says(dtype: type, l1: bool) -> None:
    text = SOLVER + ('regularization_type: "L1"' if l1 else "")
    solver = filled(make_solver(text, ops=NumpyOps(dtype)))
    velocity = np.zeros((2, 3))
    for _ in range(3):
        weights, gradient = parameters(solver)[0], gradients(solver)[0]
        penalty = np.sign(weights) if l1 else weights
        velocity = 0.9 * velocity + 0.1 * (gradient + 0.01 * penalty)
        solver.step(1)
        np.testing.assert_allclose(parameters(solver)[0], weights - velocity, rtol=1e-5)


def test_a_frozen_parameter_stays_as_it_is(ops: Ops) -> None:
    solver = filled(make_solver(SOLVER, ops=ops))
    solver.step(2)
    np.testing.assert_array_equal(parameters(solver)[1], np.full(2, 0.5, np.float32))


def test_several_batches_per_iteration_count_as_one_batch_of_their_mean(ops: Ops) -> None:
    once, thrice = (filled(make_solver(SOLVER + more, ops=ops)) for more in ("", "iter_size: 3"))
    for solver in (once, thrice):
        solver.step(2)
    np.testing.assert_allclose(parameters(thrice)[0], parameters(once)[0], rtol=1e-5)
    assert thrice.losses.last() == pytest.approx(once.losses.last(), rel=1e-5)


def test_clipping_limits_the_norm_of_the_summed_gradients(
    ops: Ops, caplog: pytest.LogCaptureFixture
) -> None:
    solver = filled(
        make_solver(
            'net: "net.prototxt" base_lr: 1 lr_policy: "fixed" clip_gradients: 0.25 iter_size: 2 '
            "random_seed: 1",
            ops=ops,
        )
    )
    gradient = 2 * gradients(solver)[0]  # of both batches
    norm = np.linalg.norm(gradient)
    before = parameters(solver)[0]
    caplog.set_level("INFO", "caffepy")
    solver.step(1)
    assert f"scaling down gradients (L2 norm {norm:g} > 0.25)" in caplog.text
    expected = before - gradient * (0.25 / norm) / 2
    np.testing.assert_allclose(parameters(solver)[0], expected, rtol=1e-5)


def test_a_diff_that_python_holds_shows_the_applied_update() -> None:
    solver = filled(make_solver(SOLVER))
    held = solver.net.parameters.learnable[0].blob.diff.lease()
    before = parameters(solver)[0]
    solver.step(1)
    np.testing.assert_allclose(before - parameters(solver)[0], held, rtol=1e-4, atol=1e-7)


def test_keep_diffs_leaves_the_applied_update_for_later_looks() -> None:
    solver = filled(make_solver(SOLVER, keep_diffs=True))
    solver.step(1)
    before = parameters(solver)[0]
    solver.step(1)
    diff = solver.net.parameters.learnable[0].blob.diff.read()
    np.testing.assert_allclose(before - parameters(solver)[0], diff, rtol=1e-4, atol=1e-7)


class Watcher(Callback):
    """Writes down what it is told, and asks to stop or to take a snapshot at an iteration."""

    def __init__(self, stop_at: int = -1, snapshot_at: int = -1) -> None:
        self.stop_at, self.snapshot_at = stop_at, snapshot_at
        self.seen: list[str] = []

    def on_start(self, solver: Solver) -> None:
        self.seen.append("start")

    def on_gradients_ready(self, solver: Solver) -> None:
        self.seen.append(f"gradients {solver.iteration}")
        if solver.iteration == self.stop_at:
            solver.request_stop()
        if solver.iteration == self.snapshot_at:
            solver.request_snapshot()

    def on_updated(self, solver: Solver) -> None:
        self.seen.append(f"updated {solver.iteration}")

    def on_tested(self, solver: Solver, result: TestResult) -> None:
        self.seen.append(f"tested {result.net}")

    def on_snapshot(self, solver: Solver, weights: Path, state: Path) -> None:
        self.seen.append(f"snapshot {weights} {state}")

    def on_end(self, solver: Solver) -> None:
        self.seen.append("end")


def test_callbacks_hear_of_everything_in_order() -> None:
    watcher = Watcher(snapshot_at=0)
    text = SOLVER.replace("max_iter: 5", "max_iter: 2") + "test_iter: 1 test_interval: 2"
    filled(make_solver(text, callbacks=[watcher])).solve()
    assert watcher.seen == [
        "start",
        "tested 0",
        "gradients 0",
        "updated 1",
        "snapshot s_iter_1.caffemodel s_iter_1.solverstate",
        "gradients 1",
        "updated 2",
        "snapshot s_iter_2.caffemodel s_iter_2.solverstate",
        "tested 0",
        "end",
    ]


def test_a_request_to_stop_ends_training_after_the_iteration_with_a_snapshot(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "caffepy")
    solver = filled(make_solver(SOLVER, callbacks=[Watcher(stop_at=1)]))
    solver.solve()
    assert solver.iteration == 2
    assert Path("s_iter_2.solverstate").is_file()
    assert caplog.messages[-1] == "Optimization stopped early."


def test_a_request_to_stop_interrupts_a_test(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "caffepy")
    solver = filled(make_solver(SOLVER + "test_iter: 4 test_interval: 1"))
    solver.request_stop()
    solver.step(3)
    assert solver.iteration == 0
    assert caplog.messages[-1] == "Test interrupted."


def test_no_test_before_training_without_test_initialization() -> None:
    text = SOLVER + "test_iter: 1 test_interval: 2 test_initialization: false"
    history = History()
    filled(make_solver(text, callbacks=[history])).solve()
    assert [test.iteration for test in history.tests] == [2, 4]


def test_training_goes_on_where_step_left_it() -> None:
    whole, parts = filled(make_solver(SOLVER)), filled(make_solver(SOLVER))
    whole.step(4)
    parts.step(1)
    parts.step(3)
    np.testing.assert_array_equal(parameters(whole)[0], parameters(parts)[0])


def test_no_snapshot_after_training_where_it_is_switched_off() -> None:
    filled(make_solver(SOLVER + "snapshot_after_train: false")).solve()
    assert not list(Path().glob("s_iter_*"))


def test_the_shown_loss_is_the_mean_over_average_loss_iterations() -> None:
    Path("solver.prototxt").write_text(SOLVER + "average_loss: 2 display: 1")
    run = run_solver(Settings.read("solver.prototxt"))
    shown = [float(line.split("loss = ")[1]) for line in run.lines if "iters), loss" in line]
    losses = list(run.history.losses.values())
    means = [losses[0], *(np.add(losses[:-1], losses[1:]) / 2)]
    assert shown == pytest.approx(means, rel=1e-5)


def test_test_outputs_must_keep_their_shape() -> None:
    Path("net.prototxt").write_text(
        NET.replace("EuclideanLoss", "Silence").replace('top: "loss"', "")
    )
    solver = make_solver(SOLVER)
    scores = Scores(solver.net)
    solver.net.outputs.append("x")
    solver.net.forward()
    scores.add()
    solver.net.blobs["x"].reshape((2, 3))
    with pytest.raises(ShapeError, match=r"output 'x': expected shape \(4, 3\) .*got \(2, 3\)"):
        scores.add()
