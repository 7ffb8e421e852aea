"""A picture of what a trained detector finds in images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import caffepy
from caffepy.engine.core.errors import DataError
from caffepy.engine.files import written_whole
from caffepy.models.ssd_shapes.data import KINDS

MEAN, SCALE = np.float32(122), np.float32(0.0078125)  # transform_param of train_val.prototxt
COLOURS = ("#ffffff", "#ffd000", "#ff60ff")  # of the kinds' boxes
_COLUMNS = 8


def detections(model: Path, weights: Path, pixels: Sequence[np.ndarray]) -> np.ndarray:
    """(rows, 7) float32: image, class, score, xmin, ymin, xmax, ymax (0 to 1) of what the net finds
    in images (height, width, 3) uint8, BGR, of one size."""
    batch = (np.stack(pixels).transpose(0, 3, 1, 2) - MEAN) * SCALE  # (N, 3, height, width)
    with caffepy.Net(str(model), str(weights), phase="TEST") as net:
        net.blobs["data"].reshape(*batch.shape)
        net.reshape()
        rows: np.ndarray = net.forward(data=batch)["detection_out"][0, 0].copy()
    return rows[rows[:, 1] >= 0]  # -1 stands for an image where nothing was found


def draw(model: Path, weights: Path, pixels: Sequence[np.ndarray], picture: Path) -> None:
    """Writes a picture of the images with what is found in each.

    Raises: DataError where the picture cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    found = detections(model, weights, pixels)
    rows = -(-len(pixels) // _COLUMNS)
    figure = Figure(figsize=(2 * _COLUMNS, 2.1 * rows), layout="constrained")
    for number, (axes, image) in enumerate(
        zip(figure.subplots(rows, _COLUMNS).flat, pixels, strict=True)
    ):
        height, width = image.shape[:2]
        axes.imshow(image[..., ::-1])  # RGB
        axes.set_axis_off()
        for _, label, score, left, top, right, bottom in found[found[:, 0] == number]:
            colour = COLOURS[int(label) - 1]
            corner = left * width - 0.5, top * height - 0.5  # pixel 0 is drawn from -0.5 on
            size = (right - left) * width, (bottom - top) * height
            axes.add_patch(Rectangle(corner, *size, fill=False, color=colour, linewidth=1.5))
            name = f"{KINDS[int(label) - 1]} {score:.2f}"
            axes.text(*corner, name, color="black", backgroundcolor=colour, fontsize=6, va="bottom")
    with written_whole(picture, DataError) as temporary:
        figure.savefig(temporary, format=picture.suffix.removeprefix("."), dpi=120)
