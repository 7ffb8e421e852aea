"""Iterations as one graph: that they are, what keeps them from it, and equal bits either way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.port import CudaRuntime, Graph
from caffepy.engine.solver.callbacks import Callback, Training
from caffepy.engine.solver.finite import StopOnNan
from caffepy.engine.solver.solver import Solver
from tests.engine.solver.running import SPEED, make_solver, parameters

NET = """
layer { name: "rows" type: "HDF5Data" top: "x" top: "label"
  hdf5_data_param { source: "h5.txt" batch_size: 4 } }
layer { name: "drop" type: "Dropout" bottom: "x" top: "x" }
layer { name: "hidden" type: "InnerProduct" bottom: "x" top: "y"
  param { lr_mult: HIDDEN } param { lr_mult: HIDDEN decay_mult: 0 }
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "y" top: "y" }
BETWEEN
layer { name: "out" type: "InnerProduct" bottom: "y" top: "z"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "z" bottom: "label" top: "loss" }
"""
SOLVER = """
net: "net.prototxt" type: "RULE" base_lr: 0.05 lr_policy: "inv" gamma: 0.1 power: 0.75
momentum: 0.9 weight_decay: 0.01 random_seed: 1 max_iter: 100
"""
ENDING = ["download"]  # of what a GPU finds wrong, when steps are done
IN_PARTS = " clip_gradients: 1e30"  # changes no number
PYTHON = """
import caffe
class Same(caffe.Layer):
    def setup(self, bottom, top): pass
    def reshape(self, bottom, top): top[0].reshape(*bottom[0].data.shape)
    def forward(self, bottom, top): top[0].data[...] = bottom[0].data
    def backward(self, top, propagate_down, bottom): bottom[0].diff[...] = top[0].diff
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data of 7 rows, so that batches differ, and the working directory."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    with h5py.File("rows.h5", "w") as file:
        file["x"] = random.standard_normal((7, 6)).astype(np.float32)
        file["label"] = random.integers(0, 3, 7).astype(np.float32)
    Path("h5.txt").write_text("rows.h5\n")
    return tmp_path


@pytest.fixture
def queued(
    cuda_runtime: CudaRuntime, launches: list[Graph], monkeypatch: pytest.MonkeyPatch
) -> Callable[[], list[str]]:
    """What was asked of the device since the last call, uploads aside: the names of methods."""
    done: list[str] = []

    def noted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if not cuda_runtime.capturing:
                done.append(name)
            return method(*arguments, **named)

        return call

    for name in ("launch", "launch_rows", "multiply", "clear", "copy", "download", "synchronize"):
        monkeypatch.setattr(cuda_runtime, name, noted(name, getattr(cuda_runtime, name)))

    def taken() -> list[str]:
        found = done + ["graph"] * len(launches)
        done.clear()
        launches.clear()
        return found

    return taken


def solver_of(
    runtime: CudaRuntime,
    more: str = "",
    *,
    rule: str = "SGD",
    hidden: str = "1",
    between: str = "",
    **options: Any,
) -> Solver:
    net = NET.replace("HIDDEN", hidden).replace("BETWEEN", between)
    Path("net.prototxt").write_text(net)
    solver = SOLVER.replace("RULE", rule)
    if rule in ("AdaGrad", "RMSProp"):
        solver = solver.replace("momentum: 0.9", "")
    return make_solver(solver + more, ops=CudaOps(runtime, precision="fp32"), **options)


def assert_equal_bits(one: Solver, other: Solver) -> None:
    for found, expected in zip(parameters(one), parameters(other), strict=True):
        np.testing.assert_array_equal(found, expected)
    for found, expected in zip(one.rule.history, other.rule.history, strict=True):
        np.testing.assert_array_equal(found.content(), expected.content())
    assert one.losses.last() == other.losses.last()
    assert one.learning_rate == other.learning_rate


@pytest.mark.parametrize(
    "rule", ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam", "AdamW", "LARS"]
)
@pytest.mark.parametrize("hidden", ["1", "0"])
def test_an_iteration_is_one_graph_of_the_bits_of_its_parts(
    rule: str, hidden: str, cuda_runtime: CudaRuntime, queued: Callable[[], list[str]]
) -> None:
    joint = solver_of(cuda_runtime, rule=rule, hidden=hidden, callbacks=[StopOnNan()])
    joint.step(6)
    queued()
    joint.step(6)
    found = queued()
    if hidden == "0":  # gradients that nobody writes are cleared, where weights decay all the same
        found = [one for one in found if one != "clear"]
    assert found == ENDING + 6 * ["graph"]
    parts = solver_of(cuda_runtime, IN_PARTS, rule=rule, hidden=hidden)
    parts.step(12)
    assert_equal_bits(joint, parts)


@pytest.mark.parametrize("average", [1, 4])
def test_what_is_displayed_is_what_parts_display(
    average: int, cuda_runtime: CudaRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "caffepy")
    said = []
    for more in ("", IN_PARTS):
        caplog.clear()
        solver_of(cuda_runtime, f" display: 3 average_loss: {average}{more}").step(10)
        lines = [
            SPEED.sub("", one) for one in caplog.messages if one.startswith(("Iter", "    Tr"))
        ]
        said.append(lines)
    assert said[0] == said[1]
    assert len(said[0]) == 12  # of 4 displays: iteration, output, rate


