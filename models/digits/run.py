"""The main job: from the embedded digits to tested weights, through caffepy's own commands."""

from __future__ import annotations

import sys
from pathlib import Path

from caffepy.models.digits.data import write_lmdbs
from caffepy.models.job import Job, mean_output

WANTED_ACCURACY = 0.97
FILES = ("train_val.prototxt", "solver.prototxt")


def main(folder: Path) -> int:
    """Writes the databases, computes the mean, trains, tests and draws the curves, all in `folder`.

    Returns the exit status: 0 where the accuracy is above WANTED_ACCURACY.
    """
    job = Job(folder, "caffepy.models.digits", FILES)
    job.begin()
    print(f"Writing the handwritten digits as LMDBs to {folder}", flush=True)
    write_lmdbs(folder)

    job.caffepy("compute_image_mean train_lmdb mean.binaryproto")
    job.caffepy("train --solver solver.prototxt", log="train.log")
    weights = job.weights()
    tested = job.caffepy(
        f"test --model train_val.prototxt --weights {weights.name} --iterations 4", log="test.log"
    )
    job.caffepy("plot_log train.log curves.png")

    accuracy = mean_output(tested, "accuracy")
    print(f"\nTest accuracy: {accuracy:.4f} on 360 digits that training never saw")
    print(f"Weights:       {weights}")
    print(f"Curves:        {folder / 'curves.png'}")
    return 0 if accuracy > WANTED_ACCURACY else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/digits").resolve()))
