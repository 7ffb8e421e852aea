"""Solvers of pycaffe: run step by step, looked into, snapshot and resumed."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import caffepy
import caffepy.pycaffe as caffe
from caffepy.engine.core.errors import CaffepyError, SnapshotError
from caffepy.engine.ops.base import Ops
from tests.pycaffe.nets import SOLVER, TRAIN_NET, open_text, weights_of

Make = Callable[..., caffe.Solver]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a solver of TRAIN_NET, with some fields other than SOLVER's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(TRAIN_NET)

    def made(
        cls: Callable[..., caffe.Solver] = caffe.SGDSolver, ops: Ops | None = None, **fields: object
    ) -> caffe.Solver:
        lines = [f"{name}: {json.dumps(value)}" for name, value in {**SOLVER, **fields}.items()]
        (tmp_path / "solver.prototxt").write_text("\n".join(lines))
        return cls("solver.prototxt", ops=ops)

    return made


# ---- running


def test_solve_runs_to_max_iter(make: Make, ops: Ops) -> None:
    solver = make(ops=ops)
    first = float(solver.net.forward()["loss"])
    assert solver.iter == 0
    solver.solve()
    assert solver.iter == 6
    assert float(solver.net.forward()["loss"]) < first


def test_steps_are_a_run(make: Make) -> None:
    whole, parts = make(), make()
    whole.solve()
    for iterations in (1, 2, 3):
        parts.step(iterations)
    assert parts.iter == 6
    for name, arrays in weights_of(whole.net).items():
        np.testing.assert_array_equal(parts.net.params[name][0].data, arrays[0])


def test_the_loop_of_the_published_notebook_runs(make: Make, ops: Ops) -> None:
    """Steps one by one, losses from a blob, tests by hand."""
    solver = make(ops=ops)
    losses = np.zeros(3)
    for iteration in range(3):
        solver.step(1)
        losses[iteration] = solver.net.blobs["loss"].data
        solver.test_nets[0].forward(start="conv")
        assert solver.test_nets[0].blobs["ip_blob"].data.shape == (5, 13)
    assert losses[0] > losses[-1]


def test_test_nets_have_the_weights_of_the_train_net(make: Make) -> None:
    solver = make()
    assert len(solver.test_nets) == 1
    solver.net.params["ip"][0].data[...] = 2
    assert (solver.test_nets[0].params["ip"][0].data == 2).all()


def test_weights_are_copied_before_training(make: Make, tmp_path: Path) -> None:
    solver = make()
    solver.net.params["ip"][0].data[...] = 2
    solver.net.save("start.caffemodel")
    other = make(random_seed=9)
    other.net.copy_from("start.caffemodel")
    assert (other.test_nets[0].params["ip"][0].data == 2).all()


def test_after_a_step_diffs_hold_the_update(make: Make, ops: Ops) -> None:
    solver = make(ops=ops)
    before = weights_of(solver.net)
    solver.step(1)
    for name, arrays in before.items():
        blob = solver.net.params[name][0]
        assert blob.diff.any()
        np.testing.assert_allclose(arrays[0] - blob.diff, blob.data, rtol=1e-6)


def test_apply_update_takes_the_diffs_as_they_are(make: Make, ops: Ops) -> None:
    solver = make(ops=ops)
    data = solver.net.layers[2].blobs[0].data
    data[...] = 0
    solver.net.layers[2].blobs[0].diff[...] = 1
    solver.apply_update()
    np.testing.assert_allclose(data, np.full(data.shape, -0.01), rtol=1e-6)
    assert solver.iter == 1


def test_the_rate_follows_the_policy(make: Make) -> None:
    solver = make()
    assert solver.lr == pytest.approx(0.01)
    solver.step(4)
    assert solver.lr == pytest.approx(0.005)


def test_parameters_are_read_and_changed(make: Make) -> None:
    solver = make()
    assert (solver.param.max_iter, solver.param.display) == (6, 0)
    solver.param.base_lr = 0.5
    solver.param.max_iter = 2
    assert solver.lr == 0.5
    solver.solve()
    assert solver.iter == 2


# ---- callbacks


def test_callbacks_are_called_around_the_gradients(make: Make) -> None:
    solver = make()
    calls: list[tuple[str, int, bool]] = []

    def note(what: str) -> Callable[[], None]:
        weights = solver.net.params["ip"][0]
        return lambda: calls.append((what, solver.iter, bool(weights.diff.any())))

    solver.add_callback(note("start"), note("ready"))
    solver.step(2)
    expected = [("start", 0, False), ("ready", 0, True), ("start", 1, False), ("ready", 1, True)]
    assert calls == expected


def test_a_callback_changes_gradients_before_the_update(make: Make) -> None:
    solver = make()
    before = weights_of(solver.net)["ip"][0]

    def none() -> None:
        solver.net.params["ip"][0].diff[...] = 0

    solver.add_callback(lambda: None, none)
    solver.step(1)
    np.testing.assert_array_equal(solver.net.params["ip"][0].data, before)


def test_hooks_of_the_train_net_are_called_in_steps(make: Make) -> None:
    solver = make()
    seen: list[int] = []
    solver.net.after_forward(seen.append)
    solver.net.before_backward(seen.append)
    solver.step(1)
    assert seen == [0, 1, 2, 3, 3, 2, 1, 0]


def test_what_a_callback_raises_comes_out_and_the_solver_goes_on(make: Make) -> None:
    solver = make()
    failing = [True]

    def fail() -> None:
        if failing.pop() if failing else False:
            raise LookupError("mine")

    solver.add_callback(lambda: None, fail)
    with pytest.raises(LookupError, match="mine"):
        solver.solve()
    assert solver.iter == 0
    solver.solve()
    assert solver.iter == 6


def test_a_callback_must_be_a_function(make: Make) -> None:
    with pytest.raises(TypeError, match="on_start: expected a function, got 3"):
        make().add_callback(3, print)  # type: ignore[arg-type]


# ---- types


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (caffe.SGDSolver, {}),
        (caffe.NesterovSolver, {}),
        (caffe.AdaGradSolver, {"momentum": 0}),
        (caffe.RMSPropSolver, {"momentum": 0, "rms_decay": 0.9}),
        (caffe.AdaDeltaSolver, {"delta": 1e-6}),
        (caffe.AdamSolver, {}),
    ],
)
def test_get_solver_gives_the_class_of_the_type(
    cls: type[caffe.Solver], fields: dict[str, float], make: Make
) -> None:
    named = make(cls, type=cls.type, **fields)
    chosen = make(caffe.get_solver, type=cls.type, **fields)
    assert type(chosen) is cls
    assert isinstance(chosen, caffe.SGDSolver)
    for solver in (named, chosen):
        solver.step(2)
    for name, arrays in weights_of(named.net).items():
        np.testing.assert_array_equal(chosen.net.params[name][0].data, arrays[0])


def test_a_class_trains_by_its_own_type(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    odd = make(caffe.SGDSolver, type="Adam")
    assert "type: expected SGD, the type of SGDSolver, got Adam" in caplog.text
    plain = make()
    for solver in (odd, plain):
        solver.step(2)
    np.testing.assert_array_equal(odd.net.params["ip"][0].data, plain.net.params["ip"][0].data)


def test_types_without_a_class_are_solvers_too(make: Make) -> None:
    solver = make(caffe.get_solver, type="AdamW")
    assert type(solver) is caffe.Solver
    solver.step(1)


def test_golden_losses_of_a_solver(ops: Ops, golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(golden / "solvers" / "sgd_fixed")
    solver = caffe.get_solver("solver.prototxt", ops=ops)
    solver.net.copy_from("init.caffemodel")
    expected = json.loads(Path("losses.json").read_text())["loss"][:4]
    found = []
    for _ in expected:
        solver.step(1)
        found.append(float(sum(solver.net.blobs[name].data for name in solver.net.outputs)))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


# ---- snapshots and weights


def test_a_run_goes_on_from_a_snapshot(make: Make, tmp_path: Path) -> None:
    whole = make()
    whole.step(3)
    whole.snapshot()
    assert (tmp_path / "model_iter_3.caffemodel").is_file()
    whole.solve()
    for restored_by_solve in (True, False):
        resumed = make()
        if restored_by_solve:
            resumed.solve("model_iter_3.solverstate")
        else:
            resumed.restore("model_iter_3.solverstate")
            assert resumed.iter == 3
            resumed.solve()
        assert resumed.iter == 6
        for name, arrays in weights_of(whole.net).items():
            np.testing.assert_array_equal(resumed.net.params[name][0].data, arrays[0])


@pytest.mark.parametrize(("first", "then", "levels"), [(-1, -1, ["INFO"]), (3, 4, ["WARNING"])])
def test_only_a_seed_of_the_users_is_warned_of(
    first: int, then: int, levels: list[str], make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    make(random_seed=first).snapshot()
    resumed = make(random_seed=then)
    assert resumed.param.random_seed == then
    with caplog.at_level("INFO", "caffepy"):
        resumed.restore("model_iter_0.solverstate")
    told = [one.levelname for one in caplog.records if "was made with random seed" in one.message]
    assert told == levels


def test_a_solver_ends_its_nets_with_its_block(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    with make(caffepy.Solver) as solver:
        assert solver.param.type == "SGD"
        nets = [solver.net, *solver.test_nets]
        for net in nets:
            monkeypatch.setattr(net._net.layers[0], "close", lambda: ended.append("layer"))
        solver.step(1)
    assert len(ended) == len(nets) == 2
    solver.close()
    assert len(ended) == 2


def test_files_that_are_not_there_are_exceptions(make: Make, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match=r"none\.solverstate"):
        make().restore("none.solverstate")
    with pytest.raises(CaffepyError, match=r"none\.prototxt"):
        caffe.SGDSolver("none.prototxt")
    with pytest.raises(SnapshotError, match="cannot be written"):
        make(snapshot_prefix="no/folder").snapshot()


def test_weights_are_shared_with_another_net(make: Make, tmp_path: Path) -> None:
    solver = make()
    net = open_text(tmp_path, TRAIN_NET, caffe.TRAIN)
    solver.share_weights(net)
    solver.step(2)
    np.testing.assert_array_equal(net.params["conv"][0].data, solver.net.params["conv"][0].data)


def test_nets_outlive_their_solver(make: Make) -> None:
    solver = make()
    nets = [solver.net, *solver.test_nets]
    del solver
    gc.collect()
    for net in nets:
        assert np.isfinite(net.forward()["loss"])
        assert net.params["conv"][0].data.any()


def test_a_gpu_in_the_solver_changes_nothing(make: Make) -> None:
    """As in pycaffe, where set_mode_gpu chooses it."""
    make(solver_mode=1).step(1)


def test_a_seed_of_the_process_repeats_solvers(make: Make) -> None:
    def weights() -> np.ndarray:
        caffe.set_random_seed(2)
        return weights_of(make(random_seed=-1).net)["conv"][0]

    np.testing.assert_array_equal(weights(), weights())
