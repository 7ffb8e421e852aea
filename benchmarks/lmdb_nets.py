"""The nets of benchmarks as one trains them: fed by a Data layer from an LMDB of random images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.nets import NETS
from caffepy.engine.data import datum
from caffepy.engine.data.db import create_db
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import (
    BlobProto,
    DataParameter,
    LayerParameter,
    NetParameter,
    SolverParameter,
    TransformationParameter,
)


@dataclass(frozen=True)
class Feed:
    """How the published definition of a net is fed.

    image: (C, H, W) of a record.  transform: what is done to it; `mean.binaryproto` is made beside
    the LMDB where it is named.  records: in the LMDB.  display: how often its solver logs.
    """

    image: tuple[int, int, int]
    transform: str
    records: int
    display: int


NEVER = 1 << 30  # an interval that makes `train` write its records, but no snapshot
FEEDS = {
    "lenet": Feed((1, 28, 28), "scale: 0.00390625", 2048, 100),
    "caffenet": Feed(
        (3, 256, 256), 'mirror: true crop_size: 227 mean_file: "mean.binaryproto"', 256, 20
    ),
    "googlenet": Feed(
        (3, 256, 256),
        "mirror: true crop_size: 224 mean_value: 104 mean_value: 117 mean_value: 123",
        1024,
        40,
    ),
}


def write_training(
    folder: Path, net: str, iterations: int, batch: int | None = None, records: int | None = None
) -> Path:
    """Makes LMDB, mean, net and solver of a net in an empty folder; the path of the solver.

    iterations: after which the training ends, without any snapshot.  batch, records: instead of
    the net's own.
    """
    feed = FEEDS[net]
    param = NETS[net].param(batch)
    classes = int(param.layer[0].dummy_data_param.data_filler[1].value) + 1
    random = np.random.default_rng(1)
    with create_db(folder / "lmdb", "lmdb") as writer:
        for number in range(records or feed.records):
            pixels = random.integers(256, size=feed.image, dtype=np.uint8)
            record = datum.raw(pixels, int(random.integers(classes)))
            writer.put(f"{number:08}".encode(), record.SerializeToString())
    mean = BlobProto(num=1, channels=feed.image[0], height=feed.image[1], width=feed.image[2])
    mean.data.extend([127.5] * int(np.prod(feed.image)))
    (folder / "mean.binaryproto").write_bytes(mean.SerializeToString())
    (folder / "net.prototxt").write_text(text.write(_fed(param, feed)))
    solver = SolverParameter(
        net="net.prototxt", base_lr=1e-3, lr_policy="fixed", momentum=0.9, weight_decay=5e-4,
        display=feed.display, max_iter=iterations, random_seed=1, snapshot=NEVER,
        snapshot_prefix=str(folder / "run"), snapshot_after_train=False,
    )  # fmt: skip
    (folder / "solver.prototxt").write_text(text.write(solver))
    return folder / "solver.prototxt"


def _fed(param: NetParameter, feed: Feed) -> NetParameter:
    """The net with a Data layer in place of the layer that fills its input."""
    made, rest = param.layer[0], param.layer[1:]
    source = DataParameter(
        source="lmdb", batch_size=made.dummy_data_param.shape[0].dim[0], backend=DataParameter.LMDB
    )
    layer = LayerParameter(name=made.name, type="Data", top=made.top, data_param=source)
    layer.transform_param.CopyFrom(text.parse(feed.transform, TransformationParameter))
    return NetParameter(name=param.name, layer=[layer, *rest])
