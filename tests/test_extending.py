"""docs/extending.md: its files and commands, run in the order in which they stand there."""

from __future__ import annotations

import importlib.util
import re
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.port import CudaRuntime
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.tutorial import ROOT, Tutorial

TOLERANCE = 1e-6  # of float32, by another library's sine


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Tutorial:
    followed = Tutorial(tmp_path_factory.mktemp("tutorial"))
    followed.follow("extending.md")
    return followed


def test_the_text_does_what_it_says(tutorial: Tutorial) -> None:
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ (.*)$", text, re.MULTILINE)
    assert tutorial.printed.keys() == set(commands) != set()


def test_the_net_of_the_text_learns(tutorial: Tutorial) -> None:
    printed = tutorial.printed["caffepy train --solver solver.prototxt --layers mylayers.py"]
    losses = [float(number) for number in re.findall(r"Iteration \d+.*loss = (\S+)", printed)]
    assert losses[-1] < 1e-3 * losses[0]


@pytest.fixture
def module(
    tutorial: Tutorial, registry_as_before: None, monkeypatch: pytest.MonkeyPatch
) -> ModuleType:
    """The text's last mylayers.py."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec = importlib.util.spec_from_file_location("tutorial", tutorial.folder / "mylayers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_kernels_of_the_text_give_the_numbers_of_its_numpy_body(
    dtype: Any, module: ModuleType, cuda_runtime: CudaRuntime
) -> None:
    x, dy = np.random.default_rng(0).standard_normal((2, 3, 7))
    results = []
    for runtime in (None, cuda_runtime):
        ops = NumpyOps(dtype)
        ops.runtime = runtime
        values = [Value(x.shape, dtype) for _ in range(4)]
        values[0].write()[...] = x
        values[1].write()[...] = dy
        op = module.Sine(ops, 2.0, 3.0)
        op.forward(values[0], out=values[2])
        op.backward(values[1], values[0], out=values[3])
        results.append([value.read() for value in values[2:]])
    np.testing.assert_allclose(results[1], results[0], rtol=TOLERANCE, atol=TOLERANCE)
