"""docs/gpu.md names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.ops.cuda.backend import PRECISIONS

ROOT = Path(__file__).resolve().parent.parent
TABLE = (ROOT / "docs/gpu.md").read_text(encoding="utf-8").partition("## What runs through what")[2]
ROWS = re.findall(r"^\| (.+) \| (.+) \|$", TABLE.partition("\n## ")[0], re.MULTILINE)


def test_every_file_of_kernels_is_named() -> None:
    there = {path.name for path in (ROOT / "engine/ops/cuda/kernels").glob("*.cu")}
    assert there <= {name for _, by in ROWS for name in re.findall(r"`(\w+\.cu)`", by)}


def test_layers_that_are_named_exist() -> None:
    named = {word for what, _ in ROWS for word in re.findall(r"\b[A-Z][A-Za-z0-9]+\b", what)}
    assert len(named) > 40
    assert named <= set(LAYERS)


def test_every_precision_is_told() -> None:
    text = (ROOT / "docs/gpu.md").read_text(encoding="utf-8")
    assert all(f"| `{one}` " in text for one in PRECISIONS)
