"""Writes docs/layers.md, a page for each layer type, out of its docstring, and what is tested; and
the tables of docs/forks.md.

python -m docs.generate            # in the root of a checkout
python -m docs.generate --check    # fails where a file is not current, and writes nothing
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.data.transformer import Transformer
from caffepy.engine.known_types import is_caffes
from docs import coverage, forks
from docs.pages import markdown, read_page

FILE = Path(__file__).resolve().parent / "layers.md"
HEAD = """# The layers

Made from the docstrings in `layers/` by `python -m docs.generate`: change those, not this file.
`caffepy layers TYPE` prints the same on a terminal.

Shapes are in parentheses, () is a single number; N counts samples, C channels; sizes after `*` may
be any number of axes. A field is written in the block that is named above its table, inside the
layer: `layer { type: "ReLU" relu_param { negative_slope: 0.1 } ... }`. What a loss contributes is
multiplied by its `loss_weight`; rates of learnable blobs are set by one
`param { lr_mult: 1 decay_mult: 1 }` per blob. Fields that only forks of Caffe know are refused
where they ask for something that is not done here.
"""
TESTED = """## What is tested

Cases that BVLC Caffe, or the fork which has the type, was recorded in and that this type has to
equal: single layers (`layers`), small whole nets, forward and backward (`netfb`), published nets as
Caffe builds them (`nets`), and batches of data layers (`batches`). Where a recording holds a wrong
gradient, the page says so under what differs. Types without a case have tests that compare them
with plain loops. `gradient` names the tests that compare the gradient with
differences in float64, or says that there is none. Each type leads to its page above.
"""


def pages() -> str:
    """What the file should hold."""
    caffes = [*filter(is_caffes, LAYERS), "Transformations"]
    forks = [name for name in LAYERS if not is_caffes(name)]
    index = f"Caffe's: {_links(caffes)}.\n\nOf its forks: {_links(forks)}."
    sections = [markdown(read_page(name, cls)) for name, cls in LAYERS.items()]
    transformations = read_page("Transformations", Transformer)
    transformations.notes = transformations.notes[:-1]  # the last speaks of Python arguments
    sections.append(markdown(transformations))
    return "\n".join((HEAD, index + "\n", *sections, TESTED, coverage.table()))


def _links(names: Iterable[str]) -> str:
    return ", ".join(f"[{name}](#{name.lower()})" for name in names)


def main(arguments: Sequence[str]) -> int:
    """Returns 1 where --check finds the file to be another one, else 0."""
    status = 0
    for file, wanted in ((FILE, pages()), (forks.FILE, forks.text())):
        if file.is_file() and file.read_text(encoding="utf-8") == wanted:
            continue
        if "--check" in arguments:
            print(f"{file} is not current: run python -m docs.generate", file=sys.stderr)
            status = 1
        else:
            file.write_text(wanted, encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
