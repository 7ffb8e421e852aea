"""Hidden states of recurrent layers in a solver: each net has its own, a snapshot has them all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.ops.base import Ops
from caffepy.engine.snapshot import read_snapshot
from tests.engine.solver.running import Run, Settings, run_solver

# `again` has the weights of `lstm`. No sequence ever ends.
NET = """
name: "sequences"
layer { name: "data" type: "DummyData" top: "x" top: "cont" top: "y"
  dummy_data_param {
    shape { dim: 3 dim: 2 dim: 4 } shape { dim: 3 dim: 2 } shape { dim: 3 dim: 2 dim: 4 }
    data_filler { type: "gaussian" } data_filler { value: 1 } data_filler { type: "uniform" } } }
layer { name: "lstm" type: "LSTM" bottom: "x" bottom: "cont" top: "h"
  param { name: "w" } param { name: "b" } param { name: "u" }
  recurrent_param { num_output: 4 weight_filler { type: "uniform" min: -0.5 max: 0.5 } } }
layer { name: "drop" type: "Dropout" bottom: "h" top: "h" }
layer { name: "again" type: "LSTM" bottom: "h" bottom: "cont" top: "i"
  param { name: "w" } param { name: "b" } param { name: "u" } recurrent_param { num_output: 4 } }
layer { name: "rnn" type: "RNN" bottom: "i" bottom: "cont" top: "z"
  recurrent_param { num_output: 4 weight_filler { type: "uniform" min: -0.5 max: 0.5 } } }
layer { name: "half" type: "Dropout" bottom: "z" top: "z" }
layer { name: "loss" type: "EuclideanLoss" bottom: "z" bottom: "y" top: "loss" }
"""


def train(
    tests: bool = True, *, ops: Ops | None = None, resume: str | None = None, more: str = ""
) -> Run:
    """Trains in the working directory; with a test before every other iteration."""
    net = (
        'net: "net.prototxt" test_iter: 2 test_interval: 2'
        if tests
        else 'train_net: "net.prototxt"'
    )
    Path("solver.prototxt").write_text(
        f"""{net} base_lr: 0.5 lr_policy: "fixed" momentum: 0.9 random_seed: 4 max_iter: 6
        snapshot: 1 snapshot_prefix: "s" {more}"""
    )
    return run_solver(Settings.read("solver.prototxt"), ops=ops, resume=resume)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)


def test_tests_leave_the_states_of_the_training_alone() -> None:
    tested = train()
    assert tested.history.losses == train(tests=False).history.losses
    states = [
        {layer.name: layer.state()["h"] for layer in net.layers if "h" in layer.state()}
        for net in (tested.solver.net, tested.solver.test_nets[0])
    ]
    for name in ("lstm", "again", "rnn"):
        assert (states[0][name] != states[1][name]).all()
        assert states[1][name].any()  # and are carried on from test to test


@pytest.mark.parametrize("more", ["", "snapshot_format: HDF5", "debug_info: true display: 2"])
def test_a_resumed_run_is_bit_equal(more: str, ops: Ops) -> None:
    ending = ".h5" if "HDF5" in more else ""
    whole = train(ops=ops, more=more)
    last = read_snapshot(Path(f"s_iter_6.solverstate{ending}"))
    for iteration in (1, 4):
        resumed = train(ops=ops, resume=f"s_iter_{iteration}.solverstate{ending}", more=more)
        losses = whole.history.losses.items()
        assert resumed.history.losses == {at: loss for at, loss in losses if at >= iteration}
        assert resumed.history.tests == [
            test for test in whole.history.tests if test.iteration >= iteration
        ]
        again = read_snapshot(Path(f"s_iter_6.solverstate{ending}"))
        np.testing.assert_equal(again.extra["nets"], last.extra["nets"])
        np.testing.assert_equal(again.history, last.history)
