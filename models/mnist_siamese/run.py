"""The main job: from the embedded digits to a tested siamese net, through caffepy's commands."""

from __future__ import annotations

import sys
from pathlib import Path

from caffepy.models.digits.data import split, write_idx
from caffepy.models.job import Job, mean_output
from caffepy.models.mnist_siamese.embedding import draw, features

WANTED_ACCURACY = 0.95
FILES = ("train_val.prototxt", "solver.prototxt", "deploy.prototxt")


def job(folder: Path) -> Job:
    """The job in this folder."""
    return Job(folder, "caffepy.models.mnist_siamese", FILES, made=("*.idx?",))


def main(folder: Path) -> int:
    """Writes digits and pairs, trains, tests and draws curves and points, all in `folder`.

    Returns the exit status: 0 where the accuracy is above WANTED_ACCURACY.
    """
    steps = job(folder)
    steps.begin()
    print(f"Writing the handwritten digits in MNIST's format to {folder}", flush=True)
    write_idx(folder)

    for part, pairs in (("train", 20000), ("test", 4000)):
        files = f"{part}-images.idx3 {part}-labels.idx1 {part}_lmdb"
        steps.caffepy(f"convert_mnist {files} --siamese --pairs {pairs} --alike 0.5")
    steps.caffepy("train --solver solver.prototxt", log="train.log")
    weights = steps.weights()
    tested = steps.caffepy(
        f"test --model train_val.prototxt --weights {weights.name} --iterations 40", log="test.log"
    )
    steps.caffepy("plot_log train.log curves.png")
    images, labels = split()["test"]
    draw(features(folder / "deploy.prototxt", weights, images), labels, folder / "points.png")

    accuracy = mean_output(tested, "accuracy")
    print(f"\nTest accuracy: {accuracy:.4f} on 4,000 pairs of 360 digits that training never saw")
    print(f"Weights:       {weights}")
    print(f"Curves:        {folder / 'curves.png'}")
    print(f"Points:        {folder / 'points.png'}")
    return 0 if accuracy > WANTED_ACCURACY else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/mnist_siamese").resolve()))
