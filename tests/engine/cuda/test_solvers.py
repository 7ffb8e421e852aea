"""Solvers on the GPU engine: what they learn, and what they say of bad batches, and when."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from caffepy.engine.core.errors import CaffepyError, LabelError, NotFiniteError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.port import CudaRuntime
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.solver import lookout
from caffepy.engine.solver.callbacks import Callback, Training
from caffepy.engine.solver.finite import StopOnNan
from caffepy.engine.solver.solver import Solver
from tests.engine.solver.running import Lines, make_solver, parameters

NET = """
name: "curve"
layer { name: "rows" type: "HDF5Data" top: "x" hdf5_data_param { source: "h5.txt" batch_size: 2 } }
layer { name: "scale" type: "Scale" bottom: "x" top: "y"
  param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 } scale_param { bias_term: true } }
layer { name: "bias" type: "Bias" bottom: "y" top: "z" }
layer { name: "loss" type: "Power" bottom: "z" top: "loss" loss_weight: 0.1
  power_param { power: 2 } }
"""
SOLVER = """
base_lr: 0.05
max_iter: 12
net: "net.prototxt" lr_policy: "step" gamma: 0.5 stepsize: 4 weight_decay: 0.01 random_seed: 1
snapshot_prefix: "s" snapshot_after_train: false
"""
RULES = {
    "SGD": "momentum: 0.9",
    "Nesterov": "momentum: 0.9",
    "AdaGrad": "",
    "RMSProp": "rms_decay: 0.9",
    "AdaDelta": "momentum: 0.9 delta: 1e-3",
    "Adam": "momentum: 0.9",
    "LARS": "momentum: 0.9 local_gw_ratio: 0.1",
}
ROWS, COLUMNS = 16, 3  # 8 batches of 2
RTOL, ATOL = 1e-9, 1e-12  # float64, multiplied and added at once


@pytest.fixture(autouse=True)
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes the net's data, all finite at first; `bad` becomes row number `row`."""
    monkeypatch.chdir(tmp_path)

    def write(row: int = 0, bad: float | None = None, net: str = NET) -> None:
        content = np.random.default_rng(0).standard_normal((ROWS, COLUMNS))
        if bad is not None:
            content[row, 1] = bad
        with h5py.File("rows.h5", "w") as file:
            file["x"] = content
        Path("h5.txt").write_text("rows.h5\n")
        Path("net.prototxt").write_text(net)

    write()
    return write


@pytest.fixture
def gpu(cuda_runtime: CudaRuntime) -> Callable[[], Ops]:
    """Makes a new backend."""
    return lambda: CudaOps(cuda_runtime, np.float64)


def made(ops: Ops, more: str = "", **options: Any) -> Solver:
    """A solver; a line of SOLVER goes where `more` gives its first field."""
    lines = [line for line in SOLVER.splitlines() if line.split(":")[0] + ":" not in more]
    return make_solver("\n".join((*lines, more)), ops=ops, **options)


def solved(ops: Ops, more: str = "", resume: str | None = None, iterations: int = 12) -> Solver:
    solver = made(ops, more, resume=resume)
    solver.step(iterations)
    return solver


def assert_same_state(found: Solver, expected: Solver) -> None:
    """Equal weights and history."""
    histories = [[one.content() for one in solver.rule.history] for solver in (found, expected)]
    pairs = [*zip(parameters(found), parameters(expected)), *zip(*histories)]
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize(
    "more", ["", "clip_gradients: 0.5", "iter_size: 2", 'regularization_type: "L1"']
)
@pytest.mark.parametrize("rule", RULES)
def test_learns_what_the_numpy_engine_learns(rule: str, more: str, gpu: Callable[[], Ops]) -> None:
    text = f'type: "{rule}" {RULES[rule]} {more}'
    found, expected = solved(gpu(), text), solved(NumpyOps(np.float64), text)
    assert_same_state(found, expected)
    assert found.losses.last() == pytest.approx(expected.losses.last(), rel=RTOL)


