"""The benchmarks start and print their tables; what they measure is not looked at."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import caffepy.layers  # noqa: F401 - registers the layer types
from benchmarks.layer_cases import COMPUTE_NOTHING, cases
from caffepy.engine.core.registry import LAYERS

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("train_step --nets lenet --engines numpy --rounds 1 --seconds 0.01", "lenet, "),
        ("golden_deviations --engines numpy --sets means", "means"),
        ("layers --engine numpy --batch 2 --rounds 1 --seconds 0.0001", "Convolution 5x5 group 2 "),
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


def test_every_layer_type_that_computes_is_timed() -> None:
    timed = {case.type for case in cases(1)}
    own = {
        name: cls for name, cls in LAYERS.items() if cls.__module__.startswith("caffepy.layers.")
    }
    missing = own.keys() - timed - {*COMPUTE_NOTHING}
    assert [name for name in missing if own[name].records] == []
    assert timed <= own.keys()
