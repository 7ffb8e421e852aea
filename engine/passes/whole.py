"""WholePasses: the passes over all layers of a net, recorded once and run again."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Layer
from caffepy.engine.core.record import Step
from caffepy.engine.core.value import Epoch, Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.passes import lifetimes
from caffepy.engine.passes.graphs import Graphs
from caffepy.engine.passes.program import Observer, Program, host_step
from caffepy.engine.passes.trace import Trace

RunLayer = Callable[[int], None]


class Passing(Protocol):
    """A net as its passes see it; the attributes are those of Net."""

    name: str
    phase: int
    ops: Ops
    epoch: Epoch
    layers: list[Layer]
    bottoms: list[list[Blob]]
    tops: list[list[Blob]]
    layer_needs_backward: list[bool]
    passing_data: list[list[Value]]
    passing_diffs: list[list[Value]]
    ran: set[int]
    observer: Observer | None


@dataclass(frozen=True)
class JointPass:
    """A pass forward, steps, a pass back, and more steps as one Program.

    forward, backward: the Programs that it was made of.
    """

    program: Program
    forward: Program
    backward: Program


class WholePasses:
    """Runs the passes of a net; their first runs, and those after a change of shapes, are traced.

    forward_layer, backward_layer: run one layer.  finish: ends a pass forward, by calls of ops.
    folds: whether no backward pass is to be expected (`Op.folded`), until `unfold`.
    programs: "forward" and "backward", None where a pass is to be traced.
    """

    def __init__(
        self,
        net: Passing,
        forward_layer: RunLayer,
        backward_layer: RunLayer,
        finish: Callable[[], None],
        folds: bool,
    ) -> None:
        self._net = net
        self._forward_layer, self._backward_layer = forward_layer, backward_layer
        self._finish = finish
        self._graphs = Graphs(net, net.ops)
        self.folds = folds
        self.programs: dict[str, Program | None] = {"forward": None, "backward": None}

    def forward(self) -> None:
        """All layers, in order."""
        program = self._recorded("forward")
        if program is None:
            layers = range(len(self._net.layers))
            self.programs["forward"] = self._traced(layers, self._forward_layer, True)
            return
        place = program.run(self._net.epoch, self._net.observer)
        if place is not None:
            self._go_on(program, place)

    def backward(self) -> None:
        """All layers, back."""
        program = self._recorded("backward")
        if program is None:
            layers = range(len(self._net.layers) - 1, -1, -1)
            self.programs["backward"] = self._traced(layers, self._backward_layer, False)
        else:
            program.run(self._net.epoch, self._net.observer)

    def unfold(self) -> None:
        """Before the first pass back: from now on, passes forward run as it needs them."""
        self.folds = False
        program, self.programs["forward"] = self._recorded("forward"), None
        for _, step in program.steps if program is not None else ():
            if isinstance(step.op, Op):
                step.op.unfold()

    # ---- both passes as one

    def joined(self, between: Sequence[Step], after: Sequence[Step]) -> JointPass | None:
        """Both passes with steps between and after them, on a backend with graphs; None where they
        are not recorded."""
        forward, backward = self._recorded("forward"), self._recorded("backward")
        if forward is None or backward is None or self.folds:
            return None
        steps = [*between, *(step for _, step in backward.steps), *after]
        return JointPass(self._graphs.captured(forward.followed(steps)), forward, backward)

    def holds(self, joint: JointPass) -> bool:
        """Whether what `joined` gave is still what the passes do."""
        return (
            joint.forward is self._recorded("forward")
            and joint.backward is self._recorded("backward")
            and self._net.observer is None
        )

    def run_joint(self, joint: JointPass) -> bool:
        """Runs it. False where a data layer changed shapes: then only the pass forward was run."""
        place = joint.program.run(self._net.epoch)
        if place is not None:
            self._go_on(joint.forward, place)
        return place is None

    # ---- tracing

    def _recorded(self, name: str) -> Program | None:
        """A pass that may be run again."""
        program = self.programs[name]
        valid = program is not None and program.shape_count == self._net.epoch.count
        return program if valid else None

    def _go_on(self, program: Program, place: int) -> None:
        """Ends a pass forward, whose layers from a place on have new shapes."""
        rest = self._traced(range(place, len(self._net.layers)), self._forward_layer, True)
        self.programs["forward"] = self._graphs.captured(program.resumed(place, rest))

    def _traced(self, order: Sequence[int], run_layer: RunLayer, forward: bool) -> Program:
        """Runs the layers in `order` and returns what they did as a Program."""
        ran = set(self._net.ran)
        try:
            return self._trace(order, run_layer, forward)
        except BaseException:  # the steps of some of the layers may not have run
            self._net.ran &= ran
            raise

    def _trace(self, order: Sequence[int], run_layer: RunLayer, forward: bool) -> Program:
        net = self._net
        trace = Trace(net.ops, net.epoch, forward and self.folds)
        for place, index in enumerate(order):
            layer, run = net.layers[index], functools.partial(run_layer, index)
            if layer.records:
                given_up = net.passing_data[index] if forward and net.passing_data else ()
                trace.record(place, layer.name, run, given_up)
            elif forward or net.layer_needs_backward[index]:
                bottoms, tops = net.bottoms[index], net.tops[index]
                trace.run(place, host_step(layer, bottoms, tops, run, forward))
            if not forward and net.passing_diffs and net.passing_diffs[index]:
                trace.add(place, lifetimes.releasing(net.passing_diffs[index], layer.name))
        if forward:
            trace.record(len(order), "(loss)", self._finish)
        return self._graphs.captured(trace.program())
