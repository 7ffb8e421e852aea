"""Running the small whole nets whose forward and backward pass Caffe recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.weights import load_weights
from caffepy.proto.caffe_pb2 import TEST, TRAIN
from tests.harness import Compare, compare
from tests.nets import make_net

NETS = sorted((Path(__file__).parent / "golden").glob("*netfb/*"))


def run_net(folder: Path, ops: Ops, compare: Compare = compare) -> None:
    """One forward and one backward pass of a case of golden/netfb or golden/fork_netfb, recorded
    and then replayed; the forward pass alone where no gradient is recorded.

    Raises: NetError where a layer type is not implemented.
    """
    with np.load(folder / "case.npz") as arrays:
        case = dict(arrays)
    net = make_net(folder / "net.prototxt", ops, phase=TEST if int(case["phase"]) else TRAIN)
    learns = any(key.startswith("diff_") for key in case)
    for replayed in (False, True):
        load_weights(net, folder / "net.caffemodel")
        for name in net.inputs:
            net.blobs[name].data.write()[...] = case[f"in_{name}"]
        net.parameters.clear_diffs()
        if learns:
            net.forward_backward()
        else:
            net.forward()
        _compare_all(net, case, "replayed " * replayed, compare, learns)


def _compare_all(
    net: Net, case: dict[str, np.ndarray], prefix: str, compare: Compare, learns: bool
) -> None:
    """Everything that was recorded; diffs that were not are zero, if the net learns."""
    compare(net.loss.read(), case["loss"], f"{prefix}loss")
    blobs = {f"data_{name}": blob.data for name, blob in net.blobs.items()}
    blobs |= {f"diff_{name}": blob.diff for name, blob in net.blobs.items()}
    for layer in net.layers:
        for index, blob in enumerate(layer.blobs):
            blobs[f"pdata_{layer.name}_{index}"] = blob.data
            blobs[f"pdiff_{layer.name}_{index}"] = blob.diff
    recorded = {key for key in case if key.startswith(("data_", "diff_", "pdata_", "pdiff_"))}
    assert recorded <= blobs.keys()
    for key, value in blobs.items():
        if key in recorded or (learns and "diff_" in key):
            compare(value.read(), case.get(key, np.zeros(value.shape)), prefix + key)
