"""Lifetimes: which values of a net nobody reads any more, and whose memory others may take."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Layer
from caffepy.engine.core.pool import Pool
from caffepy.engine.core.record import Step
from caffepy.engine.core.value import Value

Blobs = Sequence[Sequence[Blob]]  # per layer
SMALLEST = 1 << 18  # bytes; smaller diffs are kept: they cost little, and tell where nan began


def passing_diffs(bottoms: Blobs, tops: Blobs, kept: Collection[int]) -> list[list[Value]]:
    """Per layer, the diffs of its tops that are done with once it has run backward.

    That is each large one that is no memory of its bottoms' too: a blob has one reader (Split sees
    to it), which writes the diff, and its maker is the last to read it. kept: the `storage_id` of
    diffs that last, those of losses.
    """
    passing = []
    for bottom, top in zip(bottoms, tops, strict=True):
        lasting = {blob.diff.storage_id for blob in bottom} | set(kept)
        own = {blob.diff.storage_id: blob.diff for blob in top}
        passing.append(
            [
                diff
                for key, diff in own.items()
                if key not in lasting and diff.count * diff.dtype.itemsize >= SMALLEST
            ]
        )
    return passing


def passing_data(
    layers: Sequence[Layer], bottoms: Blobs, tops: Blobs, kept: Collection[int]
) -> list[list[Value]]:
    """Per layer, the data of blobs that nobody reads after it in a forward pass.

    That is each large one that op calls write and read, and nothing else. kept: the `storage_id` of
    data that last, those of outputs and losses.
    """
    last: dict[int, int] = {}
    values: dict[int, Value] = {}
    lasting = set(kept)
    for index, (layer, bottom, top) in enumerate(zip(layers, bottoms, tops, strict=True)):
        for blob in (*bottom, *top):
            last[blob.data.storage_id] = index
            values[blob.data.storage_id] = blob.data
        if not layer.records or not bottom:
            lasting |= {blob.data.storage_id for blob in (*bottom, *top)}
        lasting |= {blob.data.storage_id for blob in layer.blobs}
    passing: list[list[Value]] = [[] for _ in layers]
    for key, index in last.items():
        value = values[key]
        if key not in lasting and value.count * value.dtype.itemsize >= SMALLEST:
            passing[index].append(value)
    return passing


def released_early(
    steps: Sequence[tuple[int, Step]], passing: Sequence[Value]
) -> list[tuple[int, Step]]:
    """The steps, with those that give up the memory of values put in where none needs it any
    more."""
    last = {
        value.storage_id: index
        for index, (_, step) in enumerate(steps)
        for value in (*step.reads, *step.writes)
    }
    by_step: dict[int, list[Value]] = {}
    for value in passing:
        by_step.setdefault(last.get(value.storage_id, -1), []).append(value)
    found = []
    for index, (place, step) in enumerate(steps):
        found.append((place, step))
        if index in by_step:
            found.append((place, releasing(by_step[index], step.layer)))
    return found


def borrow(values: Sequence[Sequence[Value]], pool: Pool) -> None:
    """Lets values take turns in the memory of a pool."""
    for value in (value for group in values for value in group):
        value.borrow(pool)


def releasing(values: Sequence[Value], layer: str) -> Step:
    """The step that gives the memory of values back."""
    run, given = functools.partial(_release, values), {"values": values}
    return Step(
        run, (), (), layer=layer, name="release", method="release", arguments=given,
        releases=tuple(values),
    )  # fmt: skip


def _release(values: Sequence[Value]) -> None:
    for value in values:
        value.release()
