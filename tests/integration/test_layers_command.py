"""caffepy layers: the list of types, and the page of one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from caffepy.engine.core.registry import LAYERS
from tests.integration.refusals import Run

SIN = '''
from caffepy.engine.core.neuron_layer import NeuronLayer
from caffepy.engine.core.registry import register_layer

@register_layer("Sin")
class SinLayer(NeuronLayer):
    """y = sin(x).

    bottom[0]: any shape
    """

@register_layer("Untold")
class UntoldLayer(NeuronLayer):
    pass
'''


def test_lists_every_type_with_what_it_computes(run: Run) -> None:
    status, text = run("layers")
    assert status == 0
    sections = re.split(r"^(\S.*):\n", text, flags=re.M)[1:]
    assert sections[::2] == ["Caffe's", "Of its forks"]
    caffes, forks = (re.findall(r"^  (\w+)", section, re.M) for section in sections[1::2])
    assert sorted(caffes + forks) == sorted(LAYERS)
    assert "ReLU" in caffes
    assert "Axpy" in forks
    assert "y = |x|; the gradient at 0 is 0." in text


@pytest.mark.usefixtures("registry_as_before")
def test_lists_types_of_ones_own_behind_the_others(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SIN)
    status, text = run("layers", "--layers", "mine.py")
    assert status == 0
    assert re.search(r"\nLoaded:\n  Sin +y = sin\(x\)\.\n  Untold +It has no docstring\.\n", text)


def test_prints_the_page_of_a_type(run: Run) -> None:
    status, text = run("layers", "ReLU")
    assert status == 0
    assert text.startswith("ReLU\n\ny = max(x, 0)")
    for part in ("bottom[0]: any shape", "negative_slope (0)", "Source: ", 'type: "ReLU"'):
        assert part in text


@pytest.mark.usefixtures("registry_as_before")
def test_tells_of_types_of_ones_own(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SIN)
    status, text = run("layers", "Sin", "--layers", "mine.py")
    assert status == 0
    assert text.startswith("Sin\n\ny = sin(x).\n\nbottom[0]: any shape\n")
    status, text = run("layers", "Untold", "--layers", "mine.py")
    assert status == 0
    assert text.startswith("Untold\n\nIt has no docstring.")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("relu", "caffepy: type 'relu' does not exist. Did you mean 'ReLU'?"),
        ("Proposal", "caffepy: type 'Proposal' is known from the R-FCN fork, not implemented."),
    ],
)
def test_another_name_is_refused(name: str, message: str, run: Run) -> None:
    status, text = run("layers", name)
    assert status == 1
    assert text.startswith(message)


def test_takes_one_type_at_a_time(run: Run) -> None:
    assert run("layers", "ReLU", "TanH")[0] == 2
