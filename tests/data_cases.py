"""Running data layers on the batches that Caffe was seen to make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format

from caffepy.engine.ops.base import Ops
from caffepy.proto.caffe_pb2 import TEST, NetParameter
from tests.harness import Compare, make_layer


def equal(found: Any, expected: Any, what: str) -> None:
    """Equal to the last bit."""
    np.testing.assert_array_equal(found, expected, what)


GOLDEN = Path(__file__).parent / "golden"


def run_batches(
    formats: Path, case: str, ops: Ops, compare: Compare = equal, kind: str = "formats"
) -> None:
    """The first four batches of golden/<kind>/transforms/<case>, in phase TEST; labels are compared
    to the last bit.

    formats: the folder in which the case's relative paths lead somewhere.
    """
    folder = GOLDEN / kind / "transforms" / case
    net = text_format.Parse((folder / "net.prototxt").read_text(), NetParameter())
    with np.load(folder / "batches.npz") as arrays:
        expected = dict(arrays)
    run = make_layer(net.layer[0], [], ops=ops, phase=TEST, folders=(formats,))
    try:
        for batch in range(4):
            for top, array in zip(run.top, run.forward(), strict=True):
                wanted = expected[f"batch_{batch}_{top.name}"]
                assert array.shape == wanted.shape
                check = compare if top.name == "data" else equal
                check(array, wanted, f"batch {batch}, {top.name}")
    finally:
        run.layer.close()


def run_annotated(case: str, ops: Ops, compare: Compare = equal) -> None:
    """The images of golden/fork_formats/transforms/<case>, read by a Data layer, which gives no
    boxes; a label per image, where there is one."""
    formats = GOLDEN / "fork_formats"
    net = text_format.Parse(
        (formats / "transforms" / case / "net.prototxt").read_text(), NetParameter()
    )
    param = net.layer[0]
    param.type = "Data"
    with np.load(formats / "transforms" / case / "batches.npz") as arrays:
        expected = dict(arrays)
    run = make_layer(param, [], ops=ops, phase=TEST, folders=(formats,))
    try:
        for batch in range(4):
            data, *labels = run.forward()
            assert data.shape == expected[f"batch_{batch}_data"].shape
            compare(data, expected[f"batch_{batch}_data"], f"batch {batch}")
            if "class" in case:
                equal(labels[0], expected[f"batch_{batch}_label"].ravel(), f"batch {batch}, label")
    finally:
        run.layer.close()
