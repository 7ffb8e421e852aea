"""Capture: calls of ops that follow each other in a Program run as one graph on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol, runtime_checkable

from caffepy.engine.core import log
from caffepy.engine.core.errors import DeviceError
from caffepy.engine.core.layout import Buffer, Layout
from caffepy.engine.core.record import Step, layer_names
from caffepy.engine.core.storage import Shape
from caffepy.engine.core.value import Value
from caffepy.engine.passes.program import Program

WARM_UP = 1  # runs before a capture, besides the traced one: what ops make once is there then
FAILURES = 3  # captures that may fail
CAPTURES = 16  # of one stretch, where values move; then it runs without


class Replay(Protocol):
    """Work that was captured. is_valid: whether what it needs besides values is as it was."""

    @property
    def is_valid(self) -> bool: ...

    def __call__(self) -> None:
        """Does the work. Values count as written already."""


@runtime_checkable
class CapturingOps(Protocol):
    """A backend that makes graphs. layout: how values lie that come from the host."""

    layout: Layout

    def capture(self, run: Callable[[], None], alone: bool = False) -> Replay:
        """Calls `run`, which only calls steps; none of their work is done, but by each call of what
        this gives. Raises: DeviceError where that is not possible.

        alone: it shall need nothing that steps before it leave besides values.
        """


def captured(program: Program, ops: CapturingOps, made: Callable[[], None]) -> Program:
    """The Program with its calls of ops as graphs, from one step that is none to the next.

    made: called when one was made.
    """
    stretches: list[tuple[int, Callable[[], None]]] = []
    for calls, placed in groupby(program.steps, lambda one: _is_call(one[1])):
        group = list(placed)
        if calls:
            stretches.append((group[-1][0], _Stretch([step for _, step in group], ops, made)))
        else:
            stretches += group
    return replace(program, stretches=stretches)


def _is_call(step: Step) -> bool:
    """Whether a step needs nothing of the host, as calls of ops and the end of values, and does the
    same in each pass, whatever its values' shapes."""
    same = not any(value.varies for value in step.reads)
    return (step.op is not None and same) or bool(step.releases)


@dataclass
class _Place:
    """A value, and where it was in a capture."""

    value: Value
    key: tuple[Layout, Shape]
    buffer: Buffer

    @property
    def holds(self) -> bool:
        """Whether it is still there."""
        return self.value.holds(self.key, self.buffer)


@dataclass
class _Graph:
    """What a capture gave. needed: what it reads before it writes it.  written: what it leaves.
    passing: what it gives up, and needs not."""

    launch: Replay
    needed: Sequence[_Place]
    written: Sequence[_Place]
    passing: Sequence[Value]

    def run(self) -> bool:
        """Does the work, and leaves all values as the steps do; False, the work not done, where a
        value is not where it was."""
        for one in self.needed:
            if not one.value.retake(one.key, one.buffer, change=False):
                if not one.holds:
                    return False
                one.value.read(one.key[0])  # what the host has written is brought to the device
        others = []  # that were cleared, or that Python code may look at
        for one in self.written:  # the steps would overwrite them, too
            if not one.value.retake(one.key, one.buffer, change=True):
                if not one.holds:
                    return False
                others.append(one)
        if any(value.allocated for value in self.passing):
            return False
        for one in others:
            one.value.write(one.key[0])
        self.launch()
        for one in others:
            one.value.settle()
        return True


class _Stretch:
    """Steps that run as a graph: launched where all values are where they were when it was made.
    Elsewhere another one is made.

    A graph belongs to one choice of values that nothing was written to since they were cleared, as
    ops may overwrite these where they add to others.

    Values that come from before it are not given up in it: a capture, which does nothing, would
    lose them, and each run find them elsewhere.
    """

    def __init__(self, steps: Sequence[Step], ops: CapturingOps, made: Callable[[], None]) -> None:
        self._ops = ops
        self._made = made
        self._runs = self._captures = self._failures = 0
        self._alone = False  # whether steps before it have left less than when it was captured
        self._graphs: dict[tuple[bool, ...], _Graph] = {}
        needed: dict[int, Value] = {}
        written: dict[int, Value] = {}
        for step in steps:
            for value in step.reads:
                if value.storage_id not in written:
                    needed.setdefault(value.storage_id, value)
            written.update((value.storage_id, value) for value in step.writes)
        self._needed, self._written = list(needed.values()), list(written.values())
        self._steps = steps
        released = {value.storage_id: value for step in steps for value in step.releases}
        for key in released.keys() & needed.keys():
            released.pop(key).stay()  # what comes from elsewhere is to be found where it was
        self._released = released

    def __call__(self) -> None:
        begun = tuple(value.allocated for value in self._needed)
        graph = self._graphs.get(begun)
        if graph is not None and not graph.launch.is_valid:
            graph, self._alone = None, True
        if graph is None or not graph.run():
            graph = self._capture() if self._can_capture() else None
            if graph is None:
                self._graphs.pop(begun, None)
                self._run_steps()
                return
            self._graphs[begun] = graph
            ran = graph.run()
            assert ran, "nothing has moved since the capture"
        for value in self._released.values():
            value.release()

    def _run_steps(self) -> None:
        self._runs += 1
        for step in self._steps:
            step()

    def _can_capture(self) -> bool:
        return (
            self._runs >= WARM_UP
            and self._captures < CAPTURES
            and self._failures < FAILURES
            and not any(value.leased for value in (*self._needed, *self._written))
        )

    def _capture(self) -> _Graph | None:
        """A graph of the steps; None where they cannot be captured now."""
        needed = [
            self._place(value, value.fresh_layout) for value in self._needed if value.allocated
        ]
        unwritten = [value for value in self._needed if not value.allocated]
        try:
            launch = self._ops.capture(self._run_steps, self._alone)
        except DeviceError as error:
            self._failures += 1
            for value in unwritten:  # they hold what was to be added to, had it been done
                value.clear()
            if self._failures == FAILURES:
                name = layer_names(self._steps)
                log.warning(f"Layers {name} run without a graph: {error}")
            return None
        self._captures += 1
        self._made()
        left = [value for value in self._written if value.allocated]
        written = [self._place(value, value.fresh_layout) for value in left]
        return _Graph(launch, needed, written, list(self._released.values()))

    def _place(self, value: Value, layout: Layout) -> _Place:
        """Where a value is now, on the device."""
        layout = self._ops.layout if layout.space is None else layout
        return _Place(value, (layout, layout.key(value.shape)), value.read(layout))
