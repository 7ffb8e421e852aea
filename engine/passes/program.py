"""Program: the recorded steps of one forward or backward pass, run again without the layers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.record import Step
from caffepy.engine.core.value import Epoch

Observer = Callable[[Step], None]  # runs the step it is given


@dataclass(frozen=True)
class Program:
    """Steps in the order they ran.

    steps: (place, step) pairs; the place is that of the step's layer in the run, counted from 0, of
    its last layer where it has several.  shape_count: the epoch in which shapes were as recorded. A
    Program is valid while its net's epoch stands there.  stretches: what runs in place of the
    steps, in the same way; None: they do.
    """

    steps: Sequence[tuple[int, Step]]
    shape_count: int
    stretches: Sequence[tuple[int, Callable[[], None]]] | None = None

    def run(self, epoch: Epoch, observer: Observer | None = None) -> int | None:
        """Runs all steps. Where one of them changes a shape (a data layer may), stops after it and
        returns the place of the first layer that has not run.

        observer: called with each step, which it runs.
        """
        shape_count = self.shape_count
        steps: Sequence[tuple[int, Callable[[], None]]] = self.stretches or self.steps
        if observer is not None:
            steps = [(place, functools.partial(observer, one)) for place, one in self.steps]
        with np.errstate(all="ignore"):  # nan and inf are numbers like others to an op
            for place, run_step in steps:
                run_step()
                if epoch.count != shape_count:
                    return place + 1
        return None

    def followed(self, steps: Sequence[Step]) -> Program:
        """These steps, and then others."""
        end = self.steps[-1][0] if self.steps else 0
        return Program([*self.steps, *((end, one) for one in steps)], self.shape_count)

    def resumed(self, place: int, rest: Program) -> Program:
        """The steps up to that place, where this one stopped, and those of `rest` after them."""
        before = [(old, step) for old, step in self.steps if old < place]
        after = [(place + new, step) for new, step in rest.steps]
        return Program(before + after, rest.shape_count)


def host_step(
    layer: Layer, bottom: Blobs, top: Blobs, run: Callable[[], None], forward: bool
) -> Step:
    """A layer with Python-side behaviour as one step: `run` calls it anew each time."""
    parameters = [blob.data for blob in layer.blobs]
    if forward:
        reads = [blob.data for blob in bottom] + parameters
        writes, adds = [blob.data for blob in top], []
    else:
        reads = [blob.data for blob in (*bottom, *top)] + [blob.diff for blob in top]
        reads += parameters
        adds = [blob.diff for blob in layer.blobs]
        writes = [blob.diff for blob in bottom] + adds
    return Step(run, tuple(reads), tuple(writes), tuple(adds), layer.name, layer.type)
