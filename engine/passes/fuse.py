"""Fusing: neighbouring steps of a Program that a backend runs as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffepy.engine.core.record import Step, layer_names
from caffepy.engine.ops.base import Op

Placed = tuple[int, Step]  # a step, and the place of its layer in the run


def fuse(steps: Sequence[Placed]) -> list[Placed]:
    """The steps, with each one merged into the one before it where that one's op can take it over,
    or put in the place of those before it where its own op can do their work.

    Ops decide (`Op.merged`, `Op.rearranged`), and see to it that nobody can tell the difference:
    what the steps leave in their values is what they leave one by one. A merged step may take over
    the next one in turn; it bears the names of all its layers: `conv1 + relu1`.
    """
    fused: list[Placed] = []
    for place, step in steps:
        before = fused[-1][1] if fused else None
        op = before.op if before else None
        merged = op.merged(before, step) if before and isinstance(op, Op) else None
        if merged is not None:
            merged.layer = layer_names([fused[-1][1], step])
            fused[-1] = place, merged
            continue
        new = None
        if isinstance(step.op, Op):
            new = step.op.rearranged([one for _, one in fused], step)
        if new is None:
            fused.append((place, step))
            continue
        count, replacements = new
        places = [old for old, _ in fused[len(fused) - count :]] + [place]
        del fused[len(fused) - count :]
        fused += zip(places[-len(replacements) :], replacements, strict=True)
    return fused


def run_fused(steps: Sequence[Placed]) -> list[Placed]:
    """Fuses the steps, runs what comes of it, and returns it."""
    fused = fuse(steps)
    with np.errstate(all="ignore"):  # nan and inf are numbers like others to an op
        for _, step in fused:
            step()
    return fused
