"""Timing a caffe binary by its own `caffe time`."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

from caffepy.proto import text
from caffepy.proto.caffe_pb2 import NetParameter

PASSES = {"TRAIN": "Forward-Backward", "TEST": "Forward pass"}


class CaffeError(Exception):
    """The binary did not run, or did not say how long it took."""


def time_caffe(path: str, param: NetParameter, phase: str, iterations: int, threads: int) -> float:
    """Milliseconds of a forward and backward pass, in phase TEST of a forward pass. caffe does not
    time the update.

    Raises: CaffeError.
    """
    counts = dict.fromkeys(("OMP", "OPENBLAS", "MKL"), str(threads))
    environment = {f"{name}_NUM_THREADS": count for name, count in counts.items()}
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "net.prototxt")
        model.write_text(text.write(param))
        command = [
            path, "time", "-model", str(model), "-phase", phase, "-iterations", str(iterations),
        ]  # fmt: skip
        try:
            run = subprocess.run(
                command,
                env={**os.environ, **environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
            )
        except OSError as error:
            raise CaffeError(f"{path}: expected a program, got: {error}.") from None
    wanted = f"Average {PASSES[phase]}: "
    found = re.search(re.escape(wanted) + r"([0-9.e+-]+) ms", run.stdout)
    if run.returncode or found is None:
        last = " ".join(run.stdout.strip().splitlines()[-3:]) or "nothing"
        raise CaffeError(
            f"{path} time: expected a line '{wanted}... ms', got exit status {run.returncode} and "
            f"at the end: {last}. Name a CPU build of BVLC caffe."
        )
    return float(found[1])
