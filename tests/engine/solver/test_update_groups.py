"""How parameters lie for their updates: those of equal rate and decay together, in the layout that
their ops like, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.layout import PLAIN
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.ops.onednn.backend import OneDnnOps
from caffepy.engine.ops.onednn.library import available
from caffepy.engine.solver.solver import Solver
from tests.engine.solver.running import make_solver

BACKENDS = [
    NumpyOps,
    pytest.param(
        OneDnnOps, marks=pytest.mark.skipif(available() is not None, reason=str(available()))
    ),
]
WEIGHTS, BIAS = "param { lr_mult: 1 decay_mult: 1 }", "param { lr_mult: 2 decay_mult: 0 }"
SOLVER = """
net_param {
  layer { name: "data" type: "DummyData" top: "x" top: "y" dummy_data_param {
    shape { dim: 4 dim: 3 dim: 9 dim: 9 } shape { dim: 4 dim: 5 }
    data_filler { type: "gaussian" } data_filler { type: "gaussian" } } }
  layer { name: "conv" type: "Convolution" bottom: "x" top: "conv" WEIGHTS BIAS
    convolution_param { num_output: 20 kernel_size: 3 weight_filler { type: "xavier" } } }
  layer { name: "frozen" type: "Convolution" bottom: "conv" top: "frozen"
    param { lr_mult: 0 } param { lr_mult: 0 }
    convolution_param { num_output: 20 kernel_size: 3 weight_filler { type: "xavier" } } }
  layer { name: "ip" type: "InnerProduct" bottom: "frozen" top: "ip" WEIGHTS BIAS
    inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
  layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "y" top: "loss" }
}
base_lr: 0.001 lr_policy: "fixed" weight_decay: 0.01 max_iter: 100 random_seed: 3
""".replace("WEIGHTS", WEIGHTS).replace("BIAS", BIAS)
TYPES = {
    "SGD": "momentum: 0.9",
    "Nesterov": "momentum: 0.9",
    "AdaGrad": "",
    "RMSProp": "rms_decay: 0.9",
    "AdaDelta": "momentum: 0.9",
    "Adam": "momentum: 0.9",
    "AdamW": "momentum: 0.9",
    "LARS": "momentum: 0.9",
}


def solver_of(type_name: str, ops: Ops, **options: object) -> Solver:
    return make_solver(
        f'{SOLVER} type: "{type_name}" {TYPES[type_name]}', ops=ops, seed=3, **options
    )


def data_of(solver: Solver) -> list[np.ndarray]:
    return [one.blob.data.content().copy() for one in solver.net.parameters.learnable]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("type_name", TYPES)
def test_parameters_held_by_python_are_updated_as_others(
    backend: type[NumpyOps], type_name: str
) -> None:
    ops = backend()
    free, held, late = (solver_of(type_name, ops) for _ in range(3))
    leases = [held.net.parameters.learnable[0].blob.data.lease()]
    leases.append(held.net.parameters.learnable[3].blob.diff.lease())
    for solver in (free, held, late):
        solver.step(2)
    leases += [late.net.parameters.learnable[4].blob.data.lease()]
    late_diff = late.net.parameters.learnable[0].blob.diff.lease()
    for solver in (free, held, late):
        solver.step(2)
    for one, other, third in zip(*map(data_of, (free, held, late)), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(third, one, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(leases[0], data_of(held)[0])
    before = data_of(late)[0]
    late.step(1)
    moved = before - data_of(late)[0]
    np.testing.assert_allclose(late_diff, moved, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_update_is_one_call_for_all_of_equal_rate_and_decay(backend: type[NumpyOps]) -> None:
    solver, calls = solver_of("SGD", backend()), []
    update = solver.rule._op.update
    solver.rule._op.update = lambda *values, **numbers: (
        calls.append((numbers["rate"], numbers["decay"])),
        update(*values, **numbers),
    )
    solver.step(3)
    expected = [(0.001, 0.01), (0.002, 0.0)] * 3
    np.testing.assert_allclose(calls, expected, rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.usefixtures("wide_vectors")
def test_parameters_are_kept_once(backend: type[NumpyOps], type_name: str) -> None:
    solver = solver_of(type_name, backend())
    solver.step(2)
    solver.rule.update_all(2, 0.0, 1.0, False)
    learnable = solver.net.parameters.learnable
    for index, one in enumerate(learnable):
        past = [solver.rule.past(slot, index) for slot in range(solver.rule.slots)]
        for value in (one.blob.data, *(past if one.rate else [])):
            storage = value._storage
            assert (storage.plain is None) == (value.home is not PLAIN)
    if backend is OneDnnOps:
        assert learnable[0].blob.data.home is not PLAIN
        assert learnable[0].blob.diff.home is learnable[0].blob.data.home


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.usefixtures("wide_vectors")
def test_a_snapshot_leaves_no_plain_copies_and_resumes_to_the_same(
    backend: type[NumpyOps],
) -> None:
    options = 'snapshot_prefix: "s"'
    text = f"{SOLVER} momentum: 0.9 {options}"
    solver = make_solver(text, ops=backend(), seed=3)
    solver.step(2)
    solver.snapshot()
    assert all(
        (one.blob.data._storage.plain is None) == (one.blob.data.home is not PLAIN)
        for one in solver.net.parameters.learnable
    )
    resumed = make_solver(text, ops=backend(), seed=3, resume="s_iter_2.solverstate")
    for one in (solver, resumed):
        one.step(2)
    for ours, theirs in zip(data_of(solver), data_of(resumed), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("backend", BACKENDS)
def test_parameters_that_another_net_takes_over_go_on_learning(backend: type[NumpyOps]) -> None:
    ops = backend()
    solver, other, alone = (solver_of("SGD", ops) for _ in range(3))
    for one in (solver, other, alone):
        one.step(2)
    solver.net.share_parameters(other.net)
    for _ in range(2):
        solver.step(1)
        alone.step(1)
    for ours, theirs in zip(data_of(other), data_of(alone), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
