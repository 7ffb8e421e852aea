"""Graphs: the passes of one net as graphs on the device, and what the log says of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from caffepy.engine.core import log
from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Layer
from caffepy.engine.core.storage import Shape
from caffepy.engine.passes.capture import CapturingOps, captured
from caffepy.engine.passes.program import Program
from caffepy.proto.caffe_pb2 import Phase

CHANGES = 3  # of shapes without a graph in between, until the log says that they prevent graphs


class Wired(Protocol):
    """A net: its layers, and the blobs of each."""

    name: str
    phase: int
    layers: list[Layer]
    bottoms: list[list[Blob]]
    tops: list[list[Blob]]


class Graphs:
    """Makes graphs of a net's passes on a backend that has them; elsewhere they stay as they are.

    The log tells once what becomes of a net: when its first graph is made, with the layers that
    need the host in between; and where shapes change so often that none is made.
    """

    def __init__(self, net: Wired, ops: object) -> None:
        self._net = net
        self._ops = ops
        self._shapes: list[list[Shape]] | None = None  # of tops, when a pass was traced last
        self._changes = 0
        self._is_told = self._changes_are_told = False

    def captured(self, program: Program) -> Program:
        """A Program that was traced just now, with graphs in place of its calls of ops."""
        if not isinstance(self._ops, CapturingOps):
            return program
        self._look_at_shapes()
        return captured(program, self._ops, self._note_made)

    def _note_made(self) -> None:
        """A graph was made: logs how the net runs, the first time."""
        self._changes = 0
        if self._is_told:
            return
        self._is_told = True
        between = ", ".join(f"'{layer.name}' ({layer.type})" for layer in self._on_the_host())
        what = f"several CUDA graphs, between layers that need the host: {between}"
        log.info(f"{self._title}: passes run as {what if between else 'CUDA graphs'}.")

    def _look_at_shapes(self) -> None:
        """Counts the changes of shapes from trace to trace; logs once that there are many."""
        net, before = self._net, self._shapes
        self._shapes = [[blob.shape for blob in tops] for tops in net.tops]
        if before is None or before == self._shapes:
            return
        self._changes += 1
        if self._changes == CHANGES and not self._changes_are_told:
            self._changes_are_told = True
            layer, old, new = next(
                one
                for one in zip(net.layers, before, self._shapes, strict=True)
                if one[1] != one[2]
            )
            log.info(
                f"{self._title}: layer '{layer.name}' ({layer.type}) changes the shapes of its "
                f"tops from pass to pass, from {_listed(old)} to {_listed(new)} now: such passes "
                "run launch by launch, without CUDA graphs."
            )

    def _on_the_host(self) -> Iterator[Layer]:
        """The layers that cut a pass in two; data layers in front of all others do not."""
        in_front = True
        for layer, bottoms in zip(self._net.layers, self._net.bottoms, strict=True):
            in_front = in_front and not bottoms
            if not layer.records and not in_front:
                yield layer

    @property
    def _title(self) -> str:
        return f"Net '{self._net.name}' ({Phase.Name(self._net.phase)})"


def _listed(shapes: list[Shape]) -> str:
    return ", ".join(map(str, shapes))
