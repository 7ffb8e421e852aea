"""Features that Caffe's tool took out of a net over a database."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.data import datum
from caffepy.engine.data.db import open_db
from caffepy.engine.ops.base import Ops
from caffepy.engine.weights import load_weights
from caffepy.proto.caffe_pb2 import TEST
from tests.harness import compare
from tests.nets import make_net

BATCHES, BLOBS = 3, ("fc", "prob", "pool")


def test_a_net_over_a_database_gives_the_features_of_caffe(ops: Ops, golden: Path) -> None:
    formats = golden / "formats"
    net = make_net(formats / "features" / "net.prototxt", ops, phase=TEST, folders=(formats,))
    load_weights(net, formats / "features" / "net.caffemodel")
    found: dict[str, list[np.ndarray]] = {name: [] for name in BLOBS}
    for _ in range(BATCHES):
        net.forward()
        for name, batches in found.items():
            batches.append(net.blobs[name].data.read().copy())
    net.close()
    with np.load(formats / "features" / "features.npz") as expected:
        for name, batches in found.items():
            compare(np.concatenate(batches), expected[name], name)


@pytest.mark.parametrize("name", BLOBS)
def test_the_databases_of_the_tool_are_read(name: str, golden: Path) -> None:
    folder = golden / "formats" / "features"
    database = open_db(folder / f"{name}_lmdb", "lmdb")
    rows = [
        datum.array(datum.parse(value, name), name).reshape(-1) for _, value in database.records()
    ]
    database.close()
    with np.load(folder / "features.npz") as expected:
        np.testing.assert_array_equal(rows, expected[name].reshape(len(rows), -1))
