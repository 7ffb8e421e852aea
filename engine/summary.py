"""A net as a table: its layers, their tops, parameters, multiply-adds and memory.

Multiply-adds are those of one forward pass in products with weights: of Convolution, Deconvolution,
InnerProduct, LSTM and RNN layers, bilinear filters and products with padding included, biases not.
Work that is done element by element or window by window (activations, Pooling, LRN, BatchNorm,
Scale, Eltwise, losses) counts as none, as in the figures that papers give. What a Python layer
multiplies is not known.

Memory is what engine/memory.py predicts: at least that much is needed. A solver's history is not
part of a net.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Protocol

from caffepy.engine import table
from caffepy.engine.core.layer import Layer
from caffepy.engine.core.storage import Shape
from caffepy.engine.core.units import size
from caffepy.engine.memory import BuiltNet, predicted
from caffepy.engine.recurrent import RecurrentLayer
from caffepy.engine.samples import first_batch
from caffepy.proto.caffe_pb2 import NetParameter, Phase

MOST_LETTERS = 36  # of a name in the printed table
_HEADINGS = ("layer", "type", "top", "shape", "parameters", "multiply-adds", "memory")
_NUMBERS = 4  # the column from which on there are numbers


class SummarisedNet(BuiltNet, Protocol):
    """What a summary reads of a net. definition: without the Split layers that the net adds."""

    definition: NetParameter


@dataclass(frozen=True)
class LayerSummary:
    """A layer of a summary.

    tops: name and shape of each.  parameters: elements of its learnable blobs, without those that a
    layer above has too.  multiply_adds: of one forward pass; None where that is not known.
    memory_bytes: of what it fills and owns, as far as no layer above does so in the same memory;
    of a Split layer that the net adds, with the layer whose top it splits.
    """

    name: str
    type: str
    tops: tuple[tuple[str, Shape], ...]
    parameters: int
    multiply_adds: int | None
    memory_bytes: int

    def _cells(self) -> list[tuple[str, ...]]:
        """Its lines of the table, one for each top."""
        counted = "?" if self.multiply_adds is None else _number(self.multiply_adds)
        taken = size(self.memory_bytes) if self.memory_bytes else "-"
        numbers = (_number(self.parameters), counted, taken)
        tops = [(name, str(shape)) for name, shape in self.tops] or [("", "")]
        first = (self.name, self.type, *tops[0], *numbers)
        return [first, *(("", "", *top, "", "", "") for top in tops[1:])]


@dataclass(frozen=True, repr=False)
class Summary:
    """A net in numbers; printed, a table.

    layers: without the Split layers that the net adds.  batch: how many samples a pass takes; None
    where a pass takes sequences.  memory: bytes by kind (data, gradients, parameters, ...).
    """

    name: str
    phase: str
    batch: int | None
    layers: tuple[LayerSummary, ...]
    memory: dict[str, int]

    @property
    def parameters(self) -> int:
        """The elements of all learnable blobs."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Those of one forward pass, as far as they are known."""
        return sum(layer.multiply_adds or 0 for layer in self.layers)

    @property
    def memory_bytes(self) -> int:
        """All memory that is predicted."""
        return sum(self.memory.values())

    def __repr__(self) -> str:
        rows = [line for layer in self.layers for line in layer._cells()]
        head, *lines, total = table.printed(
            [_HEADINGS, *rows, self._totals()], _NUMBERS, MOST_LETTERS
        )
        rule = "-" * max(map(len, (head, *lines, total)))
        notes = map(table.one_line, self._notes())
        title = table.one_line(self._title())
        return "\n".join([title, "", head, rule, *lines, rule, total, "", *notes])

    def _repr_html_(self) -> str:
        """The table as notebooks show it."""
        rows = [line for layer in self.layers for line in layer._cells()]
        whole = table.html(
            rows,
            title=self._title(),
            head=_HEADINGS,
            foot=self._totals(),
            numbers_from=_NUMBERS,
        )
        notes = "<br>".join(map(escape, self._notes()))
        return f"{whole}<p>{notes}</p>"

    def _title(self) -> str:
        batch = f", {self.batch} samples a pass" if (self.batch or 1) > 1 else ""
        return f"Net '{self.name}' ({self.phase}){batch}"

    def _totals(self) -> tuple[str, ...]:
        number = f"{len(self.layers)} layers"
        return (
            number, "", "", "", f"{self.parameters:,}", f"{self.multiply_adds:,}",
            size(self.memory_bytes),
        )  # fmt: skip

    def _notes(self) -> Iterator[str]:
        if self.batch is not None and self.batch > 1:
            yield f"Multiply-adds for one sample: {self.multiply_adds / self.batch:,.0f}"
        unknown = [layer.name for layer in self.layers if layer.multiply_adds is None]
        if unknown:
            yield f"Multiply-adds are not known, and not in the total, of: {', '.join(unknown)}"
        yield "Memory: " + ", ".join(f"{kind} {size(taken)}" for kind, taken in self.memory.items())


def summary(net: SummarisedNet) -> Summary:
    """The summary of a net in the shapes that its layers have now."""
    rows = _rows(net)
    memory: dict[str, int] = {}
    taken = dict.fromkeys(rows, 0)
    for use in predicted(net):
        memory[use.kind] = memory.get(use.kind, 0) + use.bytes
        taken[rows[use.index]] += use.bytes
    seen: set[int] = set()
    layers = []
    for index, layer in enumerate(net.layers):
        if rows[index] == index:
            tops = tuple((blob.name, blob.shape) for blob in net.tops[index])
            counts = layer.multiply_adds
            layers.append(
                LayerSummary(
                    layer.name, layer.type, tops, _new_parameters(layer, seen), counts, taken[index]
                )
            )
    sequences = any(isinstance(layer, RecurrentLayer) for layer in net.layers)
    batch = None if sequences else first_batch(net)[1]
    return Summary(net.name, Phase.Name(net.phase), batch, tuple(layers), memory)


def _rows(net: SummarisedNet) -> list[int]:
    """For each layer the one in whose row it counts: itself, or, for a Split layer that the net has
    added, the one whose top it splits."""
    written = {layer.name for layer in net.definition.layer}
    filled_by: dict[int, int] = {}
    rows = []
    for index, layer in enumerate(net.layers):
        added = layer.type == "Split" and layer.name not in written
        rows.append(filled_by[id(net.bottoms[index][0])] if added else index)
        for blob in net.tops[index]:
            filled_by[id(blob)] = rows[-1]
    return rows


def _new_parameters(layer: Layer, seen: set[int]) -> int:
    """The elements of those blobs that are not among the ones seen, which they join."""
    new = [blob for blob in layer.blobs if blob.data.storage_id not in seen]
    seen.update(blob.data.storage_id for blob in new)
    return sum(math.prod(blob.shape) for blob in new)


def _number(count: int) -> str:
    return f"{count:,}" if count else "-"
