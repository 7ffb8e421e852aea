"""Recurrent nets through the real command."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from tests.integration.refusals import Run

NET = """
layer { name: "data" type: "HDF5Data" top: "word" top: "cont" top: "label"
  hdf5_data_param { source: "train.txt" batch_size: 4 shuffle: true } }
layer { name: "embed" type: "Embed" bottom: "word" top: "embed"
  embed_param { input_dim: 7 num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "lstm" type: "LSTM" bottom: "embed" bottom: "cont" top: "lstm"
  recurrent_param { num_output: 6 weight_filler { type: "xavier" } } }
layer { name: "rnn" type: "RNN" bottom: "lstm" bottom: "cont" top: "rnn"
  recurrent_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "score" type: "InnerProduct" bottom: "rnn" top: "score"
  inner_product_param { num_output: 3 axis: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss"
  softmax_param { axis: 2 } }
"""
SOLVER = """net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" momentum: 0.9 max_iter: 8
snapshot: 3 random_seed: 3 snapshot_prefix: "straight" """


def write_sequences(folder: Path) -> None:
    """Two sequences of words 0 to 6 that go on across the borders of batches."""
    random = np.random.default_rng(0)
    with h5py.File(folder / "train.h5", "w") as file:
        file["word"] = random.integers(0, 7, (12, 2)).astype(np.float32)
        file["cont"] = (random.random((12, 2)) > 0.2).astype(np.float32)
        file["label"] = random.integers(0, 3, (12, 2)).astype(np.float32)
    (folder / "train.txt").write_text("train.h5\n")


def test_a_resumed_run_has_the_states_of_one_that_went_on(run: Run, tmp_path: Path) -> None:
    write_sequences(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    (tmp_path / "again.prototxt").write_text(SOLVER.replace("straight", "again"))
    assert run("train", "--engine", "numpy", "--solver", "solver.prototxt")[0] == 0
    resume = ("--snapshot", "straight_iter_3.solverstate")
    assert run("train", "--engine", "numpy", "--solver", "again.prototxt", *resume)[0] == 0
    straight, again = (
        (tmp_path / f"{prefix}_iter_8.caffemodel").read_bytes() for prefix in ("straight", "again")
    )
    assert straight == again


def test_a_word_outside_the_dictionary_is_refused_with_its_row(run: Run, tmp_path: Path) -> None:
    write_sequences(tmp_path)
    with h5py.File(tmp_path / "train.h5", "r+") as file:
        file["word"][9, 1] = 7
    (tmp_path / "net.prototxt").write_text(NET.replace("shuffle: true", ""))
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    status, text = run("train", "--engine", "numpy", "--solver", "solver.prototxt")
    assert status == 1
    assert "index blob 'word', sample 1 of the batch at (1,) (row 9" in text
    assert "expected 0 to 6, got 7. Correct the data, or set embed_param.input_dim" in text