def test_a_leased_gradient_shows_the_update(gpu: Callable[[], Ops]) -> None:
    solver = made(gpu(), keep_diffs=True)
    solver.step(1)
    before, seen = parameters(solver), [one.blob.diff.lease() for one in solver.rule.learnable]
    solver.step(1)
    for old, new, taken in zip(before, parameters(solver), seen, strict=True):
        np.testing.assert_allclose(old - new, taken, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("rule", ["SGD", "Adam"])
@pytest.mark.parametrize("ending", ["", ".h5"])
def test_a_state_goes_on_on_the_other_engine(
    rule: str, ending: str, gpu: Callable[[], Ops]
) -> None:
    text = f'type: "{rule}" {RULES[rule]} snapshot: 6'
    text += " snapshot_format: HDF5" if ending else ""
    whole = solved(NumpyOps(np.float64), text)
    for first, second in ((gpu(), NumpyOps(np.float64)), (NumpyOps(np.float64), gpu())):
        solved(first, text, iterations=6)
        resumed = solved(second, text, f"s_iter_6.solverstate{ending}", 6)
        # snapshots hold float32
        for one, other in zip(parameters(resumed), parameters(whole), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_a_resumed_run_is_the_unbroken_one(cuda_runtime: CudaRuntime) -> None:
    def new() -> Ops:
        return CudaOps(cuda_runtime)

    whole = solved(new(), "momentum: 0.9 snapshot: 5")
    resumed = solved(new(), "momentum: 0.9 snapshot: 5", "s_iter_5.solverstate", 7)
    for one, other in zip(parameters(resumed), parameters(whole), strict=True):
        np.testing.assert_array_equal(one, other)


def test_solver_mode_gpu_is_this_engine(gpu: Callable[[], Ops]) -> None:
    made(gpu(), "solver_mode: GPU")


# ---- when the host looks


def test_an_iteration_waits_for_nothing(
    gpu: Callable[[], Ops], cuda_runtime: CudaRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads: list[int] = []
    download = cuda_runtime.download
    monkeypatch.setattr(
        cuda_runtime, "download", lambda *args: downloads.append(1) or download(*args)
    )
    solver = made(gpu(), callbacks=[StopOnNan()])
    counts = []
    for iterations in (2, 2, 20):
        downloads.clear()
        solver.step(iterations)
        counts.append(len(downloads))
    assert counts[1] == counts[2] <= 2


class Count(Callback):
    """Counts the iterations that were run, whatever came of them."""

    def __init__(self) -> None:
        self.iterations = 0

    def on_iteration(self, solver: Training) -> None:
        self.iterations += 1


def refusal(
    ops: Ops, more: str = "", error: type[CaffepyError] = NotFiniteError
) -> tuple[str, Solver, int]:
    """What ends a run, its solver, and how many iterations it ran."""
    count = Count()
    solver = made(ops, more, callbacks=[count, StopOnNan()])
    with pytest.raises(error) as info:
        solver.solve()
    return str(info.value), solver, count.iterations


@pytest.mark.parametrize(
    "more", ["", "iter_size: 3", "clip_gradients: 1", "snapshot: 2", "display: 1"]
)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_batch_is_named_as_on_the_cpu(
    bad: float, more: str, rows: Callable[..., None], gpu: Callable[[], Ops]
) -> None:
    rows(11, bad)
    expected, on_cpu, _ = refusal(NumpyOps(np.float64), more)
    for path in Path().glob("s_iter_*"):
        path.unlink()
    found, on_gpu, _ = refusal(gpu(), more)
    assert found == expected
    assert "(row 11," in found
    assert on_gpu.iteration == on_cpu.iteration == (1 if "iter_size" in more else 5)
    assert_same_state(on_gpu, on_cpu)
    assert not Path("s_iter_6.solverstate").exists()


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_a_bad_label_is_named_as_on_the_cpu(
    phase: str, rows: Callable[..., None], gpu: Callable[[], Ops]
) -> None:
    files = {"TRAIN": "good", "TEST": "good", phase: "bad"}
    data = [
        f'layer {{ name: "rows" type: "HDF5Data" top: "x" top: "label" include {{ phase: {one} }} '
        f'hdf5_data_param {{ source: "{file}.txt" batch_size: 2 }} }}'
        for one, file in files.items()
    ]
    middle = NET[NET.index('layer { name: "scale"') : NET.index('layer { name: "loss"')]
    loss = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "z" bottom: "label" top: "loss" }'
    rows(net="\n".join((*data, middle, loss)))
    for file, label in (("good", 1), ("bad", COLUMNS)):
        Path(f"{file}.txt").write_text(f"{file}.h5\n")
        with h5py.File(f"{file}.h5", "w") as content:
            content["x"] = np.random.default_rng(1).standard_normal((ROWS, COLUMNS))
            content["label"] = [1] * 11 + [label] + [1] * 4
    more = "test_iter: 8 test_interval: 3 test_initialization: false"
    expected, on_cpu, _ = refusal(NumpyOps(np.float64), more, LabelError)
    found, on_gpu, _ = refusal(gpu(), more, LabelError)
    assert found == expected
    assert "(row 11," in found
    assert on_gpu.iteration == on_cpu.iteration
    assert_same_state(on_gpu, on_cpu)


def test_the_host_looks_at_least_every_few_passes(
    rows: Callable[..., None], gpu: Callable[[], Ops], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "INTERVAL", 4)
    rows(11, np.nan)
    message, solver, iterations = refusal(gpu(), "max_iter: 1000")
    assert "in iteration 5, got 1 nan" in message
    assert (solver.iteration, iterations) == (5, 9)


def test_weights_that_grew_out_of_range_are_named_with_the_iteration(
    gpu: Callable[[], Ops],
) -> None:
    more = "base_lr: 1e30"
    expected, on_cpu, _ = refusal(NumpyOps(np.float64), more)
    found, on_gpu, _ = refusal(gpu(), more)
    assert found.split(" in iteration ")[0] == expected.split(" in iteration ")[0]
    assert on_gpu.iteration == on_cpu.iteration


def test_runs_that_may_go_on_with_nan_do(rows: Callable[..., None], gpu: Callable[[], Ops]) -> None:
    rows(11, np.nan)
    solver = solved(gpu())
    assert solver.iteration == 12
    assert np.isnan(parameters(solver)[0]).any()


def test_a_test_that_is_not_finite_only_warns_and_as_on_the_cpu(
    rows: Callable[..., None], gpu: Callable[[], Ops]
) -> None:
    line = next(line for line in NET.splitlines() if "HDF5Data" in line)
    train = line.replace("h5.txt", "good.txt").replace(
        "hdf5_data", "include { phase: TRAIN } hdf5_data"
    )
    test = line.replace("hdf5_data", "include { phase: TEST } hdf5_data")
    rows(11, np.nan, NET.replace(line, f"{train}\n{test}"))
    with h5py.File("good.h5", "w") as file:
        file["x"] = np.ones((ROWS, COLUMNS))
    Path("good.txt").write_text("good.h5\n")
    more = "test_iter: 8 test_interval: 4 max_iter: 8"
    logger, runs = logging.getLogger("caffepy"), []
    for ops in (NumpyOps(np.float64), gpu()):
        lines = Lines()
        logger.addHandler(lines)
        try:
            solver = made(ops, more, callbacks=[StopOnNan()])
            solver.solve()
        finally:
            logger.removeHandler(lines)
        warnings = [line for line in lines.lines if "expected finite numbers" in line]
        runs.append((warnings, solver.net.passes.value, solver.test_nets[0].passes.value))
    assert runs[0] == runs[1]
    assert len(runs[0][0]) == 3
    assert "(row 11," in runs[0][0][0]
