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


def run_batches(formats: Path, case: str, ops: Ops, compare: Compare = equal) -> None:
    """The first four batches of golden/formats/transforms/<case>, in phase TEST.

    formats: the folder in which the case's relative paths lead somewhere.
    """
    folder = Path(__file__).parent / "golden" / "formats" / "transforms" / case
    net = text_format.Parse((folder / "net.prototxt").read_text(), NetParameter())
    with np.load(folder / "batches.npz") as arrays:
        expected = dict(arrays)
    run = make_layer(net.layer[0], [], ops=ops, phase=TEST, folders=(formats,))
    try:
        for batch in range(4):
            for top, array in zip(run.top, run.forward(), strict=True):
                wanted = expected[f"batch_{batch}_{top.name}"]
                assert array.shape == wanted.shape
                compare(array, wanted, f"batch {batch}, {top.name}")
    finally:
        run.layer.close()
