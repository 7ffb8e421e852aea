"""Layers of one name: they are told apart wherever a name is not enough."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from caffepy.engine.core.errors import WeightsError
from caffepy.engine.core.keys import Keys
from caffepy.engine.net import Net
from caffepy.engine.solver.solver import Solver
from caffepy.engine.weights import fit_weights, load_weights
from caffepy.engine.weights_file import save_weights
from tests.engine.solver.running import make_solver
from tests.nets import make_net

NET = """
name: "twins"
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 4 dim: 30 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "a"
  inner_product_param { num_output: 30 weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "a" top: "b" }
layer { name: "drop" type: "Dropout" bottom: "a" top: "c" }
layer { name: "ip" type: "InnerProduct" bottom: "b" top: "d"
  inner_product_param { num_output: 30 weight_filler { type: "xavier" } } }
"""
DATA = """
name: "twins"
layer { name: "data" type: "HDF5Data" top: "x" hdf5_data_param { source: "l.txt" batch_size: 2 } }
layer { name: "data" type: "HDF5Data" top: "x2" hdf5_data_param { source: "l.txt" batch_size: 3 } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "a"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "ip" type: "InnerProduct" bottom: "a" top: "b"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "all" type: "Reduction" bottom: "b" top: "loss" loss_weight: 1
  reduction_param { operation: SUMSQ } }
layer { name: "second" type: "Reduction" bottom: "x2" top: "sum" }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" display: 1 max_iter: 6
snapshot: 3 snapshot_prefix: "s" random_seed: 2 test_iter: 1 test_interval: 6
"""


def weights_of(net: Net) -> list[np.ndarray]:
    return [layer.blobs[0].data.read() for layer in net.layers if layer.name == "ip"]


def test_keys_are_unique_whatever_the_names() -> None:
    keys = Keys()
    assert [keys.take(name) for name in ("a", "b", "a", "a", "a#2", "b#2", "b")] == [
        "a", "b", "a#2", "a#3", "a#2#2", "b#2", "b#3",
    ]  # fmt: skip


def test_layers_of_one_name_have_random_numbers_of_their_own() -> None:
    net = make_net(NET)
    first, second = weights_of(net)
    assert (first != second).any()
    net.blobs["x"].data.write()[...] = 1
    net.forward()
    dropped = [net.blobs[name].data.read() == 0 for name in "bc"]
    assert (dropped[0] != dropped[1]).any()


def test_a_file_gives_layers_of_one_name_each_its_own_weights(tmp_path: Path) -> None:
    net, other = make_net(NET), make_net(NET, seed=5)
    save_weights(net, tmp_path / "w.caffemodel")
    load_weights(other, str(tmp_path / "w.caffemodel"))
    np.testing.assert_equal(weights_of(other), weights_of(net))
    alone = make_net(NET.rpartition("layer")[0])
    load_weights(alone, str(tmp_path / "w.caffemodel"))  # as in Caffe the last one wins
    np.testing.assert_equal(weights_of(alone), weights_of(net)[1:])


def test_a_run_with_layers_of_one_name_resumes_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with h5py.File("a.h5", "w") as file:
        random = np.random.default_rng(0)
        file["x"] = file["x2"] = random.standard_normal((7, 4)).astype(np.float32)
    Path("l.txt").write_text("a.h5\n")
    Path("net.prototxt").write_text(DATA)
    solver = make_solver(SOLVER)
    solver.solve()
    _assert_shared(solver)
    resumed = make_solver(SOLVER, resume="s_iter_3.solverstate")
    resumed.solve()
    np.testing.assert_equal(weights_of(resumed.net), weights_of(solver.net))
    for name in ("x", "x2"):
        np.testing.assert_equal(
            resumed.net.blobs[name].data.read(), solver.net.blobs[name].data.read()
        )


def _assert_shared(solver: Solver) -> None:
    first, second = (
        [layer.blobs[0].data for layer in net.layers if layer.name == "ip"]
        for net in (solver.net, solver.test_nets[0])
    )
    assert [one.shares_memory_with(two) for one, two in zip(first, second, strict=True)] == [
        True, True,
    ]  # fmt: skip


def test_a_file_that_lacks_one_of_them_is_not_complete(tmp_path: Path) -> None:
    path = tmp_path / "w.caffemodel"
    save_weights(make_net(NET.rpartition("layer")[0]), path)
    with pytest.raises(WeightsError, match="got none of 'ip'"):
        fit_weights(make_net(NET), path, complete=True)
