"""Fusing: steps of a Program that a backend runs as one."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.record import Step, layer_names
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Prospect

Placed = tuple[int, Step]  # a step, and the place of its layer in the run


def fuse(steps: Sequence[Placed], given_up: Sequence[Value] | None = None) -> list[Placed]:
    """The steps, with each one merged into an earlier one where that one's op can take it over, or
    put in the place of those before it where its own op can do their work.

    Ops decide. By `Op.merged` and `Op.rearranged` nobody can tell the difference: what the steps
    leave in their values is what they leave one by one. A merged step may take over a later one in
    turn; it bears the names of all its layers: `conv1 + relu1`. Steps in between must not touch
    what the later one writes, nor write what it reads, and be calls of ops, or release values that
    it does not touch. A step that is no call of an op is taken over by the one right before it
    only.

    given_up: for a run that no backward pass follows, where `Op.folded` applies too: the values
    that nobody reads after the last of the steps that does.
    """
    fused: list[Placed] = []
    written = {key for _, step in steps for key in _keys(step.writes)}
    last = {
        key: index
        for index, (_, step) in enumerate(steps)
        for key in _keys((*step.reads, *step.writes))
    }
    gone = _keys(given_up or ())
    for index, (place, step) in enumerate(steps):
        prospect = None
        if given_up is not None:
            spare = [key for key in _keys(step.reads) & gone if last[key] == index]
            prospect = Prospect(written, spare)
        if not (_merge(fused, place, step, prospect) or _rearrange(fused, place, step)):
            fused.append((place, step))
    return fused


def _merge(fused: list[Placed], place: int, step: Step, prospect: Prospect | None) -> bool:
    """Whether an earlier step could take over this one, and has."""
    for index in reversed(range(len(fused))):
        before = fused[index][1]
        merged = _merged(before, step, prospect)
        if merged is not None:
            merged.layer = layer_names([before, step])
            fused[index] = place, merged
            return True
        if (before.op is None and not before.releases) or step.op is None:
            break  # of steps that are no calls of ops, only neighbours are merged
        if _in_each_others_way(before, step):
            break
    return False


def _rearrange(fused: list[Placed], place: int, step: Step) -> bool:
    """Whether the step's op has put others in place of the last ones and of it."""
    new = None
    if isinstance(step.op, Op):
        new = step.op.rearranged([one for _, one in fused], step)
    if new is None:
        return False
    count, replacements = new
    places = [old for old, _ in fused[len(fused) - count :]] + [place]
    del fused[len(fused) - count :]
    fused += zip(places[-len(replacements) :], replacements, strict=True)
    return True


def _merged(before: Step, step: Step, prospect: Prospect | None) -> Step | None:
    op = before.op
    if not isinstance(op, Op):
        return None
    folded = None if prospect is None else op.folded(before, step, prospect)
    return folded or op.merged(before, step)


def _in_each_others_way(before: Step, step: Step) -> bool:
    """Whether the order of two steps matters."""
    read, written = _keys(before.reads), _keys((*before.writes, *before.releases))
    own_read, own_written = _keys(step.reads), _keys(step.writes)
    return bool(written & (own_read | own_written) or read & own_written)


def _keys(values: Sequence[Value]) -> set[int]:
    return {value.storage_id for value in values}
