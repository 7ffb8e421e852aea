"""What a net keeps from pass to pass, over 1,000 iterations of the real command."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from caffepy.proto import weights
from tests.integration.refusals import Run

NET = """
layer { name: "data" type: "HDF5Data" top: "data" top: "label"
  hdf5_data_param { source: "train.txt" batch_size: 8 shuffle: true } }
layer { name: "fc1" type: "InnerProduct" bottom: "data" top: "fc1"
  inner_product_param { num_output: 6 weight_filler { type: "xavier" } } }
layer { name: "norm" type: "BatchNorm" bottom: "fc1" top: "norm"
  batch_norm_param { moving_average_fraction: 0.99 } }
layer { name: "drop" type: "Dropout" bottom: "norm" top: "norm" }
layer { name: "fc2" type: "InnerProduct" bottom: "norm" top: "fc2"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc2" bottom: "label" top: "loss" }
"""
SOLVER = """net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 max_iter: 1000
snapshot: 500 """


def train(run: Run, folder: Path, prefix: str, seed: int, *options: str) -> bytes:
    """Trains from a folder that holds the net, and gives the final weights file."""
    (folder / f"{prefix}.prototxt").write_text(
        SOLVER + f'random_seed: {seed} snapshot_prefix: "{prefix}"'
    )
    command = ("train", "--engine", "numpy", "--solver", f"{prefix}.prototxt", *options)
    assert run(*command)[0] == 0
    return (folder / f"{prefix}_iter_1000.caffemodel").read_bytes()


def test_batch_norm_and_dropout_through_1000_iterations(run: Run, tmp_path: Path) -> None:
    """Equal bits from equal seeds and after a resume; other masks from another seed."""
    random = np.random.default_rng(0)
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["data"] = random.standard_normal((60, 3)) * 5 + 100
        file["label"] = random.integers(0, 2, 60)
    (tmp_path / "train.txt").write_text("train.h5\n")
    (tmp_path / "net.prototxt").write_text(NET)

    straight = train(run, tmp_path, "straight", 3)
    assert train(run, tmp_path, "same", 3) == straight
    assert train(run, tmp_path, "other", 4) != straight
    resume = ("--snapshot", "straight_iter_500.solverstate")
    assert train(run, tmp_path, "again", 3, *resume) == straight

    layers = weights.read(tmp_path / "straight_iter_1000.caffemodel")
    (norm,) = (layer for layer in layers if layer.name == "norm")
    mean, variance, weight = (blob.data for blob in norm.blobs)
    expected = (1 - 0.99**1000) / (1 - 0.99)
    np.testing.assert_allclose(weight, expected, rtol=1e-4)
    assert np.isfinite(mean).all()
    assert (variance > 0).all()