def test_losses_that_are_averaged_take_a_copy_behind_the_graph(
    cuda_runtime: CudaRuntime, queued: Callable[[], list[str]]
) -> None:
    solver, parts = (solver_of(cuda_runtime, "average_loss: 3" + more) for more in ("", IN_PARTS))
    for one in (solver, parts):
        one.step(6)
    assert_equal_bits(solver, parts)
    assert solver.losses.mean() == parts.losses.mean()
    queued()
    solver.step(1)
    assert sorted(queued()) == sorted(["graph", "copy", *ENDING])


@pytest.mark.parametrize("more", ["iter_size: 2", "clip_gradients: 1"])
def test_what_needs_the_host_amid_an_iteration_runs_in_parts(
    more: str, cuda_runtime: CudaRuntime, queued: Callable[[], list[str]]
) -> None:
    solver = solver_of(cuda_runtime, more)
    solver.step(6)
    queued()
    solver.step(1)
    assert queued().count("graph") == 2 * max(1, solver.param.iter_size)


def test_a_callback_that_is_told_of_gradients_sees_them_before_the_update(
    cuda_runtime: CudaRuntime,
) -> None:
    class Sees(Callback):
        def on_gradients_ready(self, solver: Training) -> None:
            seen.append([one.blob.data.read().copy() for one in solver.net.parameters.learnable])

    seen: list[list[np.ndarray]] = []
    solver = solver_of(cuda_runtime)
    solver.step(5)
    before = parameters(solver)
    solver.callbacks.append(Sees())
    solver.step(1)
    for one, other in zip(seen[0], before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_held_array_shows_each_update_and_may_be_written(cuda_runtime: CudaRuntime) -> None:
    solver, parts = solver_of(cuda_runtime), solver_of(cuda_runtime, IN_PARTS)
    for one in (solver, parts):
        one.step(5)
        held = one.net.parameters.learnable[0].blob.data.lease()
        one.step(2)
        np.testing.assert_array_equal(held, one.net.parameters.learnable[0].blob.data.read())
        held *= 0.5
        one.step(2)
        del held
        one.step(4)
    assert_equal_bits(solver, parts)


def test_weights_that_are_written_between_iterations_are_learnt_on(
    cuda_runtime: CudaRuntime,
) -> None:
    solver, parts = solver_of(cuda_runtime), solver_of(cuda_runtime, IN_PARTS)
    for one in (solver, parts):
        one.step(6)
        one.net.parameters.learnable[2].blob.data.write()[...] = 0.25
        one.step(6)
    assert_equal_bits(solver, parts)


def test_a_parameter_without_gradient_only_decays_after_its_diff_was_held(
    cuda_runtime: CudaRuntime,
) -> None:
    aside = """layer { name: "aside" type: "InnerProduct" bottom: "y" top: "unused"
      inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }"""
    solvers = [solver_of(cuda_runtime, more, between=aside) for more in ("", IN_PARTS)]
    for solver in solvers:
        solver.step(5)
        held = solver.net.parameters.learnable[2].blob.diff.lease()
        solver.step(1)
        assert held.any()  # the update, as Caffe leaves it
        del held
        solver.step(5)
    assert_equal_bits(*solvers)


def test_weights_that_no_step_reads_are_learnt_on_once_written(cuda_runtime: CudaRuntime) -> None:
    aside = """layer { name: "aside" type: "Parameter" top: "unused"
      parameter_param { shape { dim: 5 } } }"""
    solvers = [solver_of(cuda_runtime, more, between=aside) for more in ("", IN_PARTS)]
    for solver in solvers:
        solver.step(6)
        solver.net.parameters.learnable[2].blob.data.write()[...] = 0.25
        solver.step(6)
    assert_equal_bits(*solvers)


def test_a_layer_on_the_host_cuts_it(
    folder: Path,
    modules_as_before: None,
    cuda_runtime: CudaRuntime,
    queued: Callable[[], list[str]],
) -> None:
    (folder / "same_layer.py").write_text(PYTHON)
    python = """layer { name: "same" type: "Python" bottom: "y" top: "w"
      python_param { module: "same_layer" layer: "Same" } }"""
    solver = solver_of(cuda_runtime, between=python)
    solver.step(6)
    queued()
    solver.step(1)
    assert queued().count("graph") == 2  # up to it, and from it to the end


def test_shapes_that_change_lead_to_other_graphs(cuda_runtime: CudaRuntime) -> None:
    solvers = solver_of(cuda_runtime), solver_of(cuda_runtime, IN_PARTS)
    for solver in solvers:
        rows = solver.net.layers[0]
        for batch in (4, 2, 4):
            rows.param.hdf5_data_param.batch_size = batch
            solver.step(5)
    assert_equal_bits(*solvers)
