"""How far each layer type is tested: recorded cases of Caffe and its forks, gradient checks."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from caffepy.engine.core.layer import Layer
from caffepy.engine.core.registry import LAYERS
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import NetParameter
from caffepy.proto.splits import insert_splits

TESTS = Path(__file__).resolve().parent.parent / "tests"
GOLDEN = TESTS / "golden"
_CHECKS = {"check_layer_gradient", "check_layer", "check_gradient"}
_COLUMNS = {  # those of forks lie in sets of their own, such as fork_layers
    "layers": "*layers/*/net.prototxt",
    "netfb": "*netfb/*/net.prototxt",
    "nets": "nets/*/shapes.json",
    "batches": "*formats/transforms/*/net.prototxt formats/memory_data/net.prototxt "
    "formats/hdf5_output/net.prototxt",
}


@dataclass
class Coverage:
    """cases: how many cases of each set in _COLUMNS hold the type.  gradient: the tests that check
    its gradient, or why there is none to check; empty where something is missing."""

    cases: dict[str, int]
    gradient: str


def coverage() -> dict[str, Coverage]:
    """The coverage of every registered type."""
    sets = {
        "layers": _count({file.parent.name.split("__")[0]} for file in _cases("layers")),
        "netfb": _count(map(_types, _cases("netfb"))),
        "nets": _count(map(_built_types, _cases("nets"))),
        "batches": _count(map(_types, _cases("batches"))),
    }
    return {
        name: Coverage({key: count[name] for key, count in sets.items()}, _gradient(cls))
        for name, cls in LAYERS.items()
    }


def table() -> str:
    """The coverage as Markdown."""
    rows = [
        f"| [{name}](#{name.lower()}) | "
        + " | ".join(str(found.cases[column] or "") for column in _COLUMNS)
        + f" | {found.gradient} |"
        for name, found in coverage().items()
    ]
    totals = f"{len(rows)} types; cases: " + ", ".join(
        f"{column} {len(_cases(column))}" for column in _COLUMNS
    )
    head = f"| type | {' | '.join(_COLUMNS)} | gradient |"
    rule = "|---|" + "---:|" * len(_COLUMNS) + "---|"
    return "\n".join((f"{totals}.\n", head, rule, *rows)) + "\n"


def _cases(column: str) -> list[Path]:
    """The files that stand for the cases of a set."""
    return sorted(file for pattern in _COLUMNS[column].split() for file in GOLDEN.glob(pattern))


def _count(sets: Iterable[set[str]]) -> Counter[str]:
    """In how many of the sets each name is."""
    return Counter(name for names in sets for name in names)


def _types(prototxt: Path) -> set[str]:
    """The layer types of a net, with the Split layers that are put in."""
    return {layer.type for layer in insert_splits(text.read(prototxt, NetParameter)).layer}


def _built_types(shapes: Path) -> set[str]:
    """The layer types of a net in all the states that Caffe built it in."""
    states = json.loads(shapes.read_text(encoding="utf-8"))["states"]
    return {layer["type"] for state in states for layer in state.get("layers", ())}


def _gradient(cls: type[Layer]) -> str:
    """What is to be said of a type's gradient."""
    file = TESTS / "layers" / f"test_{cls.__module__.rpartition('.')[2]}.py"
    tests = [
        node
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    checks = [test.name for test in tests if _calls(test) & _CHECKS]
    if checks:
        return f"{file.name}: " + ", ".join(f"`{name}`" for name in checks)
    if cls.bottoms == 0:
        return "no bottom"
    if cls.backward is Layer.backward or _only_refuses(cls):
        return "has none"
    named = [test.name for test in tests if "gradient" in test.name]
    return f"{file.name}: " + ", ".join(f"`{name}`" for name in named) if named else ""


def _calls(function: ast.FunctionDef) -> set[str]:
    """The names of the functions that are called in one."""
    return {
        node.func.id
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


def _only_refuses(cls: type[Layer]) -> bool:
    """Whether backward is nothing but a call of refuse_backward."""
    source = textwrap.dedent(inspect.getsource(cls.backward))
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    return len(function.body) == 1 and "refuse_backward(" in ast.unparse(function.body[0])
