"""The main job: from drawn shapes to a tested detector, through caffepy's own commands."""

from __future__ import annotations

import sys
from pathlib import Path

from caffepy.models.job import Job, mean_average_precision
from caffepy.models.ssd_shapes import data
from caffepy.models.ssd_shapes.picture import draw

WANTED_PRECISION = 0.9
FILES = ("train_val.prototxt", "solver.prototxt", "deploy.prototxt")
MADE = (
    "images",
    "annotations",
    "train.txt",
    "test.txt",
    "names.txt",
    "labelmap.prototxt",
    "*.json",
)
SHOWN = 24  # images in the picture


def job(folder: Path) -> Job:
    """The job in this folder."""
    return Job(folder, "caffepy.models.ssd_shapes", FILES, made=MADE)


def main(folder: Path) -> int:
    """Draws the images, makes the databases, trains, tests and shows detections, all in `folder`.

    Returns the exit status: 0 where the mean average precision is above WANTED_PRECISION.
    """
    steps = job(folder)
    steps.begin()
    print(f"Drawing {sum(data.COUNTS.values())} images of shapes in {folder}", flush=True)
    data.write(folder)

    steps.caffepy("create_label_map --include_background names.txt labelmap.prototxt")
    for part in data.COUNTS:
        steps.caffepy(
            "convert_annoset --anno_type detection --label_type xml --label_map_file "
            f"labelmap.prototxt --encoded --encode_type png ./ {part}.txt {part}_lmdb"
        )
    steps.caffepy("train --solver solver.prototxt", log="train.log")
    weights = steps.weights()
    tested = steps.caffepy(
        f"test_detection --model train_val.prototxt --weights {weights.name} --iterations 20 "
        "--ap 11point",
        log="test.log",
    )
    steps.caffepy("plot_log train.log curves.png")
    pixels = [data.scene("test", number)[0] for number in range(SHOWN)]
    draw(folder / "deploy.prototxt", weights, pixels, folder / "detections.png")

    precision = mean_average_precision(tested)
    print(f"\nMean average precision: {precision:.4f} on 400 images that training never saw")
    print(f"Weights:    {weights}")
    print(f"Curves:     {folder / 'curves.png'}")
    print(f"Detections: {folder / 'detections.png'}")
    return 0 if precision > WANTED_PRECISION else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/ssd_shapes").resolve()))
