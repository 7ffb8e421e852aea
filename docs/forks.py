"""The tables of docs/forks.md, between its markers: fork layers, what to do about those that are
not ours, and the dialects of binary files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from caffepy.engine.core.registry import LAYERS
from caffepy.engine.fork_types import FORK_OF, INSTEAD
from caffepy.proto.caffe_pb2 import LayerParameter
from caffepy.proto.dialects import FORK_OF as FORK_OF_DIALECT
from caffepy.proto.dialects import NUMBERS, reads
from caffepy.proto.fields import PRIVATE_NUMBERS

FILE = Path(__file__).resolve().parent / "forks.md"
_MARKED = re.compile(r"(<!-- (?!end)(\w+) -->\n).*?(?=<!-- end -->)", re.DOTALL)
_LINK = "[{0}](layers.md#{1})"


def text() -> str:
    """What the file should hold: what it holds, with current tables."""
    tables = {"ours": _ours(), "others": _others(), "dialects": _dialects()}

    def table(found: re.Match[str]) -> str:
        return found[1] + "\n".join(tables[found[2]]) + "\n"

    return _MARKED.sub(table, FILE.read_text(encoding="utf-8"))


def numbers(layer_type: str) -> dict[str, dict[int, list[str]]]:
    """The blocks of a type: their numbers in binary files, each with the dialects that have it."""
    found: dict[str, dict[int, list[str]]] = {}
    for name, field in LayerParameter.DESCRIPTOR.fields_by_name.items():
        if name.endswith("_param") and reads(layer_type, name):
            known = found.setdefault(name, {})
            if field.number not in PRIVATE_NUMBERS:
                known[field.number] = []
            for dialect, theirs in NUMBERS.items():
                if name in theirs:
                    known.setdefault(theirs[name], []).append(dialect)
    return found


def _ours() -> Iterable[str]:
    yield "| type | known from | its block: the block's numbers in binary files |"
    yield "|---|---|---|"
    for name in _sorted(name for name in FORK_OF if name in LAYERS):
        yield f"| {_LINK.format(name, name.lower())} | {FORK_OF[name]} | {_told(name)} |"


def _others() -> Iterable[str]:
    yield "| type | known from | its block: the block's numbers in binary files | instead |"
    yield "|---|---|---|---|"
    for name in _sorted(name for name in FORK_OF if name not in LAYERS):
        instead = INSTEAD.get(name, "Load a layer of your own.")
        yield f"| {name} | {FORK_OF[name]} | {_told(name)} | {instead} |"


def _dialects() -> Iterable[str]:
    yield "| name | fork |"
    yield "|---|---|"
    for name, fork in FORK_OF_DIALECT.items():
        yield f"| {name} | {fork} |"


def _told(name: str) -> str:
    """The blocks of a type with their numbers."""
    told = []
    for block, known in numbers(name).items():
        parts = [f"{number} {', '.join(forks)}".strip() for number, forks in sorted(known.items())]
        told.append(f"`{block}`: {'; '.join(parts)}")
    return "<br>".join(told) or "-"


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(names, key=str.lower)
