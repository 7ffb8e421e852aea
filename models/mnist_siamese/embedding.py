"""A picture of where a trained siamese net puts digits in the plane."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.errors import DataError
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.files import written_whole
from caffepy.engine.net import Net
from caffepy.engine.ops.select import make_ops
from caffepy.engine.weights import load_weights
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import TEST, NetParameter, NetState

SCALE = np.float32(0.00390625)  # transform_param.scale of train_val.prototxt


def features(model: Path, weights: Path, images: np.ndarray) -> np.ndarray:
    """(N, 2) float32: the points that the deploy net gives the middles of images (N, height, width)
    of bytes."""
    param = text.read(model, NetParameter)
    net = Net(param, NetState(phase=TEST), ops=make_ops("auto"), registry=LAYERS)
    load_weights(net, weights)
    height, width = net.blobs["data"].shape[2:]
    top, left = (images.shape[1] - height) // 2, (images.shape[2] - width) // 2
    pixels = images[:, None, top : top + height, left : left + width] * SCALE  # (N, 1, ...)
    net.blobs["data"].reshape(pixels.shape)
    net.reshape()
    net.blobs["data"].data.write()[...] = pixels
    net.forward()
    points: np.ndarray = net.blobs["feat"].data.read().copy()
    net.close()
    return points


def draw(points: np.ndarray, labels: np.ndarray, picture: Path) -> None:
    """Writes a picture of points (N, 2), each as its label (N,) in the label's colour.

    Raises: DataError where the picture cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 7), layout="constrained")
    axes = figure.subplots()
    axes.scatter(points[:, 0], points[:, 1], c=labels, cmap="tab10", s=70, alpha=0.25, linewidths=0)
    for (x, y), label in zip(points, labels, strict=True):
        axes.text(x, y, str(label), fontsize=7, ha="center", va="center")
    axes.set_aspect("equal")
    axes.set_title(f"{len(points)} digits that training never saw; nearer than 1 counts as alike")
    axes.grid(alpha=0.3)
    with written_whole(picture, DataError) as temporary:
        figure.savefig(temporary, format=picture.suffix.removeprefix("."), dpi=120)
