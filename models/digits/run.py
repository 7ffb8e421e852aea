"""The main job: from the embedded digits to tested weights, through caffepy's own commands."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

from caffepy.models.digits.data import write_lmdbs

WANTED_ACCURACY = 0.97
FILES = ("train_val.prototxt", "solver.prototxt")
MADE = ("*_lmdb", "mean.binaryproto", "*.caffemodel", "*.solverstate", "*.log", "curves.png")


def main(folder: Path) -> int:
    """Writes the databases, computes the mean, trains, tests and draws the curves, all in `folder`.

    Returns the exit status: 0 where the accuracy is above WANTED_ACCURACY.
    """
    if folder.exists():
        if not _is_of_a_run(folder):
            sys.exit(
                f"{folder} exists and holds other things than a run leaves: remove it, or name "
                "another folder."
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_bytes(_embedded(name))
    print(f"Writing the handwritten digits as LMDBs to {folder}", flush=True)
    write_lmdbs(folder)

    _caffepy(folder, "compute_image_mean train_lmdb mean.binaryproto")
    _caffepy(folder, "train --solver solver.prototxt", log="train.log")
    weights = max(folder.glob("*.caffemodel"), key=lambda path: path.stat().st_mtime)
    tested = _caffepy(
        folder,
        f"test --model train_val.prototxt --weights {weights.name} --iterations 4",
        log="test.log",
    )
    _caffepy(folder, "plot_log train.log curves.png")

    accuracy = float(re.findall(r"\] accuracy = (\S+)", tested)[-1])
    print(f"\nTest accuracy: {accuracy:.4f} on 360 digits that training never saw")
    print(f"Weights:       {weights}")
    print(f"Curves:        {folder / 'curves.png'}")
    return 0 if accuracy > WANTED_ACCURACY else 1


def _is_of_a_run(folder: Path) -> bool:
    """Whether a folder holds these prototxt files, and nothing that `main` does not write."""
    return all(
        (folder / name).is_file() and (folder / name).read_bytes() == _embedded(name)
        for name in FILES
    ) and all(any(path.match(made) for made in (*FILES, *MADE)) for path in folder.iterdir())


def _embedded(name: str) -> bytes:
    return resources.files("caffepy.models.digits").joinpath(name).read_bytes()


def _caffepy(folder: Path, arguments: str, log: str = "") -> str:
    """Runs one command as a user would, shows its output, and keeps it in the file `log`."""
    print(f"\n$ caffepy {arguments}", flush=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "caffepy", *arguments.split()],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    if process.wait():
        sys.exit(
            f"caffepy {arguments.split(maxsplit=1)[0]} failed with status {process.returncode}."
        )
    if log:
        (folder / log).write_text("".join(lines), encoding="utf-8")
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/digits").resolve()))
