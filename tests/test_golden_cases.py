"""Every recorded case of Caffe and its forks is run by some test, and none was left behind."""

from __future__ import annotations

import filecmp
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

GOLDEN = Path(__file__).resolve().parent / "golden"
_LAYER_TESTS = [
    f"tests.layers.{path.stem}" for path in sorted((GOLDEN.parent / "layers").glob("test_*.py"))
]
# Sets of folders, one to a case, and the modules whose tests run them.
RUN_BY = {
    "layers": _LAYER_TESTS,
    "fork_layers": _LAYER_TESTS,
    "netfb": ["tests.integration.test_netfb"],
    "fork_netfb": ["tests.integration.test_netfb"],
    "fork_solvers": ["tests.engine.solver.test_detection_scores"],
    "nets": ["tests.engine.test_net"],
}
_PARAM = type(pytest.param())
COPIED = [*RUN_BY, "fillers", "stochastic", "fork_formats"]


def parameters(module: ModuleType) -> Iterator[Any]:
    """Every value that a test of the module is parametrised with."""
    for name, function in vars(module).items():
        if not name.startswith("test_"):
            continue
        for mark in getattr(function, "pytestmark", ()):
            if mark.name == "parametrize":
                for values in mark.args[1]:
                    parts = values.values if isinstance(values, _PARAM) else values
                    yield from parts if isinstance(parts, (tuple, list)) else (parts,)


@pytest.mark.parametrize("kind", RUN_BY)
def test_every_case_is_in_the_parameters_of_a_test(kind: str) -> None:
    found = {
        Path(value).name
        for module in RUN_BY[kind]
        for value in parameters(importlib.import_module(module))
        if isinstance(value, (str, Path))
    }
    cases = {folder.name for folder in (GOLDEN / kind).iterdir()}
    assert cases
    assert not cases - found


def test_every_state_of_a_net_is_built() -> None:
    module = importlib.import_module("tests.engine.test_net")
    built = {tuple(state.values) for state in module.STATES}
    for folder in (GOLDEN / "nets").iterdir():
        states = json.loads((folder / "shapes.json").read_text(encoding="utf-8"))["states"]
        assert {(folder, place) for place in range(len(states))} <= built


def test_every_filler_is_compared() -> None:
    module = importlib.import_module("tests.engine.test_filler")
    recorded = json.loads((GOLDEN / "fillers" / "fillers.json").read_text(encoding="utf-8"))
    names = {value for value in parameters(module) if isinstance(value, str)}
    assert set(recorded) <= names


def test_every_random_case_is_compared() -> None:
    module = importlib.import_module("tests.layers.test_dropout")
    recorded = json.loads((GOLDEN / "stochastic" / "stochastic.json").read_text(encoding="utf-8"))
    ratios = {value for value in parameters(module) if isinstance(value, float)}
    assert set(recorded) <= {f"dropout_train_{ratio}" for ratio in ratios}


@pytest.mark.parametrize("kind", COPIED)
def test_the_copies_are_complete_and_equal(kind: str, shared: Path) -> None:
    source = shared / "golden" / kind
    names = [str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()]
    assert names
    _, other, missing = filecmp.cmpfiles(source, GOLDEN / kind, names, shallow=False)
    assert (other, missing) == ([], [])
