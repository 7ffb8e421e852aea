"""The benchmarks start and print their tables; what they measure is not looked at."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("train_step --nets lenet --engines numpy --rounds 1 --seconds 0.01", "lenet, "),
        ("golden_deviations --engines numpy --sets means", "means"),
    ],
)
def test_a_benchmark_runs(command: str, wanted: str, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", *f"benchmarks.{command}".split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert wanted in run.stdout
