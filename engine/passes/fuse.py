"""Fusing: neighbouring steps of a Program that a backend runs as one."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.record import Step
from caffepy.engine.ops.base import Op

Placed = tuple[int, Step]  # a step, and the place of its layer in the run


def fuse(steps: Sequence[Placed]) -> list[Placed]:
    """The steps, with each one merged into the one before it where that one's op can take it over.

    Ops decide (`Op.merged`), and see to it that nobody can tell the difference: what a merged step
    leaves in its values is what the steps leave one by one. A merged step may take over the next
    one in turn; it bears the names of all its layers: `conv1 + relu1`.
    """
    fused: list[Placed] = []
    for place, step in steps:
        before = fused[-1][1] if fused else None
        op = before.op if before else None
        merged = op.merged(before, step) if before and isinstance(op, Op) else None
        if merged is None:
            fused.append((place, step))
        else:
            if step.layer not in merged.layer.split(" + "):
                merged.layer += f" + {step.layer}"
            fused[-1] = place, merged
    return fused
