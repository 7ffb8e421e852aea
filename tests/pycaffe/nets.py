"""Nets and solvers that the tests of pycaffe's interface run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import caffepy.pycaffe as caffe
from caffepy.engine.ops.base import Ops

# What pycaffe's own tests use, in small: data that stays, a convolution, a classifier, a loss.
TRAIN_NET = """
name: "trained" force_backward: true
layer { name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param { shape { dim: 5 dim: 2 dim: 3 dim: 4 } shape { dim: 5 }
    data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" value: 1 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 11 kernel_size: 2 pad: 3
    weight_filler { type: "gaussian" std: 1 } bias_filler { type: "constant" value: 2 } } }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip_blob"
  inner_product_param { num_output: 13
    weight_filler { type: "gaussian" std: 0.1 } bias_filler { type: "constant" value: -3 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip_blob" bottom: "label" top: "loss" }
"""

# An input that two layers read, so that there is a Split layer, a layer in place, two outputs.
TWO_HEADS = """
name: "heads" force_backward: true
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 4 dim: 3 } } }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a"
  inner_product_param { num_output: 2 weight_filler { type: "gaussian" } } }
layer { name: "relu" type: "ReLU" bottom: "a" top: "a" }
layer { name: "b" type: "InnerProduct" bottom: "x" top: "b"
  inner_product_param { num_output: 5 weight_filler { type: "gaussian" } } }
"""

SOLVER = {
    "net": "net.prototxt",
    "test_iter": 2,
    "test_interval": 10,
    "test_initialization": False,
    "base_lr": 0.01,
    "momentum": 0.9,
    "lr_policy": "step",
    "gamma": 0.5,
    "stepsize": 4,
    "max_iter": 6,
    "snapshot_after_train": False,
    "snapshot_prefix": "model",
    "random_seed": 3,
}


def open_text(
    folder: Path, definition: str, phase: int = caffe.TEST, ops: Ops | None = None
) -> caffe.Net:
    """The net of a definition, which is written into the folder."""
    (folder / "net.prototxt").write_text(definition)
    return caffe.Net(folder / "net.prototxt", phase, ops=ops)


def weights_of(net: caffe.Net) -> dict[str, list[np.ndarray]]:
    """Copies of all parameters."""
    return {name: [blob.data.copy() for blob in blobs] for name, blobs in net.params.items()}
